// What METERPORT_W5500_EVB_PICO and METERPORT_W5500_EVB_PICO2 have in common: lwIP over a W5500, wired to GPIO 16..21.
#define MICROPY_HW_BOARD_NAME "meterport, 16 sockets, W5500"

#define MICROPY_PY_NETWORK (1)
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "meterport"

#define MICROPY_HW_WIZNET_SPI_ID (0)
#define MICROPY_HW_WIZNET_SPI_BAUDRATE (20 * 1000 * 1000)
#define MICROPY_HW_WIZNET_SPI_SCK (18)
#define MICROPY_HW_WIZNET_SPI_MOSI (19)
#define MICROPY_HW_WIZNET_SPI_MISO (16)
#define MICROPY_HW_WIZNET_PIN_CS (17)
#define MICROPY_HW_WIZNET_PIN_RST (20)
#define MICROPY_HW_WIZNET_PIN_INTN (21)  // frames are fetched when they come, not when the driver is polled

#include "lwip_for_16_sockets.h"
