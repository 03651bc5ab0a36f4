"""Virtual Modbus RTU meters for the sim and the tests: registers, values, misbehaviour.

In:  request PDUs. Out: reply PDUs with the values of a profile (firmware/meters/profiles/*.json), moving over time
     (tools/virtual_load.py). A VirtualLine (tools/virtual_line.py) puts them on a pty or a serial device.

Reads with the function code of the profile's points (3 or 4) are answered, the other one is refused with
exception 1. A quantity of 0, above 125 or above the profile's max_registers: exception 3. An address
outside the map: exception 2; registers between points inside the map read 0. Each meter has the registers by which
its profile's signature knows it. WattsOn-Mark II and PZEM have a few holding registers that can be written (6, 16);
the PZEM knows its own function 0x42 (energy back to 0). Any other function: exception 1. On a meter with export
registers for each phase, phase 3 exports.

As a program: virtual meters until Ctrl-C, see --help.
"""

import argparse
import math
import random
import signal
import struct
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a program: "tools" must be found, and tools/micropython.py must hide nothing
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools import profiles
from tools.virtual_line import VirtualLine
from tools.virtual_load import Load

ILLEGAL_FUNCTION = 1  # Modbus Application Protocol V1.1b3, 7
ILLEGAL_DATA_ADDRESS = 2
ILLEGAL_DATA_VALUE = 3

_READ_MAX = 125  # Modbus Application Protocol V1.1b3, 6.3
_WRITE_MAX = 123  # 6.12
_MAP_GAP = 16  # registers between two points of a profile no further apart than this, or than its gap, read 0
_SEEN_MAX = 1024  # requests that a meter remembers

_DEFAULT_METERS = ("1:eastron-sdm630", "2:elkor-wattson-mk2", "3:pzem-004t-v3")


class ModbusException(Exception):
    """Ends a request with an exception reply; `code` is the exception code."""

    def __init__(self, code):
        super().__init__(f"exception {code}")
        self.code = code


@dataclass
class Behaviour:
    """How one request is answered; the defaults are a well-behaved meter. Attributes of every VirtualMeter.

    silent          no reply at all
    delay_ms        response delay after t3.5
    crc_error       the reply's CRC is wrong
    wrong_unit      the reply comes from unit + 1, with a good CRC
    wrong_function  the reply carries another function code (3 and 4 change places, else + 1), with a good CRC
    wrong_count     the reply to a read has this many registers more (less, if negative) than asked, with a good CRC
    short           this many bytes are missing at the reply's end
    long            this many bytes too many follow the reply
    gap_ms          the reply pauses for so long in its middle
    echo            the request itself comes back first, as from an adapter that hears itself
    noise           these bytes come directly before the reply
    exception       the request is refused with this exception code
    """

    silent: bool = False
    delay_ms: float = 10
    crc_error: bool = False
    wrong_unit: bool = False
    wrong_function: bool = False
    wrong_count: int = 0
    short: int = 0
    long: int = 0
    gap_ms: float = 0
    echo: bool = False
    noise: bytes = b""
    exception: int = 0


BEHAVIOURS = tuple(Behaviour.__dataclass_fields__)

# Registers outside the profile that can be written, by profile id: {address: start value}.
_HOLDING: dict[str, Any] = {
    "elkor-wattson-mk2": dict.fromkeys((0x50D, 0x50E, 0x50F, 0x517, 0x518, 0x519, 0x51A), 0) | {0x518: 1},
    "pzem-004t-v3": {1: 2300, 2: None},  # alarm threshold in W, unit id
}


