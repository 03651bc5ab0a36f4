# The definition's partitions.csv as the image's table. ESP-IDF finds it by its whole name, which only CMake knows; a name
# alone would be looked for in the port's folder.
set(OWN_PARTITIONS ${CMAKE_BINARY_DIR}/sdkconfig.partitions)
file(WRITE ${OWN_PARTITIONS} "CONFIG_PARTITION_TABLE_CUSTOM=y
CONFIG_PARTITION_TABLE_CUSTOM_FILENAME=\"${MICROPY_BOARD_DIR}/partitions.csv\"
")
