# W5500-EVB-Pico: RP2040 with a W5500 for Ethernet; lwIP does TCP/IP, the W5500 carries frames. pico-sdk has no header of
# its own for it; that of the board with a W5100S is the same but for the chip.
set(PICO_BOARD "wiznet_w5100s_evb_pico")
set(PICO_PLATFORM "rp2040")

set(MICROPY_PY_LWIP ON)
set(MICROPY_PY_NETWORK_WIZNET5K W5500)

# 648 KiB for files of 2 MiB: 1400 KiB for the image (MicroPython's own board has 640). MicroPython 1.29 wants it here,
# earlier ones in mpconfigboard.h.
if(NOT DEFINED MICROPY_HW_FLASH_STORAGE_BYTES)
    set(MICROPY_HW_FLASH_STORAGE_BYTES 663552)
endif()

include(${MICROPY_BOARD_DIR}/../interpreter.cmake)
include_directories(BEFORE ${MICROPY_BOARD_DIR}/../lwip)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
