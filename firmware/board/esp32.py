"""ESP32 family with MicroPython 1.25 or later.

Sockets (ESP-IDF's Kconfig, MicroPython's sdkconfig.base): a stock build has 10 file descriptors for everything; a build
of ours has 16, and its name says so. Waits end at a tick of FreeRTOS (CONFIG_FREERTOS_HZ): every 10 ms in a stock
build, every millisecond in ours. Time: the epoch is 2000.
"""

import errno
import os
import time

import esp32
import machine
import network
from micropython import const

from firmware.board import machine_common

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.board import Console, Link, Radio

_EPOCH_2000 = const(946684800)
_STOCK_SOCKETS = const(10)  # CONFIG_LWIP_MAX_SOCKETS
_REPL_WATCHDOG_MS = const(24) * 3600 * 1000
# tx, rx where the configuration names none (machine_uart.c). UART 1 has none: its pins 10 and 9 are the flash's on the
# classic ESP32. UART 0 is the console's, and its buffers cannot be set.
_PINS = {2: (17, 16)}
_FLASH_PINS = (6, 7, 8, 9, 10, 11)  # of the classic ESP32's modules
_PSRAM_PINS = (16, 17)  # of its modules with PSRAM
_MAC_PINS = (19, 21, 22, 25, 26, 27)  # RMII of its Ethernet MAC, beside MDC, MDIO and the clock
_MDC = const(23)
_MDIO = const(18)
# Boards with a LAN8720 that network.ethernet names where there is no board file: name, pin of its power, its address,
# pin of the 50 MHz clock, whether the ESP32 makes that clock (MicroPython: docs/esp32/quickref.rst; on a WROVER GPIO 17
# is the PSRAM's).
_LAN8720_BOARDS = (
    ("wt32-eth01", 16, 1, 0, False),
    ("olimex-gateway", 5, 0, 17, True),
    ("olimex-poe", 12, 0, 17, True),
    ("olimex-poe-wrover", 12, 0, 0, True),
)
_W5500_PINS = ("spi_sck", "spi_mosi", "spi_miso", "spi_cs", "spi_int")  # keys of the configuration
_BUTTON = const(0)
_INPUTS_ONLY = const(34)
_STARTS = b"meterport starts "  # before the number, in the RTC's memory
_AFRESH = const(3)  # calls of WiFi.connect(): 70 s after the first


class WiFi(machine_common.WiFi):
    """A station on the driver of this port."""

    # WIFI_REASON_NO_AP_FOUND, WIFI_REASON_AUTH_FAIL. A wrong password is mostly another reason, for which status()
    # says STAT_CONNECTING as for everything else.
    _TROUBLES = ((201, "no such network in reach (2.4 GHz only)"), (202, "wrong password"))

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self._nic.active(True)  # at once: without the radio the chip's random numbers can be predicted (esp_random())
        self._calls = 0

    def connect(self) -> None:
        """Asks once: from then on the driver tries again by itself, and refuses to be configured or to scan meanwhile
        (esp_wifi_set_config: "sta is connecting"). With several networks each call disconnects first, and tries the
        next. With one, every third call does, and connects without configuring: the driver gives up when a try cannot
        even begin (network_wlan.c, WIFI_EVENT_STA_DISCONNECTED)."""
        is_first = not self._calls
        if not is_first and (len(self._networks) > 1 or self._calls % _AFRESH == 0):
            self._nic.disconnect()
            if len(self._networks) == 1:
                self._nic.connect()
        if is_first or len(self._networks) > 1:
            super().connect()
        self._calls += 1

    def _disable_power_saving(self) -> None:
        # A gateway is asked at any time: power saving would add hundreds of ms to each answer.
        self._nic.config(pm=network.WLAN.PM_NONE)


