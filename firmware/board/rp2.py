"""Raspberry Pi Pico W and Pico 2 W, and the W5500-EVB-Pico boards, with MicroPython 1.25 or later.

Sockets (lwIP's opt.h; measured on an emulated RP2040): lwIP has static pools. A stock build has 5 TCP connections and 3
UDP sockets for us, beside the listeners; a build of ours has 24 connections, and its name says so.
"""

import os
import time

import machine
import network
import rp2  # type: ignore[import-not-found, unused-ignore]  # the stubs of the ESP32 have none
from micropython import const

from firmware.board import machine_common

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.board import Console, Link, Radio

_STOCK_TCP = const(5)  # MEMP_NUM_TCP_PCB
_WATCHDOG_MAX_MS = const(8388)
# Registers of the watchdog: datasheets of the RP2040, 4.7.6, and of the RP2350, 12.9.7; pico-sdk's addressmap.h.
_WATCHDOG_RP2040 = const(0x40058000)
_WATCHDOG_RP2350 = const(0x400D8000)
_CTRL_CLEAR = const(0x3000)  # CTRL, through the atomic alias that clears bits
_CTRL_ENABLE = const(1 << 30)
_SCRATCH0 = const(0x0C)
_STARTS = const(0x2D9A5700)  # in SCRATCH0, above the number
_SCRATCH4 = const(0x1C)
_SCRATCH4_OF_A_BITE = const(0x6AB73121)  # pico-sdk, watchdog_enable(); watchdog_reboot(), so machine.reset(), leaves 0
_PM_NONE = const(0xA11140)  # CYW43: power saving off, or an idle Pico W stops answering
_WPA2 = const(0x400004)  # CYW43_AUTH_WPA2_AES_PSK
_NO_ADDRESS = const(2)  # CYW43_LINK_NOIP
_PATIENCE = const(3)  # calls of WiFi.connect(): 70 s
_PINS = {0: (0, 1), 1: (4, 5)}  # tx, rx
_JITTER_MS = const(5)  # the receiver's time-out interrupt comes after 32 bit times
_TICK_MS = const(1)  # the event loop wakes to the millisecond


def _image(machine_name):
    """The name of our image for the board of that name."""
    kind = "W5500_EVB_PICO" if "W5500" in machine_name else "PICO"
    if "RP2350" in machine_name:
        return "METERPORT_%s2%s" % (kind, "" if "W5500" in kind else "_W")
    return "METERPORT_%s%s" % (kind, "" if "W5500" in kind else "_W")


class WiFi(machine_common.WiFi):
    """A station on the driver of this port."""

    # CYW43_LINK_BADAUTH, _NONET, _FAIL, _NOIP (cyw43-driver, cyw43.h)
    _TROUBLES = (
        (-3, "wrong password"), (-2, "no such network in reach (2.4 GHz only)"), (-1, "the access point refuses"),
        (_NO_ADDRESS, "joined, but no DHCP server gives an address"),
    )  # fmt: skip

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self._without_address = 0  # calls of connect() in a row that found it joined

    def connect(self) -> None:
        """A station that has joined is left alone for some calls: it asks for an address again by itself, and a new
        join would end that."""
        if self._nic.status() == _NO_ADDRESS and self._without_address < _PATIENCE:
            self._without_address += 1
            return
        self._without_address = 0
        super().connect()

    def _disable_power_saving(self) -> None:
        self._nic.config(pm=_PM_NONE)


class Board:
    """The Board (firmware.board) of a Pico W, Pico 2 W or W5500-EVB-Pico."""

    name = "rp2"

    def __init__(self) -> None:
        machine_name = os.uname().machine
        built_for_16 = "meterport" in machine_name
        self.sockets = 16  # no limit but those of the two pools
        # One connection is kept free: a SYN that finds none is dropped without a word, and clients wait for nothing.
        self.tcp = 16 if built_for_16 else _STOCK_TCP - 1
        self.udp = 6 if built_for_16 else 3
        self.answers_mdns = not built_for_16  # lwIP's responder is not in our images
        self.image = _image(machine_name)
        self.larger = "" if built_for_16 else self.image
        self.has_wifi = hasattr(network, "WLAN")
        self._registers = _WATCHDOG_RP2350 if "RP2350" in machine_name else _WATCHDOG_RP2040
        self._watchdog: "machine.WDT | None" = None

    def heap(self) -> tuple:
        return machine_common.heap()

    def identity(self) -> tuple:
        return os.uname().machine, machine_common.serial()

    def led(self, pin: "int | None") -> "Callable | None":
        return machine_common.led("LED" if pin is None else pin)

    def open_line(self, config: dict) -> machine_common.Line:
        return machine_common.Line(config, machine_common.line_pins(config, _PINS), _JITTER_MS, _TICK_MS)

    def umodbus_master(self, config: dict) -> "Any":
        return machine_common.umodbus_master(config, machine_common.line_pins(config, _PINS))

    def open_link(self, config: dict) -> "Link":
        if config["link"] == "wifi" and not self.has_wifi:  # the default: a new board would be reached by USB only
            config["link"] = "ethernet"
        return machine_common.open_link(config, WiFi, self._ethernet)

    def access_point(self, ssid: str, password: str) -> "Radio":
        from firmware.board import machine_setup

        nic = network.WLAN(network.AP_IF)
        nic.config(ssid=ssid, key=password, security=_WPA2)
        nic.active(True)
        nic.config(pm=_PM_NONE)
        return machine_setup.Radio(nic)

    def console(self) -> "Console":
        from firmware.board import machine_setup

        return machine_setup.Console()

    def _ethernet(self, config):
        # In builds for boards that have one, which know its pins; elsewhere AttributeError.
        return machine_common.Ethernet(config, network.WIZNET5K)  # type: ignore[attr-defined]

    def set_clock(self, unix_s: int) -> None:
        now = time.gmtime(unix_s)
        machine.RTC().datetime((now[0], now[1], now[2], now[6], now[3], now[4], now[5], 0))

    def watchdog(self, timeout_s: int) -> None:
        if timeout_s:
            self._watchdog = machine.WDT(timeout=min(1000 * timeout_s, _WATCHDOG_MAX_MS))

    def feed(self) -> None:
        if self._watchdog is not None:
            self._watchdog.feed()

    def release(self) -> None:
        """MicroPython cannot stop it; the chip can."""
        if self._watchdog is not None:
            machine.mem32[self._registers + _CTRL_CLEAR] = _CTRL_ENABLE
            self._watchdog = None

    def button(self, pin: "int | None") -> bool:
        if pin is None:
            return bool(rp2.bootsel_button())
        return not machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP).value()

    def starts(self, count: "int | None" = None) -> int:
        """In a scratch register of the watchdog that neither MicroPython nor pico-sdk uses; a reset keeps it."""
        if count is not None:
            machine.mem32[self._registers + _SCRATCH0] = _STARTS | count & 0xFF
        kept = machine.mem32[self._registers + _SCRATCH0]
        return kept & 0xFF if kept & 0x3FFFFF00 == _STARTS else 0

    def reset_cause(self) -> str:
        # machine.reset() is a watchdog reset as well; only a bite leaves this number.
        is_watchdog = machine.reset_cause() == machine.WDT_RESET
        return "a watchdog reset" if is_watchdog and self._bitten() else ""

    def _bitten(self):
        return machine.mem32[self._registers + _SCRATCH4] == _SCRATCH4_OF_A_BITE

    def reset(self) -> None:
        machine.reset()

    def crashed(self, error: Exception) -> None:
        machine_common.restart_after(error)
