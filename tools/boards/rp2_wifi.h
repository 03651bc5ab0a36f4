// What METERPORT_PICO_W and METERPORT_PICO2_W have in common: network, and the Wi-Fi chip on its own bus.
#define MICROPY_HW_BOARD_NAME "meterport, 16 sockets"

#define MICROPY_PY_NETWORK 1
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "meterport"
#define CYW43_USE_SPI (1)
#define CYW43_LWIP (1)
#define CYW43_GPIO (1)
#define CYW43_SPI_PIO (1)

#define MICROPY_HW_PIN_EXT_COUNT CYW43_WL_GPIO_COUNT
int mp_hal_is_pin_reserved(int n);
#define MICROPY_HW_PIN_RESERVED(i) mp_hal_is_pin_reserved(i)

#include "lwip_for_16_sockets.h"
