"""MicroPython's modules `machine`, `network` and `esp32`, as far as firmware/board uses them, on a clock that only the
test moves. They do and refuse what the sources of MicroPython 1.25.0 do and refuse; the file is named at each part.

install(monkeypatch, machine_name) puts them in the place of the real ones and returns the Port that the test looks at.
"""

import importlib
import os
import sys
import time
from types import ModuleType, SimpleNamespace

from firmware import board as board_package
from host_tests.unit import fakes

CLASSIC = "Generic ESP32 module with ESP32"
WROVER = "Generic ESP32 module with SPIRAM with ESP32"
S3 = "Generic ESP32S3 module with Octal-SPIRAM with ESP32S3"
C3 = "ESP32C3 module with ESP32C3"
OURS = "meterport, 16 sockets with ESP32"
PICO_W = "Raspberry Pi Pico W with RP2040"
PICO_2_W = "Raspberry Pi Pico 2 W with RP2350"

# ports/esp32/machine_pin.h, machine_pin_table; of the classic ESP32 with PSRAM, too: the header asks for a macro that
# ESP-IDF 5 does not define.
_ESP32_PINS = {
    "ESP32": {*range(24), *range(25, 28), *range(32, 40)},
    "ESP32C3": {*range(14), *range(18, 22)},
    "ESP32S3": {*range(22), *range(38, 49)},
}
_ESP32_UARTS = {"ESP32": 3, "ESP32S3": 3, "ESP32C3": 2}  # SOC_UART_HP_NUM
_MAGIC = 0x6AB73121  # pico-sdk, hardware_watchdog/watchdog.c


class Port:
    """What the fakes have been told, and what they are to do next."""

    def __init__(self, machine_name):
        self.machine_name = machine_name
        self.is_rp2 = "RP2" in machine_name
        self.chip = machine_name.rsplit(" ", 1)[-1]
        self.clock = fakes.Clock()
        self.calls = []  # what the interface was told
        self.uart = None  # the one that was opened last
        self.pins = {}  # number -> level, of those that are outputs
        self.low = set()  # inputs that something pulls to 0
        self.bootsel = 0  # ports/rp2/modrp2.c, bootsel_button()
        self.used = set()  # pins that something was connected to
        self.connected = False
        self.has_led = self.is_rp2  # its pins.csv names one
        self.associated = True  # with the access point: while connected
        self.connecting = False
        self.wifi_error = None  # raised by WLAN()
        # Station, Ethernet, access point of tools/simulator/radio.py in the place of these fakes.
        self.wifi = self.wired = self.own = None
        self.phy_answers = True
        self.registers = {}  # of the RP2: what was written to mem32, and what is read there
        self.rtc_memory = b""  # of the ESP32
        self.reset_cause = 1  # PWRON_RESET
        self.idf_largest = 40_000
        self.board = None  # the module firmware.board.esp32 or rp2


class _Pin:
    """ports/esp32/machine_pin.c, ports/rp2/machine_pin.c."""

    IN, OUT = 1, 3
    PULL_UP = 2
    port = None

    def __init__(self, number, mode=None, pull=None, *, value=None):
        if number == "LED" and self.port.has_led:
            number = 25
        if not isinstance(number, int):
            if self.port.is_rp2 and isinstance(number, str):
                raise ValueError("unknown named pin")
            if self.port.is_rp2:
                raise TypeError("can't convert NoneType to int")
            raise ValueError("invalid pin")
        known = range(30) if self.port.is_rp2 else _ESP32_PINS[self.port.chip]
        if number not in known:
            raise ValueError("invalid pin")
        self.number = number
        self.port.used.add(number)
        if value is not None:
            self.port.pins[number] = [(self.port.clock.us, value)]

    def value(self):
        return int(self.number not in self.port.low)

    def __call__(self, level):
        self.port.pins[self.number].append((self.port.clock.us, level))


