"""Raspberry Pi Pico W and Pico 2 W, and the W5500-EVB-Pico boards, with MicroPython 1.25 or later.

Sockets (lwIP's opt.h; measured on an emulated RP2040): lwIP has static pools. A stock build has 5 TCP connections and 3
UDP sockets for us, beside the listeners; a build of ours has 24 connections, and its name says so.
"""

import os
import time

import machine
import network

from firmware.board import chip

_STOCK_TCP = 5  # MEMP_NUM_TCP_PCB
_WATCHDOG_MAX_MS = 8388
_WATCHDOG_CTRL_CLEAR = 0x4005B000  # RP2040 datasheet 4.7.6: CTRL, through the atomic alias that clears bits (2.1.2)
_WATCHDOG_ENABLE = 1 << 30
_PM_NONE = 0xA11140  # CYW43: power saving off, or an idle Pico W stops answering
_PINS = {0: (0, 1), 1: (4, 5)}  # tx, rx
_JITTER_MS = 5  # the receiver's time-out interrupt comes after 32 bit times


def _image(machine_name):
    """The name of our image for the board of that name."""
    kind = "W5500_EVB_PICO" if "W5500" in machine_name else "PICO"
    if "RP2350" in machine_name:
        return "METERPORT_%s2%s" % (kind, "" if "W5500" in kind else "_W")
    return "METERPORT_%s%s" % (kind, "" if "W5500" in kind else "_W")


class WiFi(chip.WiFi):
    def tune(self, wlan):
        wlan.config(pm=_PM_NONE)


class Board:
    name = "rp2"

    def __init__(self):
        built_for_16 = "meterport" in os.uname().machine
        self.sockets = 16  # no limit but those of the two pools
        # One connection is kept free: a SYN that finds none is dropped without a word, and clients wait for nothing.
        self.tcp = 16 if built_for_16 else _STOCK_TCP - 1
        self.udp = 3
        self.image = _image(os.uname().machine)
        self.larger = "" if built_for_16 else self.image
        self._watching = None

    def heap(self):
        return chip.heap()

    def open_line(self, config):
        return chip.Line(config, _PINS, _JITTER_MS)

    def umodbus_master(self, config):
        return chip.umodbus_master(config, _PINS)

    def open_link(self, config):
        if config["link"] == "ethernet":
            # In builds for boards that have one, which know its pins.
            return chip.Ethernet(config, network.WIZNET5K)  # type: ignore[attr-defined]
        return WiFi(config) if config["link"] == "wifi" else chip.NoLink()

    def set_clock(self, unix_s):
        now = time.gmtime(unix_s)
        machine.RTC().datetime((now[0], now[1], now[2], now[6], now[3], now[4], now[5], 0))

    def watchdog(self, timeout_s):
        if timeout_s:
            self._watching = machine.WDT(timeout=min(1000 * timeout_s, _WATCHDOG_MAX_MS))

    def feed(self):
        if self._watching is not None:
            self._watching.feed()

    def release(self):
        """MicroPython cannot stop it; the chip can."""
        if self._watching is not None:
            machine.mem32[_WATCHDOG_CTRL_CLEAR] = _WATCHDOG_ENABLE
            self._watching = None

    def reset_cause(self):
        return chip.reset_cause()

    def reset(self):
        machine.reset()

    def crashed(self, error):
        chip.restart_after(error)
