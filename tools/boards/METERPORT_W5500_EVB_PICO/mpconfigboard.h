// A W5500-EVB-Pico with 16 sockets for meterport.
#ifndef MICROPY_HW_FLASH_STORAGE_BYTES
#define MICROPY_HW_FLASH_STORAGE_BYTES (648 * 1024)
#endif

#include "../rp2_w5500.h"
