// pico-sdk's header of this board: a Pico 2, whose flash is taken as 2 MiB. Boards with 2 MiB are sold; with the 4 MiB of a
// Pico 2, files would be written past their end, over the firmware. Included by assembler too: preprocessor only.

// pico_cmake_set PICO_PLATFORM=rp2350
// pico_cmake_set_default PICO_FLASH_SIZE_BYTES = (2 * 1024 * 1024)
// pico_cmake_set_default PICO_RP2350_A2_SUPPORTED = 1

#ifndef PICO_FLASH_SIZE_BYTES
#define PICO_FLASH_SIZE_BYTES (2 * 1024 * 1024)
#endif

#include "boards/pico2.h"
