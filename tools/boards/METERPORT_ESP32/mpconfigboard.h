// An ESP32 without PSRAM, with 16 sockets for meterport.
#define MICROPY_HW_BOARD_NAME "meterport, 16 sockets"
#define MICROPY_HW_MCU_NAME "ESP32"

#define MICROPY_PY_BLUETOOTH (0)
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "meterport"