def _rmii(power, address, clock, is_clock_output, mdc=_MDC, mdio=_MDIO, phy="lan8720"):
    """Opens the MAC of the ESP32 with a PHY. `power`: a pin, or None where the PHY is always on."""
    return network.LAN(
        mdc=machine.Pin(mdc), mdio=machine.Pin(mdio), power=None if power is None else machine.Pin(power),
        phy_type=network.PHY_IP101 if phy == "ip101" else network.PHY_LAN8720, phy_addr=address,
        ref_clk=machine.Pin(clock),
        ref_clk_mode=machine.Pin.OUT if is_clock_output else machine.Pin.IN,
    )  # fmt: skip


def _w5500(sck, mosi, miso, cs, interrupt):
    """Opens a W5500 on SPI."""
    spi = machine.SPI(1, sck=machine.Pin(sck), mosi=machine.Pin(mosi), miso=machine.Pin(miso))
    return network.LAN(  # type: ignore[call-arg]  # the stubs know RMII only
        spi=spi, cs=machine.Pin(cs), int=machine.Pin(interrupt), phy_type=network.PHY_W5500, phy_addr=0
    )  # fmt: skip


def _ethernet_wiring(config):
    """Returns (all pins, function that opens the interface, its arguments) for the board file's wiring, and without one
    for network.ethernet. Raises OSError."""
    wiring = config.get("wiring")
    if wiring:
        if wiring["phy"] == "w5500":
            pins = tuple([wiring[key] for key in ("sck", "mosi", "miso", "cs", "interrupt")])
            return pins, _w5500, pins
        power = wiring["power"]
        pins = (wiring["mdc"], wiring["mdio"], wiring["clock"]) + _MAC_PINS + (() if power is None else (power,))
        keys = ("power", "address", "clock", "clock_out", "mdc", "mdio", "phy")
        return pins, _rmii, tuple([wiring[key] for key in keys])
    name = config["ethernet"]
    for row in _LAN8720_BOARDS:
        if row[0] == name:
            return (_MDC, _MDIO, row[1], row[3]) + _MAC_PINS, _rmii, row[1:]
    pins = tuple([config[key] for key in _W5500_PINS])
    if None in pins:
        raise OSError(
            errno.EINVAL, "network.ethernet w5500 needs " + ", ".join(["network." + key for key in _W5500_PINS])
        )
    return pins, _w5500, pins


