# Any board with an ESP32 and no PSRAM: Wi-Fi, or Ethernet by its own MAC. No sdkconfig.ble: with Bluetooth within,
# ESP-IDF keeps 56,156 bytes of RAM for its controller, used or not.
set(IDF_TARGET esp32)

include(${MICROPY_BOARD_DIR}/../own_partitions.cmake)

set(SDKCONFIG_DEFAULTS
    boards/sdkconfig.base
    boards/sdkconfig.240mhz
    ${OWN_PARTITIONS}
    ${MICROPY_BOARD_DIR}/sdkconfig.board
)

set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
