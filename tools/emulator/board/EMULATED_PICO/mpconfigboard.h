// An RP2040 without Wi-Fi: lwIP speaks PPP on a UART. The firmware's board files know it by its name, and by
// "meterport" in it that lwIP is the one of tools/boards. The name comes from variant.h.
#define MICROPY_HW_BOARD_NAME METERPORT_BOARD_NAME
#define MICROPY_HW_FLASH_STORAGE_BYTES (2560 * 1024)  // as on a Pico 2 W

void emulated_pico_startup(void);
#define MICROPY_BOARD_STARTUP emulated_pico_startup
