# W5500-EVB-Pico2: RP2350 (its Arm cores) with a W5500 for Ethernet; lwIP does TCP/IP, the W5500 carries frames.
list(APPEND PICO_BOARD_HEADER_DIRS ${MICROPY_BOARD_DIR})
set(PICO_BOARD "meterport_w5500_evb_pico2")
set(PICO_PLATFORM "rp2350")

# Later releases have a driver for newer chips too (WIZNET6K), and build their own board with it; this one is in all.
set(MICROPY_PY_LWIP ON)
set(MICROPY_PY_NETWORK_WIZNET5K W5500)

# 512 KiB for files of 2 MiB: 1536 KiB for the image. MicroPython 1.29 wants it here, earlier ones in mpconfigboard.h.
if(NOT DEFINED MICROPY_HW_FLASH_STORAGE_BYTES)
    set(MICROPY_HW_FLASH_STORAGE_BYTES 524288)
endif()

include(${MICROPY_BOARD_DIR}/../interpreter.cmake)
include_directories(BEFORE ${MICROPY_BOARD_DIR}/../lwip)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
