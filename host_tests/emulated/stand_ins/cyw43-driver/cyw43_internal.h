// Stands for the driver's own header: what pico-sdk's cyw43_bus_pio_spi.c takes from it.
#pragma once
#include "cyw43.h"

#define CYW43_BACKPLANE_READ_PAD_LEN_BYTES 16
#define CYW43_BUS_MAX_BLOCK_SIZE 64
#define CYW43_FAIL_FAST_CHECK(result) (result)
#define CYW43_VDEBUG(...)
enum { BUS_FUNCTION, BACKPLANE_FUNCTION, WLAN_FUNCTION };
#define SPI_STATUS_REGISTER 8
#define STATUS_F2_RX_READY 0x20

typedef struct {
    void *bus_data;
    uint32_t cur_backplane_window, last_backplane_window, last_size, last_header[2];
    uint32_t spi_header[CYW43_BACKPLANE_READ_PAD_LEN_BYTES / 4 + 1];
    uint8_t spid_buf[2048];
} cyw43_int_t;

int cyw43_spi_init(cyw43_int_t *self);
void cyw43_spi_deinit(cyw43_int_t *self);
void cyw43_spi_gpio_setup(void);
void cyw43_spi_reset(void);
int cyw43_spi_transfer(cyw43_int_t *self, const uint8_t *tx, size_t tx_length, uint8_t *rx, size_t rx_length);
int cyw43_read_bytes(cyw43_int_t *self, uint32_t function, uint32_t address, size_t size, uint8_t *data);
int cyw43_write_bytes(cyw43_int_t *self, uint32_t function, uint32_t address, size_t size, const uint8_t *data);
uint32_t cyw43_read_reg_u32(cyw43_int_t *self, uint32_t function, uint32_t reg);