class Board:
    """The Board (firmware.board) of an ESP32."""

    name = "esp32"
    has_wifi = True
    # Of Ethernet, once it has been opened: a technician at the REPL has a Board of his own and must respect them too.
    _ethernet_pins: "tuple[int, ...]" = ()

    def __init__(self) -> None:
        machine_name = os.uname().machine
        built_for_16 = "meterport" in machine_name
        self.sockets = 16 if built_for_16 else _STOCK_SOCKETS
        self.tcp = 16 if built_for_16 else 12
        self.udp = self.sockets
        self.answers_mdns = True
        self.image = "METERPORT_ESP32_S3" if "S3" in machine_name else "METERPORT_ESP32"
        self.larger = "" if built_for_16 else self.image
        # A sleep may end this much too late; an input reaches the loop after a tick, and what else it does.
        self._tick_ms = 2 if built_for_16 else 11
        self._jitter_ms = 3 if built_for_16 else 12
        self._module_pins: "tuple[int, ...]" = ()
        if machine_name.endswith(" ESP32"):  # the classic one; others end with ESP32S3, ESP32C3 ...
            self._module_pins = _FLASH_PINS + (_PSRAM_PINS if "SPIRAM" in machine_name else ())
        self._has_button = machine_name.endswith((" ESP32", " ESP32S2", " ESP32S3"))
        self._watchdog: "machine.WDT | None" = None

    def heap(self) -> tuple:
        # MicroPython counts the largest free block of ESP-IDF as its own; who takes it starves lwIP and Wi-Fi.
        return machine_common.heap(max([region[2] for region in esp32.idf_heap_info(esp32.HEAP_DATA)]))

    def identity(self) -> tuple:
        return os.uname().machine, machine_common.serial()

    def led(self, pin: "int | None") -> "Callable | None":
        """Boards differ: without a pin there is none, and none where the flash, PSRAM or Ethernet has it."""
        if pin is None or pin in self._module_pins + Board._ethernet_pins:
            return None
        if pin == _BUTTON:
            self._has_button = False
        return machine_common.led(pin)

    def _line_pins(self, config):
        if config["uart"] == 0:
            raise OSError(errno.EINVAL, "UART 0 is the console's: use another")
        return machine_common.line_pins(config, _PINS, self._module_pins + Board._ethernet_pins)

    def open_line(self, config: dict) -> machine_common.Line:
        pins = self._line_pins(config)
        if _BUTTON in pins or config["direction"] == _BUTTON:
            self._has_button = False
        return machine_common.Line(config, pins, self._jitter_ms, self._tick_ms)

    def umodbus_master(self, config: dict) -> "Any":
        return machine_common.umodbus_master(config, self._line_pins(config))

    def open_link(self, config: dict) -> "Link":
        return machine_common.open_link(config, WiFi, self._ethernet)

    def access_point(self, ssid: str, password: str) -> "Radio":
        from firmware.board import machine_setup

        nic = network.WLAN(network.AP_IF)
        nic.active(True)  # first: esp_wifi_set_config wants the mode
        nic.config(ssid=ssid, key=password, security=network.WLAN.SEC_WPA2)
        return machine_setup.Radio(nic)

    def console(self) -> "Console":
        from firmware.board import machine_setup

        return machine_setup.Console()

    def _ethernet(self, config):
        pins, open_lan, arguments = _ethernet_wiring(config)
        # MicroPython before 1.28 takes a pin of the PSRAM, and the chip dies.
        machine_common.refuse_pins(pins, self._module_pins)
        Board._ethernet_pins = pins
        return machine_common.Ethernet(config, lambda: open_lan(*arguments))

    def set_clock(self, unix_s: int) -> None:
        now = time.gmtime(unix_s - _EPOCH_2000)
        machine.RTC().datetime((now[0], now[1], now[2], now[6], now[3], now[4], now[5], 0))

    def watchdog(self, timeout_s: int) -> None:
        if timeout_s:
            self._watchdog = machine.WDT(timeout=1000 * timeout_s)

    def feed(self) -> None:
        if self._watchdog is not None:
            self._watchdog.feed()

    def release(self) -> None:
        """It cannot be stopped, but it can be given a day: long enough for work at the REPL."""
        if self._watchdog is not None:
            machine.WDT(timeout=_REPL_WATCHDOG_MS).feed()
            self._watchdog = None

    def image_slot(self) -> "Any":
        """Where an update may write an image. Raises OSError with a text where there is no second slot."""
        from firmware.board.esp32_slot import ImageSlot

        return ImageSlot()

    def running_slot(self) -> str:
        """The label of the partition whose image runs."""
        return esp32.Partition(esp32.Partition.RUNNING).info()[4]  # type: ignore[arg-type]

    def keep_image(self) -> None:
        """Tells the boot loader that this image runs well. Raises OSError."""
        esp32.Partition.mark_app_valid_cancel_rollback()

    def button(self, pin: "int | None") -> bool:
        """By itself BOOT, on GPIO 0 of an ESP32, S2 and S3, unless Ethernet or a bus has that pin; other chips have
        none here."""
        if pin is None:
            pin = _BUTTON
        if pin in Board._ethernet_pins or pin == _BUTTON and not self._has_button:
            return False
        # An ESP32 has no pull-ups at its inputs from 34 on: the board has one.
        return not machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP if pin < _INPUTS_ONLY else None).value()

    def starts(self, count: "int | None" = None) -> int:
        """In the RTC's memory (machine_rtc.c): RTC_NOINIT_ATTR, which a watchdog does not clear."""
        rtc = machine.RTC()
        if count is not None:
            rtc.memory(_STARTS + bytes((count & 0xFF,)))
        kept = rtc.memory()
        return kept[-1] if len(kept) == len(_STARTS) + 1 and kept.startswith(_STARTS) else 0

    def reset_cause(self) -> str:
        return "a watchdog reset" if machine.reset_cause() == machine.WDT_RESET else ""

    def reset(self) -> None:
        machine.reset()

    def crashed(self, error: Exception) -> None:
        machine_common.restart_after(error)