class VirtualMeter:
    """One meter: unit id, profile, moving values, misbehaviour and counters.

    Behaviour: set the attributes of Behaviour (`meter.silent = True`), or queue faults with fail(); each
    request takes one entry of `faults` and adds it to the attributes. Counters: `requests` (frames
    addressed to this unit with a good CRC), `answered` (replies sent, wrong ones included). `seen` holds
    the last request PDUs.
    """

    __slots__ = (
        "profile",
        "requests",
        "answered",
        "faults",
        "seen",
        "holding",
        "_clock",
        "_unit",
        "_load",
        "_pinned",
        "_frozen_at",
        "_offset",
        "_zero",
        *BEHAVIOURS,
    )

    def __init__(self, unit, profile, seed=0, clock=time.monotonic):
        """unit 1..254; profile an id ("pzem-004t-v3"), a path or a Profile; clock gives seconds."""
        if not 1 <= unit <= 254:
            raise ValueError(f"unit {unit} is not one of 1..254")
        self.profile = profile if isinstance(profile, profiles.Profile) else profiles.load(profile)
        for name, value in vars(Behaviour()).items():
            setattr(self, name, value)
        self.requests = self.answered = 0
        self.faults = deque()
        self.seen = deque(maxlen=_SEEN_MAX)
        self.holding = dict(_HOLDING.get(self.profile.id, {}))
        self._clock, self._unit = clock, unit
        self._offset, self._frozen_at = clock(), None
        self._pinned, self._zero = {}, {}
        names = {point.name for point in self.profile.points}
        exporting = {2} if "energy_export_l3" in names else set()
        phases = 3 if "voltage_l2" in names else 1
        channels = sum(name.startswith("active_power_ch") for name in names)
        self._load = Load(random.Random(f"{seed}/{unit}/{self.profile.id}"), phases, exporting, channels)

    @property
    def unit(self):
        """Unit id; a write to the PZEM's register 2 changes it."""
        return self.holding.get(2) or self._unit if self.profile.id == "pzem-004t-v3" else self._unit

    @property
    def word_order(self):
        """Of the profile; the WattsOn-Mark II turns it round while its register 0x51A is not 0."""
        return "little" if self.holding.get(0x51A) else self.profile.word_order

    def elapsed(self):
        """Seconds that the values have been moving."""
        return (self._clock() if self._frozen_at is None else self._frozen_at) - self._offset

    def freeze(self):
        """Values stop moving, so that what the gateway shows can be compared."""
        if self._frozen_at is None:
            self._frozen_at = self._clock()

    def thaw(self):
        """Values move on from where they stood."""
        if self._frozen_at is not None:
            self._offset += self._clock() - self._frozen_at
            self._frozen_at = None

    def set(self, point, value):
        """Pins a point (number or name) to a value in its base unit; None lets it move again; NaN is what the meter
        says when it has no value.

        Raises ValueError when the registers cannot hold it.
        """
        point = self.profile.point(point)
        if value is None:
            self._pinned.pop(point.name, None)
            return
        try:
            profiles.encode(self._raw(point, value), point.type, self.word_order)
        except (struct.error, OverflowError, ValueError) as error:
            raise ValueError(f"{point.name}: {value} does not fit {point.type}: {error}") from None
        self._pinned[point.name] = value

    def fail(self, *faults):
        """Queues faults, one for each coming request: "crc_error", {name: value, ...} or None (good)."""
        for fault in faults:
            fault = {} if fault is None else {fault: True} if isinstance(fault, str) else dict(fault)
            if unknown := set(fault) - set(BEHAVIOURS):
                raise ValueError(f"{sorted(unknown)} are not among {BEHAVIOURS}")
            self.faults.append(fault)

    def raw(self, point, t=None):
        """The raw value in the registers of a point (number or name), now or at t seconds."""
        point = self.profile.point(point)
        registers = self.registers(point.function, point.address, point.size, t)
        return profiles.decode(registers, point.type, self.word_order)

    def expected(self, point, t=None):
        """What a gateway has to show for a point: raw x scale; a whole number (Wh, ...) when accumulating; None when
        the meter has no value."""
        point = self.profile.point(point)
        return self._shown(point, self.raw(point.number, t))

    def _shown(self, point, raw):
        profile = self.profile
        if profiles.is_void(raw, point.type, profile.no_value, profile.no_value_floats):
            return None
        return point.scaled(raw)

    def expected_all(self):
        """{number: expected value} of every point, all of one moment."""
        t = self.elapsed()
        images = {function: self._image(function, t) for function in {point.function for point in self.profile.points}}
        shown = {}
        for point in self.profile.points:
            words = [images[point.function][point.address + k] for k in range(point.size)]
            shown[point.number] = self._shown(point, profiles.decode(words, point.type, self.word_order))
        return shown

    def registers(self, function, address, count, t=None):
        """What a read gives, registers in wire order, now or at t seconds. Raises ModbusException."""
        image = self._image(function, self.elapsed() if t is None else t)
        identity = self._identity(function)
        if not image and not any(first in range(address, address + count) for first, _ in identity):
            raise ModbusException(ILLEGAL_FUNCTION)
        for (first, _), (words, is_code) in identity.items():
            if is_code and (first, len(words)) == (address, count):
                return words  # also where it lies within a value, as in the EM340
            if first not in image:
                image.update({first + k: word for k, word in enumerate(words)})
        if not 1 <= count <= min(_READ_MAX, self.profile.max_registers):
            raise ModbusException(ILLEGAL_DATA_VALUE)
        first, last = address, address + count - 1
        gap = max(_MAP_GAP, self.profile.gap)
        if not any(begin <= first and last <= end for begin, end in _extents(image, gap)):
            raise ModbusException(ILLEGAL_DATA_ADDRESS)
        return [image.get(address + index, 0) for index in range(count)]

    def answer(self, pdu):
        """The reply PDU to a request PDU, misbehaviour aside (it is a reply's, not the registers')."""
        try:
            return self._answer(bytes(pdu))
        except ModbusException as error:
            return bytes((pdu[0] | 0x80, error.code))

    def _answer(self, pdu):
        function = pdu[0]
        if function in (3, 4) and len(pdu) == 5:
            registers = self.registers(function, *struct.unpack(">HH", pdu[1:]))
            return bytes((function, 2 * len(registers))) + struct.pack(f">{len(registers)}H", *registers)
        if function == 6 and len(pdu) == 5 and self.holding:
            address, value = struct.unpack(">HH", pdu[1:])
            self._write(address, [value])
            return pdu
        if function == 16 and len(pdu) >= 6 and self.holding:
            address, count, size = struct.unpack(">HHB", pdu[1:6])
            if not 1 <= count <= _WRITE_MAX or size != 2 * count or len(pdu) != 6 + size:
                raise ModbusException(ILLEGAL_DATA_VALUE)
            self._write(address, struct.unpack(f">{count}H", pdu[6:]))
            return pdu[:5]
        if function == 0x42 and len(pdu) == 1 and self.profile.id == "pzem-004t-v3":  # energy back to 0
            self._zero["energy_total"] = self._load.at(self.elapsed())["energy_total"]
            return pdu
        raise ModbusException(ILLEGAL_FUNCTION)

    def _write(self, address, values):
        targets = range(address, address + len(values))
        if not all(target in self.holding for target in targets):
            raise ModbusException(ILLEGAL_DATA_ADDRESS)
        for target, value in zip(targets, values, strict=True):
            if self.profile.id == "pzem-004t-v3" and target == 2 and not 1 <= value <= 247:
                raise ModbusException(ILLEGAL_DATA_VALUE)
        self.holding.update(zip(targets, values, strict=True))

    def _image(self, function, t):
        """{address: register} of all that a read with this function code can give at t."""
        image = {}
        points = [point for point in self.profile.points if point.function == function]
        if points:
            values = self._values(t)
            for point in points:
                raw = self._raw(point, values[point.name])
                for index, word in enumerate(profiles.encode(raw, point.type, self.word_order)):
                    image[point.address + index] = word
        if function == 3 and self.holding:
            image.update(self.holding)
            if self.profile.id == "pzem-004t-v3":
                image[2] = self.unit
            else:  # WattsOn-Mark II: a constant to test the word order with, uptime in s, serial number
                for address, value, kind in (
                    (0x513, 1234.567, "float32"),
                    (0x515, t, "uint32"),
                    (0x51D, 20000 + self.unit, "uint16"),
                ):
                    for index, word in enumerate(profiles.encode(value, kind, self.word_order)):
                        image[address + index] = word
        return image

    def _identity(self, function):
        """{(address, count): (registers, whether they are a code)} for each row of the profile's signature, and of its
        constants."""
        identity = {
            (address, len(words)): (list(words), True)
            for row_function, address, words in self.profile.constants
            if row_function == function
        }
        for row_function, address, kind, *test in self.profile.signature:
            if row_function == function:
                is_code = len(test) == 1
                value = test[0][0] if is_code else sum(test) / 2 if kind.startswith("float") else test[0]
                words = profiles.encode(value, kind, self.word_order)
                identity[address, len(words)] = words, is_code
        return identity

    def _raw(self, point, value):
        """What stands in the registers for a value in base units. Raises ValueError."""
        if not math.isnan(value):
            return value / point.scale
        raw = profiles.void(point.type, self.profile.no_value)
        if raw is None:
            raise ValueError("this meter has nothing to say that with")
        return raw

    def _values(self, t):
        values = self._load.at(t)
        for name, zero in self._zero.items():
            values[name] -= zero
        values.update(self._pinned)
        if self.profile.id == "pzem-004t-v3" and "alarm" not in self._pinned:
            values["alarm"] = 0xFFFF if values["active_power"] > self.holding[1] else 0
        return values

    def behaviour(self):
        """The Behaviour for the next request; takes one entry of `faults`."""
        fault = self.faults.popleft() if self.faults else {}
        return Behaviour(**({name: getattr(self, name) for name in BEHAVIOURS} | fault))


