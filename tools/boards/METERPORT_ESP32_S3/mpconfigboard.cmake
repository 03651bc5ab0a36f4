# Any board with an ESP32-S3, PSRAM and 8 MB of flash: Wi-Fi, or Ethernet by a W5500 (its driver is in sdkconfig.base).
# PSRAM is octal (modules with R8 in their name); with BOARD_VARIANT=QUAD it is quad (R2). Without any it starts as well.
set(IDF_TARGET esp32s3)

include(${MICROPY_BOARD_DIR}/../own_partitions.cmake)

set(SDKCONFIG_DEFAULTS boards/sdkconfig.base)
# MicroPython's files have other names from release to release: sdkconfig.usb is in 1.25 to 1.28, spiram_sx became
# spiram_quad.
foreach(NAME sdkconfig.usb sdkconfig.spiram_sx sdkconfig.spiram_quad)
    if(EXISTS ${CMAKE_SOURCE_DIR}/boards/${NAME})
        list(APPEND SDKCONFIG_DEFAULTS boards/${NAME})
    endif()
endforeach()
if(NOT MICROPY_BOARD_VARIANT STREQUAL "QUAD")
    list(APPEND SDKCONFIG_DEFAULTS boards/sdkconfig.spiram_oct)
endif()
list(APPEND SDKCONFIG_DEFAULTS
    boards/sdkconfig.240mhz
    boards/ESP32_GENERIC_S3/sdkconfig.board
    ${OWN_PARTITIONS}
    ${MICROPY_BOARD_DIR}/sdkconfig.board
)

set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
