"""ESP32 with MicroPython 1.25 or later.

Sockets (ESP-IDF's Kconfig, MicroPython's sdkconfig.base): a stock build has 10 file descriptors for everything; a build
of ours has 16, and its name says so. Time: the epoch is 2000. Waits have ticks of 10 ms in stock builds.
"""

import os
import time

import esp32
import machine
import network

from firmware.board import chip

_EPOCH_2000 = 946684800
_STOCK_SOCKETS = 10  # CONFIG_LWIP_MAX_SOCKETS
_REPL_WATCHDOG_MS = 24 * 3600 * 1000
_PINS = {1: (10, 9), 2: (17, 16)}  # tx, rx of the classic ESP32; UART 1's lie on the flash, so set them
_JITTER_MS = 25  # two ticks of FreeRTOS, and the driver's own 2 characters of silence


class WiFi(chip.WiFi):
    def tune(self, wlan):
        # A gateway is asked at any time: power saving would add hundreds of ms to each answer.
        wlan.config(pm=network.WLAN.PM_NONE)


def _lan():
    """The MAC of the ESP32 with a LAN8720, wired as on the common boards (WT32-ETH01)."""
    return network.LAN(
        mdc=machine.Pin(23), mdio=machine.Pin(18), power=machine.Pin(16), phy_type=network.PHY_LAN8720, phy_addr=1,
        ref_clk=machine.Pin(0), ref_clk_mode=machine.Pin.IN,
    )  # fmt: skip


class Board:
    name = "esp32"

    def __init__(self):
        built_for_16 = "meterport" in os.uname().machine
        self.sockets = 16 if built_for_16 else _STOCK_SOCKETS
        self.tcp = 16 if built_for_16 else 12
        self.udp = self.sockets
        self.image = "METERPORT_ESP32_S3" if "S3" in os.uname().machine else "METERPORT_ESP32"
        self.larger = "" if built_for_16 else self.image
        self._watchdog = None

    def heap(self):
        # MicroPython counts the largest free block of ESP-IDF as its own; who takes it starves lwIP and Wi-Fi.
        return chip.heap(max([region[2] for region in esp32.idf_heap_info(esp32.HEAP_DATA)]))

    def open_line(self, config):
        return chip.Line(config, _PINS, _JITTER_MS)

    def umodbus_master(self, config):
        return chip.umodbus_master(config, _PINS)

    def open_link(self, config):
        if config["link"] == "ethernet":
            return chip.Ethernet(config, _lan)
        return WiFi(config) if config["link"] == "wifi" else chip.NoLink()

    def set_clock(self, unix_s):
        now = time.gmtime(unix_s - _EPOCH_2000)
        machine.RTC().datetime((now[0], now[1], now[2], now[6], now[3], now[4], now[5], 0))

    def watchdog(self, timeout_s):
        if timeout_s:
            self._watchdog = machine.WDT(timeout=1000 * timeout_s)

    def feed(self):
        if self._watchdog is not None:
            self._watchdog.feed()

    def release(self):
        """It cannot be stopped, but it can be given a day: long enough for whoever is at the REPL."""
        if self._watchdog is not None:
            machine.WDT(timeout=_REPL_WATCHDOG_MS).feed()
            self._watchdog = None

    def reset_cause(self):
        return chip.reset_cause()

    def reset(self):
        machine.reset()

    def crashed(self, error):
        chip.restart_after(error)