class _UART:
    """ports/esp32/machine_uart.c, ports/rp2/machine_uart.c."""

    port = None

    def __init__(self, number, baudrate, bits, parity, stop, tx, rx, txbuf, rxbuf, timeout, timeout_char):
        port = self.port
        if port.is_rp2:
            if number not in (0, 1):
                raise ValueError(f"UART({number}) doesn't exist")
            apart = 2 if port.chip == "RP2350" else 4  # IS_VALID_TX, IS_VALID_RX
            for pin, kind, remainder in ((tx, "TX", 0), (rx, "RX", 1)):
                if pin.number % apart != remainder or (pin.number + 4 & 8) >> 3 != number:
                    raise ValueError(f"bad {kind} pin")
        else:
            if not 0 <= number < _ESP32_UARTS[port.chip]:
                raise ValueError(f"UART({number}) does not exist")
            if number == 0:
                raise ValueError("UART buffer size is fixed")
        self.number = number
        self.pins = tx.number, rx.number
        self._character_us = (1 + bits + (parity is not None) + stop) * 1_000_000 / baudrate
        self.done_us = 0
        self.sent = []
        port.uart = self
        # What the event loop is given: a stream of the unit tests' fake seam.
        self.owner = None
        self.events = 0

    def any(self):
        return 0

    def write(self, data, n):
        assert n <= len(data)
        self.sent.append(bytes(data[:n]))
        self.done_us = self.port.clock.us + n * self._character_us
        return n

    def txdone(self):
        self.port.clock.us += 20  # what the call takes
        return self.port.clock.us >= self.done_us

    def deinit(self):
        pass


class _Mem32:
    def __init__(self, port):
        self._registers = port.registers

    def __setitem__(self, address, value):
        self._registers[address] = value

    def __getitem__(self, address):
        return self._registers.get(address, 0)


class _WDT:
    """ports/rp2/machine_wdt.c; ports/esp32/machine_wdt.c takes any time."""

    port = None

    def __init__(self, timeout):
        if self.port.is_rp2 and timeout > 8388:
            raise ValueError("timeout exceeds 8388")
        self.port.calls.append(("watchdog", timeout))

    def feed(self):
        pass


class _RTC:
    """ports/esp32/machine_rtc.c, memory(): RTC_NOINIT_ATTR with a magic number, 2048 bytes. The RP2's has none."""

    def __init__(self, port):
        self._port = port

    def memory(self, data=None):
        if data is None:
            return self._port.rtc_memory
        if len(data) > 2048:
            raise ValueError("buffer too long")
        self._port.rtc_memory = bytes(data)
        return None


class _Interface:
    """ports/esp32/network_wlan.c and network_lan.c, extmod/network_cyw43.c."""

    def __init__(self, port, has_driver):
        self._port = port
        self._has_driver = has_driver  # the ESP32's Wi-Fi, which tries again by itself
        self.configured = False

    def _refuse_while_connecting(self):
        # ESP-IDF, esp_wifi_set_config and esp_wifi_connect: "sta is connecting", ESP_ERR_WIFI_STATE
        if self._has_driver and self._port.connecting and not self._port.connected:
            raise OSError("Wifi Internal State Error")

    def active(self, on):
        self._port.calls.append(("active", on))

    def connect(self, *given):
        self._port.calls.append(("connect", *given))
        self._refuse_while_connecting()
        assert given or self.configured
        self.configured = True
        self._port.connecting = True

    def disconnect(self):
        self._port.calls.append(("disconnect",))
        self._port.connecting = False

    def isconnected(self):
        return self._port.connected

    def ifconfig(self, given=None):
        if given is not None:
            self._port.calls.append(("ifconfig", given))
        return ("192.0.2.9", "255.255.255.0", "192.0.2.1", "192.0.2.2")

    def config(self, name=None, **given):
        if given:
            self._port.calls.append(("config", given))
            self._refuse_while_connecting()
        return b"\x02\x00\x00\x00\x00\xab" if name == "mac" else None

    def status(self, name=None):
        if name is None:
            return 0
        assert name == "rssi"
        if self._has_driver and not self._port.associated:
            raise OSError("Wifi Not Connected")  # esp_wifi_sta_get_ap_info
        return -61


