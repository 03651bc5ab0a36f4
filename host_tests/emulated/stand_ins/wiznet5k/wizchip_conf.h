// Stands for WIZnet's driver, which is in no package: names and types that MicroPython's network_wiznet5k.c uses.
#pragma once
#include <stdint.h>
#define W5100S 5100
#define W5200 5200
#define W5500 5500
typedef uint8_t byte;
typedef struct { uint8_t mac[6], ip[4], sn[4], gw[4], dns[4]; int dhcp; } wiz_NetInfo;
enum { CW_INIT_WIZCHIP, IK_SOCK_0 = 1, PHY_LINK_OFF = 0, PHY_LINK_ON };
#define _W5500_IO_BASE_ 0
#define WIZCHIP_SREG_BLOCK(n) (1 + 4 * (n))
#define Sn_IR_RECV 4
#define Sn_MR_MACRAW 4
#define Sn_MR_MFEN 0x80
#define Sn_MR_MIP6B 0x10
#define WIZCHIP_EXPORT(name) WIZCHIP_##name
int8_t ctlwizchip(int what, void *argument);
int8_t wizphy_getphylink(void);
void wizchip_setinterruptmask(int mask);
void wizchip_clrinterrupt(int mask);
void reg_wizchip_cris_cbfunc(void (*enter)(void), void (*leave)(void));
void reg_wizchip_cs_cbfunc(void (*select)(void), void (*deselect)(void));
void reg_wizchip_spi_cbfunc(uint8_t (*read)(void), void (*write)(uint8_t));
void reg_wizchip_spiburst_cbfunc(void (*read)(uint8_t *, uint16_t), void (*write)(const uint8_t *, uint16_t));
void getSHAR(uint8_t *mac);
void setSHAR(uint8_t *mac);
void setSn_IMR(uint8_t socket, uint8_t mask);
uint8_t getSn_MR(uint8_t socket);
void setSn_MR(uint8_t socket, uint8_t mode);
uint16_t getSn_RX_RSR(uint8_t socket);
uint8_t WIZCHIP_READ(uint32_t address);
int8_t WIZCHIP_socket(uint8_t socket, uint8_t mode, uint16_t port, uint8_t flag);
int32_t WIZCHIP_sendto(uint8_t socket, uint8_t *data, uint16_t size, uint8_t *address, uint16_t port);
int32_t WIZCHIP_recvfrom(uint8_t socket, uint8_t *data, uint16_t size, uint8_t *address, uint16_t *port);