def _extents(image, gap):
    """(first, last) of each run of registers no further apart than `gap`."""
    runs = []
    for address in sorted(image):
        if runs and address - runs[-1][1] - 1 <= gap:
            runs[-1][1] = address
        else:
            runs.append([address, address])
    return runs


def parse_meter(text, seed=0):
    """A VirtualMeter from "UNIT:PROFILE". Raises ValueError that says what is wrong."""
    unit, _, profile = text.partition(":")
    if not unit.isdigit() or not profile:
        raise ValueError(f"{text!r} is not UNIT:PROFILE, as in {_DEFAULT_METERS[0]}")
    return VirtualMeter(int(unit), profile, seed)


def default_meters(seed=0):
    """The three meters of the sim: unit 1 SDM630, 2 WattsOn-Mark II, 3 PZEM-004T v3."""
    return [parse_meter(text, seed) for text in _DEFAULT_METERS]


def main(arguments=None):
    """Virtual meters until Ctrl-C, SIGTERM or SIGHUP."""
    parser = argparse.ArgumentParser(prog="virtual_meters.py", description="Virtual Modbus RTU meters on a pty.")
    parser.add_argument(
        "--meter",
        action="append",
        metavar="UNIT:PROFILE",
        help=f"a meter; repeatable; profiles: {', '.join(profiles.available())}; default {' '.join(_DEFAULT_METERS)}",
    )
    parser.add_argument("--baud", type=int, default=9600, help="default %(default)s")
    parser.add_argument("--framing", default="8N1", help="8N1, 8E1, 8O1 or 8N2; default %(default)s")
    parser.add_argument("--delay-ms", type=float, default=10, help="response delay; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the values; default %(default)s")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--serial", metavar="PATH", help="play on this serial device")
    where.add_argument("--link", metavar="PATH", help="keep a symbolic link to the pty here")
    options = parser.parse_args(arguments)
    if not 300 <= options.baud <= 921600:
        parser.error(f"--baud {options.baud}: must be 300..921600")
    try:
        meters = [parse_meter(text, options.seed) for text in options.meter or _DEFAULT_METERS]
        for meter in meters:
            meter.delay_ms = options.delay_ms
        line = VirtualLine(meters, options.baud, options.framing, options.link, options.serial)
    except ValueError as error:
        parser.error(str(error))
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    try:
        line.start()
    except OSError as error:
        parser.error(str(error))
    units = ",".join(str(meter.unit) for meter in meters)
    print(f"line={line.path} baud={line.baud} framing={line.framing} units={units}", flush=True)
    try:
        while line.alive and not ended.wait(0.5):
            pass
    finally:
        line.stop()
    print(" ".join(f"{name}={value}" for name, value in line.counters().items()), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
