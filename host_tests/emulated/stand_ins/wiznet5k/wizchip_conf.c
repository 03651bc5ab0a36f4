// Stands for WIZnet's driver: MicroPython links, and no frame is sent.
#include "wizchip_conf.h"
int8_t ctlwizchip(int what, void *argument) { return 0; }
int8_t wizphy_getphylink(void) { return PHY_LINK_OFF; }
void wizchip_setinterruptmask(int mask) {}
void wizchip_clrinterrupt(int mask) {}
void reg_wizchip_cris_cbfunc(void (*enter)(void), void (*leave)(void)) {}
void reg_wizchip_cs_cbfunc(void (*select)(void), void (*deselect)(void)) {}
void reg_wizchip_spi_cbfunc(uint8_t (*read)(void), void (*write)(uint8_t)) {}
void reg_wizchip_spiburst_cbfunc(void (*read)(uint8_t *, uint16_t), void (*write)(const uint8_t *, uint16_t)) {}
void getSHAR(uint8_t *mac) {}
void setSHAR(uint8_t *mac) {}
void setSn_IMR(uint8_t socket, uint8_t mask) {}
uint8_t getSn_MR(uint8_t socket) { return 0; }
void setSn_MR(uint8_t socket, uint8_t mode) {}
uint16_t getSn_RX_RSR(uint8_t socket) { return 0; }
uint8_t WIZCHIP_READ(uint32_t address) { return 0; }
int8_t WIZCHIP_socket(uint8_t socket, uint8_t mode, uint16_t port, uint8_t flag) { return 0; }
int32_t WIZCHIP_sendto(uint8_t socket, uint8_t *data, uint16_t size, uint8_t *address, uint16_t port) { return size; }
int32_t WIZCHIP_recvfrom(uint8_t socket, uint8_t *data, uint16_t size, uint8_t *address, uint16_t *port) { return 0; }
