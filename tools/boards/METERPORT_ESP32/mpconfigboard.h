#define MICROPY_HW_BOARD_NAME "meterport, 16 sockets"
#define MICROPY_HW_MCU_NAME "ESP32"
