// Stands for the driver of the Wi-Fi chip, which is in no package: names and types that MicroPython's network_cyw43.c and
// port and pico-sdk's cyw43_bus_pio_spi.c use. Values are made up but for those that users see.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "cyw43_configport.h"
#include "lwip/dhcp.h"
#include "lwip/netif.h"

enum { CYW43_ITF_STA, CYW43_ITF_AP };
enum { CYW43_LINK_DOWN, CYW43_LINK_JOIN, CYW43_LINK_NOIP, CYW43_LINK_UP,
       CYW43_LINK_FAIL = -1, CYW43_LINK_NONET = -2, CYW43_LINK_BADAUTH = -3 };
enum { CYW43_NO_POWERSAVE_MODE, CYW43_PM1_POWERSAVE_MODE, CYW43_PM2_POWERSAVE_MODE };
enum { CYW43_AUTH_OPEN, CYW43_AUTH_WPA2_AES_PSK = 0x00400004, CYW43_AUTH_WPA2_MIXED_PSK = 0x00400006,
       CYW43_AUTH_WPA3_SAE_AES_PSK = 0x01000004, CYW43_AUTH_WPA3_WPA2_AES_PSK = 0x01400004 };
enum { CYW43_IOCTL_GET_ANTDIV, CYW43_IOCTL_SET_ANTDIV, CYW43_IOCTL_GET_CHANNEL, CYW43_IOCTL_GET_SSID,
       CYW43_IOCTL_GET_VAR, CYW43_IOCTL_SET_VAR, CYW43_IOCTL_SET_MONITOR };
#define CYW43_CHANNEL_NONE (0xffffffff)
#define CYW43_TRACE_MAC (0x0010)

typedef struct {
    uint32_t version;
    uint16_t scan_type, ssid_len;
    uint8_t ssid[32], bssid[6];
} cyw43_wifi_scan_options_t;
typedef struct {
    uint8_t bssid[6], ssid_len, ssid[32], auth_mode;
    uint16_t channel;
    int16_t rssi;
} cyw43_ev_scan_result_t;
typedef struct {
    uint32_t trace_flags;
    struct netif netif[2];
    struct dhcp dhcp_client;
    uint8_t mac[6];
} cyw43_t;

extern cyw43_t cyw43_state;
extern void (*cyw43_poll)(void);
extern uint32_t cyw43_sleep;

void cyw43_init(cyw43_t *self);
void cyw43_deinit(cyw43_t *self);
int cyw43_ioctl(cyw43_t *self, uint32_t command, size_t size, uint8_t *data, uint32_t interface);
int cyw43_send_ethernet(cyw43_t *self, int interface, size_t size, const void *data, bool is_pbuf);
int cyw43_gpio_set(cyw43_t *self, int gpio, bool value);
int cyw43_gpio_get(cyw43_t *self, int gpio, bool *value);
int cyw43_tcpip_link_status(cyw43_t *self, int interface);
void cyw43_wifi_set_up(cyw43_t *self, int interface, bool up, uint32_t country);
int cyw43_wifi_pm(cyw43_t *self, uint32_t mode);
int cyw43_wifi_get_pm(cyw43_t *self, uint32_t *mode);
int cyw43_wifi_scan(cyw43_t *self, cyw43_wifi_scan_options_t *options, void *argument,
    int (*found)(void *, const cyw43_ev_scan_result_t *));
bool cyw43_wifi_scan_active(cyw43_t *self);
int cyw43_wifi_join(cyw43_t *self, size_t ssid_size, const uint8_t *ssid, size_t key_size, const uint8_t *key,
    uint32_t auth, const uint8_t *bssid, uint32_t channel);
int cyw43_wifi_leave(cyw43_t *self, int interface);
int cyw43_wifi_get_rssi(cyw43_t *self, int32_t *rssi);
int cyw43_wifi_get_mac(cyw43_t *self, int interface, uint8_t mac[6]);
void cyw43_wifi_ap_get_stas(cyw43_t *self, int *count, uint8_t *macs);
void cyw43_wifi_ap_get_ssid(cyw43_t *self, size_t *size, const uint8_t **ssid);
uint32_t cyw43_wifi_ap_get_auth(cyw43_t *self);
void cyw43_wifi_ap_set_ssid(cyw43_t *self, size_t size, const uint8_t *ssid);
void cyw43_wifi_ap_set_password(cyw43_t *self, size_t size, const uint8_t *password);
void cyw43_wifi_ap_set_auth(cyw43_t *self, uint32_t auth);
void cyw43_wifi_ap_set_channel(cyw43_t *self, uint32_t channel);
