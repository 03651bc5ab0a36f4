// An RP2040 without Wi-Fi: lwIP speaks PPP on a UART. The board files know it by its name, and by "meterport" in it
// that lwIP has more TCP connections than MicroPython's 5.
#ifdef METERPORT_TCP_PCBS
#define MICROPY_HW_BOARD_NAME "Emulated Pico, meterport"
#else
#define MICROPY_HW_BOARD_NAME "Emulated Pico, stock"
#endif
#define MICROPY_HW_FLASH_STORAGE_BYTES (1024 * 1024)