def _network(port):
    network = ModuleType("network")
    network.AP_IF, network.PHY_IP101 = 1, 3
    network.STA_IF, network.PHY_LAN8720, network.PHY_W5500 = 0, 1, 9
    wifi = _Interface(port, not port.is_rp2)
    lan = _Interface(port, False)

    def wlan(which):
        if port.wifi_error is not None:
            raise port.wifi_error
        port.calls.append(("WLAN",))
        return port.own if which == network.AP_IF else port.wifi or wifi

    def make_lan(*, phy_type, phy_addr, spi=None, **pins):
        if (phy_type == network.PHY_W5500) != (spi is not None):
            raise ValueError("invalid phy type")
        if spi is None and port.chip != "ESP32":
            raise OSError("esp_eth_driver_install failed with invalid argument")
        if not port.phy_answers:
            raise OSError("esp_eth_driver_install failed")
        port.calls.append(("LAN",))
        told = {name: getattr(pin, "number", pin) for name, pin in pins.items()}
        port.lan = {"phy_type": phy_type, "phy_addr": phy_addr, "spi": spi} | told
        return port.wired or lan

    if port.is_rp2 and "W5500" in port.machine_name:
        network.WIZNET5K = lambda: port.wired or lan
    else:
        network.WLAN = wlan
        network.WLAN.PM_NONE, network.WLAN.SEC_WPA2 = 0, 3
    if not port.is_rp2:
        network.LAN = make_lan
    network.hostname = lambda name: port.calls.append(("hostname", name))
    network.country = lambda code: port.calls.append(("country", code))
    return network


def _machine(port):
    machine = ModuleType("machine")
    machine.Pin = type("Pin", (_Pin,), {"port": port})
    machine.UART = type("UART", (_UART,), {"port": port})
    machine.WDT = type("WDT", (_WDT,), {"port": port})
    machine.mem32 = _Mem32(port)
    machine.SPI = lambda number, *, sck, mosi, miso: (number, sck.number, mosi.number, miso.number)
    if not port.is_rp2:
        machine.RTC = lambda: _RTC(port)
    machine.WDT_RESET = 3
    machine.reset_cause = lambda: port.reset_cause

    def reset():  # ports/rp2/modmachine.c: watchdog_reboot(0, SRAM_END, 0)
        port.registers[_scratch4(port)] = 0
        port.reset_cause = machine.WDT_RESET if port.is_rp2 else 2

    machine.reset = reset
    machine.unique_id = lambda: b"\xe6\x61\x4c\x31\x1b\x7e\x6f\x35"[: 8 if port.is_rp2 else 6]
    return machine


def _scratch4(port):
    # pico-sdk, addressmap.h: WATCHDOG_BASE; watchdog.h: WATCHDOG_SCRATCH4_OFFSET
    return (0x400D8000 if "RP2350" in port.machine_name else 0x40058000) + 0x1C


def bite(port):
    """The watchdog has restarted the device."""
    port.reset_cause = 3
    port.registers[_scratch4(port)] = _MAGIC


