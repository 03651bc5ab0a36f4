// Stands for the driver: MicroPython links, the bus is kept (the chip's half of it is pico-sdk's), and no frame is sent.
#include "cyw43_internal.h"

cyw43_t cyw43_state;
void (*cyw43_poll)(void);
uint32_t cyw43_sleep;
static cyw43_int_t bus;

void cyw43_init(cyw43_t *self) {
    cyw43_spi_init(&bus);
    cyw43_spi_gpio_setup();
    cyw43_spi_reset();
    cyw43_write_bytes(&bus, WLAN_FUNCTION, cyw43_read_reg_u32(&bus, BUS_FUNCTION, 0), 4, bus.spid_buf);
    cyw43_read_bytes(&bus, WLAN_FUNCTION, 0, 4, bus.spid_buf);
}
void cyw43_deinit(cyw43_t *self) { cyw43_spi_deinit(&bus); }
int cyw43_ioctl(cyw43_t *self, uint32_t command, size_t size, uint8_t *data, uint32_t interface) { return 0; }
int cyw43_send_ethernet(cyw43_t *self, int interface, size_t size, const void *data, bool is_pbuf) { return 0; }
int cyw43_gpio_set(cyw43_t *self, int gpio, bool value) { return 0; }
int cyw43_gpio_get(cyw43_t *self, int gpio, bool *value) { return 0; }
int cyw43_tcpip_link_status(cyw43_t *self, int interface) { return CYW43_LINK_DOWN; }
void cyw43_wifi_set_up(cyw43_t *self, int interface, bool up, uint32_t country) {}
int cyw43_wifi_pm(cyw43_t *self, uint32_t mode) { return 0; }
int cyw43_wifi_get_pm(cyw43_t *self, uint32_t *mode) { return 0; }
int cyw43_wifi_scan(cyw43_t *self, cyw43_wifi_scan_options_t *options, void *argument,
    int (*found)(void *, const cyw43_ev_scan_result_t *)) { return 0; }
bool cyw43_wifi_scan_active(cyw43_t *self) { return false; }
int cyw43_wifi_join(cyw43_t *self, size_t ssid_size, const uint8_t *ssid, size_t key_size, const uint8_t *key,
    uint32_t auth, const uint8_t *bssid, uint32_t channel) { return 0; }
int cyw43_wifi_leave(cyw43_t *self, int interface) { return 0; }
int cyw43_wifi_get_rssi(cyw43_t *self, int32_t *rssi) { return 0; }
int cyw43_wifi_get_mac(cyw43_t *self, int interface, uint8_t mac[6]) { return 0; }
void cyw43_wifi_ap_get_stas(cyw43_t *self, int *count, uint8_t *macs) {}
void cyw43_wifi_ap_get_ssid(cyw43_t *self, size_t *size, const uint8_t **ssid) {}
uint32_t cyw43_wifi_ap_get_auth(cyw43_t *self) { return CYW43_AUTH_OPEN; }
void cyw43_wifi_ap_set_ssid(cyw43_t *self, size_t size, const uint8_t *ssid) {}
void cyw43_wifi_ap_set_password(cyw43_t *self, size_t size, const uint8_t *password) {}
void cyw43_wifi_ap_set_auth(cyw43_t *self, uint32_t auth) {}
void cyw43_wifi_ap_set_channel(cyw43_t *self, uint32_t channel) {}
