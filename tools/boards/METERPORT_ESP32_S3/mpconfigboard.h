// An ESP32-S3 with PSRAM, with 16 sockets for meterport.
#define MICROPY_HW_BOARD_NAME "meterport, 16 sockets"
#define MICROPY_HW_MCU_NAME "ESP32S3"

#define MICROPY_HW_ENABLE_UART_REPL (1)  // the prompt on modules with a USB-UART too
#define MICROPY_PY_BLUETOOTH (0)
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "meterport"
