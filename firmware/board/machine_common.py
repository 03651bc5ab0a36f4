"""What ESP32 and RP2 boards have in common: a UART as a serial line with a direction pin; Wi-Fi and Ethernet as a Link.

Sources: MicroPython's documentation of machine.UART, machine.Pin and network.WLAN; its ports' machine_uart.c,
machine_pin.c, network_wlan.c and network_lan.c, and extmod/network_cyw43.c, from 1.25 on.
"""

import errno
import gc
import sys
import time

import machine
import network
from machine import UART, Pin
from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.board import Link

# txbuf: a whole frame of 256 bytes, so that write() never waits for room.
# rxbuf: an answer and an echo of its request, for as long as the loop is busy elsewhere.
_BUFFER = const(512)
_PARITY = {"N": None, "E": 0, "O": 1}


def refuse_pins(pins: tuple, reserved: tuple) -> None:
    """Raises OSError (EINVAL) when one of `pins` is one of `reserved`, which the board uses itself."""
    for pin in pins:
        if pin in reserved:
            raise OSError(errno.EINVAL, "pin %d belongs to the flash, the PSRAM or Ethernet of this board" % pin)


def line_pins(config: dict, default_pins: dict, reserved: tuple = ()) -> tuple:
    """(tx, rx) of the bus's UART: those of `config`, else of `default_pins`, {uart: (tx, rx)}, unless one of these is
    reserved. Raises OSError: ENODEV when `uart` is not a number; EINVAL when a pin is missing, or reserved."""
    uart = config["uart"]
    if not isinstance(uart, int):
        raise OSError(errno.ENODEV)
    tx, rx = default_pins.get(uart, (None, None))
    if tx in reserved or rx in reserved:
        tx = rx = None
    if config["tx"] is not None:
        tx = config["tx"]
    if config["rx"] is not None:
        rx = config["rx"]
    if tx is None or rx is None:
        raise OSError(errno.EINVAL, "UART %d of this board needs tx and rx" % uart)
    refuse_pins((tx, rx, config["direction"]), reserved)
    return tx, rx