class Slots:
    """The application partitions of an ESP32 and its boot loader's record of them. `limit`: flash operations until the
    power is gone; `states` as esp_flash_partitions.h names them, lower case.

    ports/esp32/esp32_partition.c; ESP-IDF's esp_ota_ops.c and, of the boot loader, bootloader_utility.c."""

    BLOCK = 4096

    def __init__(self, count, blocks=8):
        self.content = [bytearray(b"\xff" * self.BLOCK * blocks) for _ in range(count)]
        self.states = ["undefined"] + ["undefined"] * (count - 1)
        self.running = self.boot = 0
        self.limit = None
        self.operations = 0

    def _operate(self):
        if self.operations == self.limit:
            raise OSError(-0x103)  # nothing is written any more
        self.operations += 1

    def partition(self):
        """The class esp32.Partition."""
        slots = self

        class Partition:
            RUNNING, BOOT = 1, 0

            def __init__(self, which):
                self.number = slots.running if which == self.RUNNING else slots.boot

            def get_next_update(self):
                if len(slots.content) < 2:
                    raise OSError(2)  # esp_ota_get_next_update_partition gives NULL: MP_ENOENT
                found = Partition(self.RUNNING)
                found.number = (self.number + 1) % len(slots.content)
                return found

            def info(self):
                size = len(slots.content[self.number])
                return 0, 0x10 + self.number, 0x10000 + self.number * size, size, f"ota_{self.number}", False

            def ioctl(self, command, argument):
                return {4: len(slots.content[self.number]) // slots.BLOCK, 5: slots.BLOCK}[command]

            def readblocks(self, number, buf):
                at = number * slots.BLOCK
                assert at + len(buf) <= len(slots.content[self.number])
                buf[:] = slots.content[self.number][at : at + len(buf)]

            def writeblocks(self, number, buf):
                assert self.number != slots.running
                at = number * slots.BLOCK
                if len(buf) % slots.BLOCK or at + len(buf) > len(slots.content[self.number]):
                    raise OSError(-0x104)  # ESP_ERR_INVALID_SIZE of esp_partition_erase_range
                slots._operate()
                slots.content[self.number][at : at + len(buf)] = b"\xff" * len(buf)
                slots._operate()
                slots.content[self.number][at : at + len(buf)] = buf

            def set_boot(self):
                if slots.content[self.number][0] != 0xE9:
                    raise OSError(-0x1503)  # ESP_ERR_OTA_VALIDATE_FAILED
                slots._operate()  # otadata: two sectors with checksums, the old one or the new one
                slots.boot = self.number
                slots.states[self.number] = "new"

            @staticmethod
            def mark_app_valid_cancel_rollback():
                slots.states[slots.running] = "valid"

        return Partition

    def reset(self):
        """The boot loader: a new image runs once pending; one that is pending still is aborted."""
        if self.states[self.boot] == "pending_verify":
            self.states[self.boot] = "aborted"
            self.boot = self.boot - 1 if self.boot else len(self.content) - 1
        if self.states[self.boot] == "new":
            self.states[self.boot] = "pending_verify"
        self.running = self.boot


def cut_power(port):
    """The power was off: what a reset keeps is lost. On the ESP32 the RTC's memory holds noise, which has no magic
    number; the RP2's scratch registers are 0 (datasheet 4.7.4)."""
    port.reset_cause = 1
    port.rtc_memory = b""
    port.registers.clear()


def install(monkeypatch, machine_name):
    """A Port with `board`: the module of that board, imported on the fakes."""
    port = Port(machine_name)
    esp32 = ModuleType("esp32")
    esp32.HEAP_DATA = 4
    # (total, free, largest free, least free) of each region: ports/esp32/modesp32.c
    esp32.idf_heap_info = lambda capabilities: [(9000, 5000, 4000, 0), (200_000, 90_000, port.idf_largest, 0)]
    port.slots = Slots(1)
    esp32.Partition = lambda which: port.slots.partition()(which)
    esp32.Partition.RUNNING = 1
    esp32.Partition.mark_app_valid_cancel_rollback = lambda: port.slots.partition().mark_app_valid_cancel_rollback()
    monkeypatch.setitem(sys.modules, "machine", _machine(port))
    monkeypatch.setitem(sys.modules, "network", _network(port))
    monkeypatch.setitem(sys.modules, "esp32", esp32)
    rp2 = ModuleType("rp2")
    rp2.bootsel_button = lambda: port.bootsel
    monkeypatch.setitem(sys.modules, "rp2", rp2)
    for name in ("machine_common", "machine_setup", "esp32", "esp32_slot", "rp2"):
        monkeypatch.delitem(sys.modules, f"firmware.board.{name}", raising=False)
        monkeypatch.delattr(board_package, name, raising=False)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine_name))
    for name in ("ticks_us", "ticks_ms"):
        monkeypatch.setattr(time, name, getattr(port.clock, name), raising=False)
    monkeypatch.setattr(time, "ticks_diff", lambda end, start: end - start, raising=False)
    port.board = importlib.import_module("firmware.board." + ("rp2" if port.is_rp2 else "esp32"))
    return port


def errno_of(function, *arguments):
    """(errno, text) of the OSError that the call raises."""
    try:
        function(*arguments)
    except OSError as error:
        return error.args[0], str(error)
    raise AssertionError("nothing was raised")
