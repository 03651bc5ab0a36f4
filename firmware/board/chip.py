"""What ESP32 and RP2040 have in common: the UART as a serial line with a direction pin, and Wi-Fi as a station.

Source: MicroPython's documentation of machine.UART, machine.Pin and network.WLAN, and the ports' sources.
"""

import errno
import gc
import sys
import time

import machine
import network
from machine import UART, Pin

# txbuf: a whole frame of 256 bytes, so that write() never waits for room.
# rxbuf: an answer and an echo of its request, for as long as the loop is busy elsewhere.
_BUFFER = 512
_PARITY = {"N": None, "E": 0, "O": 1}


class Line:
    """A UART. A driver that turns by itself needs no direction pin."""

    def __init__(self, config, default_pins, jitter_ms):
        uart = config["uart"]
        if not isinstance(uart, int):
            raise OSError(errno.ENODEV)
        pins = default_pins.get(uart, (None, None))
        framing = config["framing"]
        baud = config["baud"]
        self.jitter_ms = jitter_ms
        self._character_us = 11000000 // baud
        self._direction = None
        if config["direction"] is not None:
            self._direction = Pin(config["direction"], Pin.OUT, value=0)
        self.stream = self._uart = UART(
            uart, baudrate=baud, bits=int(framing[0]), parity=_PARITY[framing[1]], stop=int(framing[2]),
            tx=Pin(pins[0] if config["tx"] is None else config["tx"]),
            rx=Pin(pins[1] if config["rx"] is None else config["rx"]),
            txbuf=_BUFFER, rxbuf=_BUFFER, timeout=0, timeout_char=0,
        )  # fmt: skip

    def receive(self, view, at):
        # Never more than is there: the RP2040 waits timeout_char for each byte that it is asked for in vain.
        n = min(self._uart.any(), len(view) - at)
        if not n:
            return 0
        return (self._uart.readinto(view[at : at + n]) if at else self._uart.readinto(view, n)) or 0

    def discard(self):
        total = 0
        while total < 4 * _BUFFER:
            n = self._uart.any()
            if not n:
                break
            self._uart.read(n)
            total += n
        return total

    def send(self, buf, n):
        if self._direction is not None:
            self._direction(1)
        if self._uart.write(memoryview(buf)[:n]) != n:
            raise OSError(errno.EIO)

    def finish(self):
        """The loop's clock is coarse (10 ms on an ESP32), and a meter may answer 3.5 characters after the last bit:
        so the end of sending is waited for busily, and for four characters at most."""
        if self._direction is None:
            return
        begin = time.ticks_us()
        while not self._uart.txdone():
            if time.ticks_diff(time.ticks_us(), begin) > 4 * self._character_us + 2000:
                break
        self._direction(0)

    def close(self):
        self._uart.deinit()


def umodbus_master(config, default_pins):
    """umodbus's blocking master on the UART of a bus, for a technician. Raises ImportError or OSError."""
    from umodbus.serial import Serial

    uart = config["uart"]
    if not isinstance(uart, int):
        raise OSError(errno.ENODEV)
    pins = default_pins.get(uart, (None, None))
    framing = config["framing"]
    return Serial(
        uart_id=uart, baudrate=config["baud"], data_bits=int(framing[0]), parity=_PARITY[framing[1]],
        stop_bits=int(framing[2]), ctrl_pin=config["direction"],
        pins=[
            Pin(pins[0] if config["tx"] is None else config["tx"]),
            Pin(pins[1] if config["rx"] is None else config["rx"]),
        ],
    )  # fmt: skip


def settle(nic, config):
    """Gives a network interface that is active the address of the configuration; by DHCP it finds its own. A gateway of
    its own is the interface itself: MicroPython wants one."""
    if not config["dhcp"]:
        address = config["address"]
        nic.ifconfig((address, config["netmask"], config["gateway"] or address, config["dns"] or "0.0.0.0"))


def details(nic, rssi=None):
    """What a Link tells of itself (firmware.board)."""
    mac = ":".join(["%02x" % byte for byte in nic.config("mac")])
    return tuple(nic.ifconfig()) + (mac, rssi) if nic.isconnected() else (None,) * 4 + (mac, None)


class Ethernet:
    """A wired interface, which `make()` gives (network.LAN, network.WIZNET5K)."""

    def __init__(self, config, make):
        self._config = config
        network.hostname(config["hostname"])
        self._nic = make()

    def up(self):
        return self._nic.isconnected()

    def address(self):
        return self._nic.ifconfig()[0]

    def connect(self):
        self._nic.active(True)
        settle(self._nic, self._config)

    def details(self):
        return details(self._nic)

    def dns_servers(self):
        return [self._nic.ifconfig()[3]] if self.up() else []


class WiFi:
    """A station. connect() returns at once; the port connects, and connects again, by itself."""

    def __init__(self, config):
        self._config = config
        network.hostname(config["hostname"])
        if config["country"]:
            network.country(config["country"])
        self._wlan = network.WLAN(network.STA_IF)

    def up(self):
        return self._wlan.isconnected()

    def address(self):
        return self._wlan.ifconfig()[0]

    def connect(self):
        wlan = self._wlan
        if not self._config["ssid"]:
            raise OSError(errno.ENODEV)
        wlan.active(True)
        self.tune(wlan)
        settle(wlan, self._config)
        wlan.connect(self._config["ssid"], self._config["password"] or None)

    def tune(self, wlan):
        """For the port to override."""

    def details(self):
        return details(self._wlan, self._wlan.status("rssi") if self.up() else None)

    def dns_servers(self):
        return [self._wlan.ifconfig()[3]] if self.up() else []


def heap(kept=0):
    """(free, used) of Python's heap, in bytes; `kept` of the free ones belong to the port."""
    return max(gc.mem_free() - kept, 0), gc.mem_alloc()


def reset_cause():
    """A watchdog that bit is what somebody will want to know of."""
    return "a watchdog reset" if machine.reset_cause() == machine.WDT_RESET else ""


def restart_after(error):
    """The end of a firmware that crashed: not for good, and not without a way in for whoever wants to know why."""
    sys.print_exception(error)
    print("meterport: restarting in 10 s, Ctrl-C for the REPL")
    time.sleep(10)
    machine.reset()


class NoLink:
    """`network.link` is "none": whatever brings up the network (a REPL, a boot script) is not ours."""

    def up(self):
        return True

    def address(self):
        return "0.0.0.0"

    def connect(self):
        """Nothing to start."""

    def details(self):
        return (None,) * 6

    def dns_servers(self):
        return []
