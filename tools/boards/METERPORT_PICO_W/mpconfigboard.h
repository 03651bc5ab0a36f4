// A Pico W with 16 TCP connections for meterport and eight more: an evicted one stays in FIN_WAIT_2 until its peer notices
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

#define MICROPY_HW_FLASH_STORAGE_BYTES (848 * 1024)

#define MEMP_NUM_TCP_PCB (24)

// Output of all connections comes from one pool: four browsers that do not read must not use it up (4 x 3200 of 16000).
#define MEM_SIZE (16000)
#define TCP_MSS (800)
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)
#define MEMP_NUM_TCP_SEG (64)
#define PBUF_POOL_SIZE (24)