class Line:
    """A UART as a Line (firmware.board), with `pins` = (tx, rx). A driver that turns by itself needs no direction pin.
    `tick_ms`: how much later than asked for the event loop may wake on this port. Raises OSError: EINVAL, with the
    port's own text, when this chip does not have such a UART or pin."""

    def __init__(self, config: dict, pins: tuple, jitter_ms: int, tick_ms: int) -> None:
        framing = config["framing"]
        baud = config["baud"]
        self.jitter_ms = jitter_ms
        self.turn_ms = 0
        self._character_us = 11000000 // baud
        self.error: "OSError | None" = None
        self._direction = None
        self._rest: "memoryview | None" = None  # of the view, which is always the same, from _rest_at on
        self._rest_at = 0
        try:
            for pin in config.get("high", ()):  # of the board file: what the board's driver needs
                Pin(pin, Pin.OUT, value=1)
            if config["direction"] is not None:
                self._direction = Pin(config["direction"], Pin.OUT, value=0)
                self.turn_ms = tick_ms
            self.stream = self._uart = UART(
                config["uart"], baudrate=baud, bits=int(framing[0]), parity=_PARITY[framing[1]], stop=int(framing[2]),
                tx=Pin(pins[0]), rx=Pin(pins[1]), txbuf=_BUFFER, rxbuf=_BUFFER, timeout=0, timeout_char=0,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise OSError(errno.EINVAL, str(error)) from None

    def receive(self, view: memoryview, at: int) -> int:
        # Never more than is there: the RP2040 waits timeout_char for each byte that it is asked for in vain.
        uart = self._uart
        n = uart.any()
        if not n:
            return 0
        if at:
            if at != self._rest_at:  # a slice is an object in the heap, and most answers come in the same two parts
                self._rest = view[at:]
                self._rest_at = at
            view = self._rest
        return uart.readinto(view, n) or 0  # and not more than there is room for

    def discard(self) -> int:
        total = 0
        while total < 4 * _BUFFER:
            n = self._uart.any()
            if not n:
                break
            self._uart.read(n)
            total += n
        return total

    def send(self, buf: bytearray, n: int) -> None:
        if self._direction is not None:
            self._direction(1)
        if self._uart.write(buf, n) != n:  # type: ignore[call-arg]  # as all streams: no view of buf is needed
            self.error = OSError(errno.EIO)

    def finish(self) -> None:
        """The event loop's clock is coarse (10 ms on a stock ESP32), and a meter may answer 3.5 characters after the
        last bit. So this is called `turn_ms` before the end, and waits busily for the rest and four characters more."""
        if self._direction is None:
            return
        longest_us = 1000 * self.turn_ms + 4 * self._character_us + 2000
        begin = time.ticks_us()
        while not self._uart.txdone():
            if time.ticks_diff(time.ticks_us(), begin) > longest_us:
                break
        self._direction(0)

    def close(self) -> None:
        self._uart.deinit()


def umodbus_master(config: dict, pins: tuple) -> "Any":
    """umodbus's blocking master on the UART of a bus, for a technician. Raises ImportError or OSError."""
    from umodbus.serial import Serial

    framing = config["framing"]
    try:
        return Serial(
            uart_id=config["uart"], baudrate=config["baud"], data_bits=int(framing[0]), parity=_PARITY[framing[1]],
            stop_bits=int(framing[2]), ctrl_pin=config["direction"], pins=[Pin(pins[0]), Pin(pins[1])],
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise OSError(errno.EINVAL, str(error)) from None


def open_link(config: dict, wifi: "Callable", ethernet: "Callable") -> "Link":
    """The Link that the section "network" asks for: `wifi(config)`, `ethernet(config)`, or a NoLink."""
    link = config["link"]
    wrong = None
    try:
        if link != "none":
            return ethernet(config) if link == "ethernet" else wifi(config)
    except Exception as error:  # a constructor of the port raises OSError, ValueError, RuntimeError and MemoryError
        wrong = "cannot open %s: %r" % (link, error)
    from firmware.board.no_link import NoLink

    return NoLink(wrong)


class _Interface:
    """What Wi-Fi and Ethernet share: a Link on MicroPython's network interface `nic`."""

    ssid = ""

    def __init__(self, config: dict, nic: "Any") -> None:
        self._config = config
        self._nic = nic

    def up(self) -> bool:
        return self._nic.isconnected()

    def address(self) -> str:
        return self._nic.ifconfig()[0]

    def dns_servers(self) -> list:
        return [self._nic.ifconfig()[3]] if self.up() else []

    def details(self) -> tuple:
        mac = ":".join(["%02x" % byte for byte in self._nic.config("mac")])
        return tuple(self._nic.ifconfig()) + (mac, self._signal_dbm()) if self.up() else (None,) * 4 + (mac, None)

    def trouble(self) -> str:
        return ""

    def _signal_dbm(self) -> "int | None":
        return None

    def _set_address(self) -> None:
        """Gives the interface, which is active, the address of the configuration; with DHCP it finds its own. Without
        a gateway the interface is its own: MicroPython wants one."""
        config = self._config
        if not config["dhcp"]:
            address = config["address"]
            self._nic.ifconfig((address, config["netmask"], config["gateway"] or address, config["dns"] or "0.0.0.0"))


class Ethernet(_Interface):
    """A wired interface, which `make()` gives (network.LAN, network.WIZNET5K)."""

    def __init__(self, config: dict, make: "Callable") -> None:
        network.hostname(config["hostname"])
        super().__init__(config, make())

    def connect(self) -> None:
        self._nic.active(True)
        self._set_address()


class WiFi(_Interface):
    """A station. Of several networks the strongest is tried first; one that a scan does not see may be hidden, and is
    tried last."""

    # (status() of the port, what it means to the user)
    _TROUBLES: tuple = ()

    def __init__(self, config: dict) -> None:
        network.hostname(config["hostname"])
        if config["country"]:
            network.country(config["country"])
        super().__init__(config, network.WLAN(network.STA_IF))
        self._networks = [
            (config["ssid" + end], config["password" + end]) for end in ("", "_2", "_3") if config["ssid" + end]
        ]
        self._untried: "Any" = ()  # of the present round: a list once it has begun
        self.ssid = ""

    def connect(self) -> None:
        """Asks the port to join the next network. Returns at once where there is one; with several it waits for a scan
        of 2 s, 10 s at most, before each round. Raises OSError (ENODEV without an SSID)."""
        networks = self._networks
        if not networks:
            raise OSError(errno.ENODEV)
        self._nic.active(True)
        self._disable_power_saving()
        self._set_address()
        if len(networks) == 1:
            self.ssid, password = networks[0]
        else:
            if not self._untried:
                self._untried = self._strongest_first()
            self.ssid, password = self._untried.pop(0)
        self._nic.connect(self.ssid, password or None)

    def _strongest_first(self):
        seen = []
        try:
            seen = self._nic.scan()
        except OSError:  # another scan is under way, or the driver is busy
            pass
        order = []
        for number, (ssid, _) in enumerate(self._networks):
            name = ssid.encode()  # an SSID is bytes, and those of strangers make no text
            order.append((max([found[3] for found in seen if found[0] == name] + [-128]), -number))
        order.sort(reverse=True)
        return [self._networks[-number] for _, number in order]

    def trouble(self) -> str:
        status = self._nic.status()
        for code, text in self._TROUBLES:
            if code == status:
                return text
        return ""

    def _disable_power_saving(self) -> None:
        """For the port to override."""

    def _signal_dbm(self) -> "int | None":
        try:
            return self._nic.status("rssi")
        except OSError:  # the ESP32: the access point has just gone (esp_wifi_sta_get_ap_info)
            return None


def serial() -> str:
    """The number of this chip (of its flash, on the RP2), in hexadecimal digits."""
    return machine.unique_id().hex()


def led(pin: "int | str") -> "Callable | None":
    """That pin as an output, or None where this board has no such pin."""
    try:
        return Pin(pin, Pin.OUT, value=0)
    except (TypeError, ValueError):
        return None


def heap(reserved: int = 0) -> tuple:
    """(free, used) of Python's heap, in bytes; `reserved` of the free ones belong to the port."""
    return max(gc.mem_free() - reserved, 0), gc.mem_alloc()


def restart_after(error: Exception) -> None:
    """Ends a firmware that has crashed: prints the traceback, leaves 10 s for Ctrl-C, and restarts the device."""
    sys.print_exception(error)
    print("meterport: restarting in 10 s, Ctrl-C for the REPL")
    time.sleep(10)
    machine.reset()
