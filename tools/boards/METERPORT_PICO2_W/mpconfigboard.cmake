# Pico 2 W: RP2350 (its Arm cores) with Wi-Fi, without Bluetooth (it costs flash and RAM).
set(PICO_BOARD "pico2_w")
set(PICO_PLATFORM "rp2350")

include(${MICROPY_BOARD_DIR}/../wifi_without_bluetooth.cmake)

# 2560 KiB for files of 4 MiB: 1536 KiB for the image. MicroPython 1.29 wants it here, earlier ones in mpconfigboard.h.
if(NOT DEFINED MICROPY_HW_FLASH_STORAGE_BYTES)
    set(MICROPY_HW_FLASH_STORAGE_BYTES 2621440)
endif()

include(${MICROPY_BOARD_DIR}/../interpreter.cmake)
include_directories(BEFORE ${MICROPY_BOARD_DIR}/../lwip)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
