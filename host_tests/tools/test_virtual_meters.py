"""The virtual meters themselves: a test bed that lies would hide what it is to show."""

import math
import os
import random
import select
import struct
import subprocess
import sys
import time

import pytest

from tools import profiles, virtual_meters
from tools.virtual_line import VirtualLine, adu, crc16, request_length
from tools.virtual_meters import ModbusException, VirtualMeter

_TRIES = 20
CHAR_S = 10 / 9600  # 8N1


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def read(function, address, count):
    return struct.pack(">BHH", function, address, count)


# Values


def test_values_repeat_with_the_same_seed_and_time(clock):
    meters = [VirtualMeter(1, "eastron-sdm630", seed, clock) for seed in (7, 7, 8)]
    clock.now += 12.5
    first, same, other = (meter.expected_all() for meter in meters)
    assert first == same
    assert first != other


@pytest.mark.parametrize("profile", profiles.available())
def test_values_move_and_energies_only_grow(clock, profile):
    meter = VirtualMeter(1, profile, clock=clock)
    before = meter.expected_all()
    moved = dict.fromkeys(before, False)
    for _ in range(200):
        clock.now += 1.7
        now = meter.expected_all()
        for number, value in now.items():
            moved[number] |= value != before[number]
            if meter.profile.point(number).accumulating:
                assert value >= before[number]
        before = now
    still = {meter.profile.point(number).name for number, moves in moved.items() if not moves}
    phases = {f"energy_export_l{n}" for n in (1, 2, 3)} & {point.name for point in meter.profile.points}
    one_way = {"energy_import_l3", "energy_export_l1", "energy_export_l2"} if phases else {"energy_export"}
    # A counter of 100 Wh does not move in so short a time.
    slow = {point.name for point in meter.profile.points if point.accumulating and point.scale == 100}
    assert {name for name in still - one_way - slow if "reactive_energy_export" not in name} <= {"alarm"}


@pytest.mark.parametrize("profile", profiles.available())
def test_every_energy_grows_with_its_power(clock, profile):
    meter = VirtualMeter(1, profile, clock=clock)
    names = {point.name for point in meter.profile.points}
    pairs = [(f"{energy}{tail}", f"active_power{tail}") for energy in ("energy_import", "energy_total")
             for tail in ("", "_l1", "_l2", "_l3", *(f"_ch{n}" for n in range(1, 61)))]  # fmt: skip
    pairs = [(energy, power) for energy, power in pairs if {energy, power} <= names]
    exporting = "energy_export_l3" in names
    number = {name: meter.profile.point(name).number for pair in pairs for name in pair}
    before = meter.expected_all()
    watt_hours = dict.fromkeys(number, 0.0)
    rng = random.Random(7)
    for _ in range(600):
        step_s = rng.uniform(100, 300)  # in step with no swing
        clock.now += step_s / 2
        now = meter.expected_all()
        for power in {power for _, power in pairs}:
            watt_hours[power] += now[number[power]] * step_s / 3600
        clock.now += step_s / 2
    now = meter.expected_all()
    for energy, power in pairs:
        grown = now[number[energy]] - before[number[energy]]
        if exporting and power not in ("active_power_l1", "active_power_l2"):
            assert grown >= 0, energy  # a phase exports: the sum of powers is not the sum of what was counted
        else:
            step = 2 * meter.profile.point(energy).scale
            assert grown == pytest.approx(watt_hours[power], rel=0.04, abs=step), energy
    assert pairs


@pytest.mark.parametrize("profile", ["eastron-sdm630", "elkor-wattson-mk2", "janitza-umg96rm-e", "elkor-wattson-1100"])
@pytest.mark.parametrize("at_s", [0.0, 33.3, 5000.0])
def test_power_is_voltage_times_current_times_power_factor(clock, profile, at_s):
    meter = VirtualMeter(1, profile, clock=clock)
    clock.now += at_s
    for phase in ("l1", "l2", "l3"):
        v, i, pf, p, q, s = (
            meter.expected(f"{name}_{phase}")
            for name in (
                "voltage",
                "current",
                "power_factor",
                "active_power",
                "reactive_power",
                "apparent_power",
            )
        )
        assert p == pytest.approx(v * i * pf, rel=1e-5)
        assert s == pytest.approx((p * p + q * q) ** 0.5, rel=1e-5)
        assert 200 < v < 260
        assert 0 < i < 20
    total = sum(meter.expected(f"active_power_{phase}") for phase in ("l1", "l2", "l3"))
    assert meter.expected("active_power") == pytest.approx(total, rel=1e-5)


def test_an_hour_of_power_is_the_growth_of_the_energy(clock):
    meter = VirtualMeter(1, "pzem-004t-v3", clock=clock)
    begin, energy, steps = meter.expected("energy_total"), 0.0, 3600
    for _ in range(steps):
        clock.now += 0.5
        energy += meter.expected("active_power") / 3600
        clock.now += 0.5
    assert meter.expected("energy_total") - begin == pytest.approx(energy, abs=2)


def test_one_phase_of_a_meter_with_export_registers_exports(clock):
    meter = VirtualMeter(1, "eastron-sdm630", clock=clock)
    assert meter.expected("active_power_l3") < 0 < meter.expected("active_power_l1")
    before = meter.expected("energy_export")
    clock.now += 3600
    assert meter.expected("energy_export") > before
    total = meter.expected("energy_import") + meter.expected("energy_export")
    assert meter.expected("energy_total") == pytest.approx(total, rel=1e-6)


def test_frozen_values_stand_still_and_go_on_without_a_jump(clock):
    meter = VirtualMeter(1, "eastron-sdm630", clock=clock)
    clock.now += 10
    meter.freeze()
    before = meter.expected_all()
    clock.now += 1000
    assert meter.expected_all() == before
    meter.thaw()
    assert meter.expected_all() == before
    clock.now += 10
    assert meter.expected_all() != before


def test_a_pinned_value_is_what_the_registers_say(clock):
    meter = VirtualMeter(3, "pzem-004t-v3", clock=clock)
    meter.set("active_power", 123456.7)
    meter.set(1, 230.4)
    assert meter.registers(4, 3, 2) == [1234567 & 0xFFFF, 1234567 >> 16]
    assert meter.registers(4, 0, 1) == [2304]
    assert meter.expected("active_power") == pytest.approx(123456.7)
    with pytest.raises(ValueError, match=r"voltage_l1: 6553\.6 does not fit uint16"):
        meter.set("voltage_l1", 6553.6)
    meter.set("active_power", None)
    assert meter.expected("active_power") < 10000


@pytest.mark.parametrize(
    ("profile", "name"),
    [("abb-b23", "voltage_l2"), ("abb-b23", "active_power"), ("abb-b23", "energy_import"), ("abb-b23", "frequency"),
     ("schneider-iem3155", "energy_import"), ("schneider-iem3155", "voltage_l1"), ("eastron-sdm630", "frequency")],
)  # fmt: skip
def test_a_meter_can_say_that_it_has_no_value(profile, name):
    meter = VirtualMeter(1, profile)
    meter.set(name, math.nan)
    assert meter.expected(name) is None
    meter.set(name, None)
    assert meter.expected(name) > 0


def test_a_meter_without_such_a_word_cannot():
    with pytest.raises(ValueError, match="nothing to say that with"):
        VirtualMeter(1, "pzem-004t-v3").set("voltage_l1", math.nan)


# Registers and functions


def test_a_read_gives_the_points_at_their_addresses():
    meter = VirtualMeter(1, "eastron-sdm630")
    meter.freeze()
    pdu = meter.answer(read(4, 0x34, 2))
    assert pdu[:2] == b"\x04\x04"
    assert struct.unpack(">f", pdu[2:])[0] == meter.expected("active_power")


@pytest.mark.parametrize(
    ("profile", "pdu", "code"),
    [
        ("eastron-sdm630", read(3, 0, 2), 1),
        ("elkor-wattson-mk2", read(4, 0x200, 2), 1),
        ("eastron-sdm630", b"\x07", 1),
        ("eastron-sdm630", bytes((6, 0, 0, 0, 1)), 1),
        ("eastron-sdm630", b"\x42", 1),
        ("eastron-sdm630", read(4, 0, 0), 3),
        ("eastron-sdm630", read(4, 0, 51), 3),
        ("eastron-sdm630", read(3, 0xFC02, 2), 2),
        ("eastron-sdm630", read(3, 0xFC01, 1), 1),
        ("elkor-wattson-mk2", read(3, 0x200, 65), 3),
        ("pzem-004t-v3", read(4, 0, 126), 3),
        ("pzem-004t-v3", read(4, 1, 10), 2),
        ("eastron-sdm630", read(4, 81, 2), 2),
        ("eastron-sdm630", read(4, 0x9000, 2), 2),
        ("elkor-wattson-mk2", read(3, 0x1FF, 2), 2),
        ("pzem-004t-v3", bytes((6, 0, 9, 0, 1)), 2),
        ("pzem-004t-v3", bytes((6, 0, 2, 0, 248)), 3),
        ("pzem-004t-v3", bytes((16, 0, 1, 0, 1, 4, 0, 1, 0, 2)), 3),
    ],
)
def test_a_bad_request_gets_its_exception(profile, pdu, code):
    assert VirtualMeter(1, profile).answer(pdu) == bytes((pdu[0] | 0x80, code))


def test_registers_between_points_of_the_map_read_zero():
    meter = VirtualMeter(1, "eastron-sdm630")
    registers = meter.registers(4, 0, 40) + meter.registers(4, 40, 40)
    mapped = {point.address + k for point in meter.profile.points for k in range(point.size)}
    assert all(registers[address] == 0 for address in range(80) if address not in mapped)
    assert all(any(registers[a : a + 2]) for a in range(0, 36, 2))


@pytest.mark.parametrize(
    ("profile", "function", "address", "count", "words"),
    [
        ("eastron-sdm120", 3, 0xFC02, 1, [32]),
        ("eastron-sdm630", 3, 0xFC02, 1, [112]),
        ("eastron-sdm72d-m", 3, 0xFC02, 1, [132]),
        ("eastron-sdm72d-m-v2", 3, 0xFC02, 1, [137]),
        ("abb-b23", 3, 0x8960, 2, [0x4232, 0x3320]),
        ("schneider-iem3155", 3, 0x31, 4, [0x6945, 0x4D33, 0x3135, 0x3500]),
        ("carlo-gavazzi-em340", 4, 11, 1, [331]),
        ("elkor-wattson-mcm", 3, 0x47A0, 1, [1]),
    ],
)
def test_a_meter_has_what_it_is_known_by(profile, function, address, count, words):
    assert VirtualMeter(1, profile).registers(function, address, count) == words


def test_the_code_of_the_em340_stands_there_only_when_it_is_read_alone():
    meter = VirtualMeter(1, "carlo-gavazzi-em340")
    meter.freeze()
    assert meter.registers(4, 10, 2)[1] == meter.registers(4, 0, 50)[11] != 331
    assert meter.raw("voltage_l3_l1") == pytest.approx(4000, abs=100)


def test_holding_registers_of_the_pzem_are_written_and_act():
    meter = VirtualMeter(3, "pzem-004t-v3")
    assert meter.expected("alarm") == 0
    assert meter.answer(bytes((6, 0, 1, 0, 5))) == bytes((6, 0, 1, 0, 5))
    assert meter.registers(3, 1, 2) == [5, 3]
    assert meter.expected("alarm") == 0xFFFF
    assert meter.answer(bytes((16, 0, 2, 0, 1, 2, 0, 9))) == bytes((16, 0, 2, 0, 1))
    assert meter.unit == 9


def test_the_pzem_resets_its_energy(clock):
    meter = VirtualMeter(3, "pzem-004t-v3", clock=clock)
    assert meter.expected("energy_total") > 0
    assert meter.answer(b"\x42") == b"\x42"
    assert meter.expected("energy_total") == 0
    clock.now += 3600
    assert meter.expected("energy_total") > 0


def test_the_wattson_swaps_words_on_demand():
    meter = VirtualMeter(2, "elkor-wattson-mk2")
    constant = list(struct.unpack(">2H", struct.pack(">f", 1234.567)))
    assert meter.registers(3, 0x513, 2) == constant
    meter.answer(bytes((6, 0x05, 0x1A, 0, 1)))
    assert meter.registers(3, 0x513, 2) == constant[::-1]
    assert meter.expected("frequency") == pytest.approx(50, abs=0.2)


def test_registers_raise_what_the_wire_would_say():
    with pytest.raises(ModbusException) as error:
        VirtualMeter(1, "eastron-sdm630").registers(4, 0x9000, 1)
    assert error.value.code == virtual_meters.ILLEGAL_DATA_ADDRESS


# Framing


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0x4B37),  # the check value of CRC-16/MODBUS
        (bytes.fromhex("01030000000A"), 0xCDC5),
        (bytes.fromhex("1103006B0003"), 0x8776),
        (bytes.fromhex("0207"), 0x1241),  # Modbus over Serial Line V1.02, appendix B
        (b"", 0xFFFF),
    ],
)
def test_crc_matches_published_vectors(data, crc):
    assert crc16(data) == crc
    assert crc16(data + crc.to_bytes(2, "little")) == 0


@pytest.mark.parametrize(
    "pdu",
    [
        read(3, 0, 1), read(4, 0, 1), bytes((5, 0, 0, 0xFF, 0)), bytes((6, 0, 1, 0, 5)), b"\x07", b"\x0b",
        b"\x08\0\0\1\2", b"\x0f\0\0\0\x0a\2\1\2", b"\x10\0\0\0\1\2\0\1", b"\x11", b"\x16\0\0\0\1\0\2",
        b"\x17\0\0\0\1\0\0\0\1\2\0\1", b"\x18\0\0", b"\x2b\x0e\x01\x00", b"\x14\x07\6\0\1\0\0\0\1",
    ],
    ids=lambda pdu: f"function-{pdu[0]}",
)  # fmt: skip
def test_the_length_of_a_request_is_known_from_its_beginning(pdu):
    frame = adu(1, pdu)
    for cut in range(len(frame)):
        assert request_length(frame[:cut]) in (0, len(frame))
    assert request_length(frame) == len(frame)
    assert request_length(frame + b"more") == len(frame)


def test_only_silence_ends_an_unknown_function():
    assert request_length(adu(1, b"\x42")) is None
    assert request_length(adu(1, b"\x2b\x0d\x01\x00")) is None


# The line


class Master:
    """The gateway's end of a line, byte by byte, with the time of every arrival."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def send(self, data):
        self.sent = time.monotonic()
        os.write(self.fd, data)

    def receive(self, length, timeout=3.0):
        """[(seconds since send(), bytes)] until `length` bytes came or nothing comes for `timeout`."""
        arrivals, got = [], 0
        while got < length and select.select([self.fd], [], [], timeout)[0]:
            data = os.read(self.fd, 1024)
            arrivals.append((time.monotonic() - self.sent, data))
            got += len(data)
        return arrivals

    def ask(self, unit, pdu, length):
        self.send(adu(unit, pdu))
        return b"".join(data for _, data in self.receive(length))

    def close(self):
        os.close(self.fd)


@pytest.fixture
def line(tmp_path):
    meters = virtual_meters.default_meters()
    for meter in meters:
        meter.delay_ms = 1
    with VirtualLine(meters, baud=115200, link=tmp_path / "bus0") as line:
        line.freeze()
        yield line


@pytest.fixture
def master(line):
    master = Master(line.path)
    yield master
    master.close()


def reply(line, unit, pdu):
    return adu(unit, line.meter(unit).answer(pdu))


def test_every_unit_on_the_line_answers_for_itself(line, master):
    for unit, pdu in ((1, read(4, 0, 36)), (2, read(3, 0x220, 42)), (3, read(4, 0, 10))):
        wanted = reply(line, unit, pdu)
        assert master.ask(unit, pdu, len(wanted)) == wanted
    assert line.counters() | {"requests": 3, "answered": 3} == line.counters()
    assert line.meter(2).seen[-1] == read(3, 0x220, 42)


def test_a_request_in_single_bytes_is_one_request(line, master):
    pdu = read(4, 0, 2)
    for _ in range(_TRIES):
        for byte in adu(1, pdu):
            master.send(bytes((byte,)))
        got = b"".join(data for _, data in master.receive(9))
        if got:  # nothing where this machine made a pause as long as silence
            break
    assert got == reply(line, 1, pdu)


def test_an_unknown_function_is_answered_after_silence(line, master):
    assert master.ask(1, b"\x44\x01\x02", 5) == adu(1, b"\xc4\x01")
    assert master.ask(3, b"\x42", 4) == adu(3, b"\x42")


def test_a_crc_error_and_a_foreign_unit_are_met_with_silence(line, master):
    frame = bytearray(adu(1, read(4, 0, 2)))
    frame[-1] ^= 1
    master.send(bytes(frame))
    line.wait_for(lambda: line.crc_errors == 1)
    line.wait_for(lambda: not line.deaf)
    wanted = reply(line, 1, read(4, 2, 2))
    assert master.ask(1, read(4, 2, 2), 9) == wanted
    master.send(adu(99, read(4, 0, 2)))
    line.wait_for(lambda: line.foreign == 1)
    assert master.ask(1, read(4, 2, 2), 9) == wanted


def test_half_a_request_is_forgotten_after_silence(line, master):
    master.send(adu(1, read(4, 0, 2))[:5])
    line.wait_for(lambda: line.broken == 5)
    assert master.ask(1, read(4, 2, 2), 9) == reply(line, 1, read(4, 2, 2))


def test_a_broadcast_is_carried_out_and_not_answered(line, master):
    master.send(adu(0, bytes((6, 0, 1, 0, 77))))
    line.wait_for(lambda: line.broadcasts == 1)
    assert line.meter(3).holding[1] == 77
    assert line.answered == 0


def test_a_reply_is_no_faster_than_the_wire():
    length = 3 + 2 * 50 + 2
    begin = 8 * CHAR_S + 3.5 * 11 / 9600 + 0.010  # request on the wire, t3.5, response delay
    most = 0
    with VirtualLine([VirtualMeter(1, "eastron-sdm630")], baud=9600) as line:
        master = Master(line.path)
        for _ in range(_TRIES):
            master.send(adu(1, read(4, 0, 50)))
            arrivals = master.receive(length)
            got = 0
            for at, data in arrivals:
                got += len(data)
                assert at >= begin + got * CHAR_S - 0.001
            assert got == length
            # In pieces, as a UART driver hands them over; a busy machine takes several at once.
            most = max(most, len(arrivals))
            if most > 5:
                break
        master.close()
    assert most > 5


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("crc_error", lambda good: good[:-1] + bytes((good[-1] ^ 0xFF,))),
        ("wrong_unit", lambda good: adu(2, good[1:-2])),
        ("wrong_function", lambda good: adu(1, b"\x03" + good[2:-2])),
        ({"short": 3}, lambda good: good[:-3]),
        ({"long": 3}, lambda good: good + b"\x55\x56\x57"),
        ({"wrong_count": 1}, lambda good: adu(1, b"\x04\x06" + good[3:-2] + b"\0\0")),
        ({"wrong_count": -1}, lambda good: adu(1, b"\x04\x02" + good[3:5])),
        ({"wrong_count": -2}, lambda good: adu(1, b"\x04\x00")),
        ("echo", lambda good: adu(1, read(4, 0, 2)) + good),
        ({"noise": b"\x00\xff"}, lambda good: b"\x00\xff" + good),
        ({"exception": 6}, lambda good: adu(1, b"\x84\x06")),
        (None, lambda good: good),
    ],
    ids=lambda value: "change" if callable(value) else str(value),
)
def test_a_fault_spoils_one_reply_and_only_one(line, master, fault, change):
    good = reply(line, 1, read(4, 0, 2))
    wanted = change(good)
    line.meter(1).fail(fault)
    assert master.ask(1, read(4, 0, 2), len(wanted)) == wanted
    assert master.ask(1, read(4, 0, 2), len(good)) == good


def test_a_reply_with_a_gap_pauses_in_its_middle(line, master):
    good = reply(line, 1, read(4, 0, 20))
    line.meter(1).fail({"gap_ms": 1000})
    master.send(adu(1, read(4, 0, 20)))
    arrivals = master.receive(len(good))
    assert b"".join(data for _, data in arrivals) == good
    times = [at for at, _ in arrivals]
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert max(pauses) > 0.5  # shorter where this machine was late to take the first half
    got = sum(len(data) for at, data in arrivals[: pauses.index(max(pauses)) + 1])
    assert got == len(good) // 2
    line.wait_for(lambda: line.answered == 1)


def test_a_silent_meter_counts_the_request_and_says_nothing(line, master):
    line.meter(1).silent = True
    master.send(adu(1, read(4, 0, 2)))
    line.wait_for(lambda: line.meter(1).requests == 1)
    assert master.ask(3, read(4, 0, 1), 7) == reply(line, 3, read(4, 0, 1))  # nothing of unit 1 came before
    assert line.meter(1).answered == 0


def test_a_late_reply_comes_after_the_reply_to_a_later_request(line, master):
    line.meter(1).fail({"delay_ms": 1500})
    master.send(adu(1, read(4, 0, 2)))
    line.wait_for(lambda: line.requests == 1)
    assert master.ask(3, read(4, 0, 1), 7) == reply(line, 3, read(4, 0, 1))
    assert b"".join(data for _, data in master.receive(9)) == reply(line, 1, read(4, 0, 2))


def test_an_unknown_fault_or_attribute_is_refused():
    meter = VirtualMeter(1, "eastron-sdm630")
    with pytest.raises(ValueError, match="'slient'"):
        meter.fail("slient")
    with pytest.raises(AttributeError):
        meter.slient = True


def test_a_line_that_stops_leaves_no_link_and_can_start_again(tmp_path):
    link = tmp_path / "bus0"
    line = VirtualLine([VirtualMeter(1, "eastron-sdm630")], baud=115200, link=link)
    for _ in range(2):
        with line:
            assert link.is_symlink()
            master = Master(link)
            assert master.ask(1, read(4, 0, 2), 9)[:3] == b"\x01\x04\x04"
            master.close()
        assert not link.is_symlink()
        assert not line.alive


def test_a_file_in_the_place_of_the_link_is_not_overwritten(tmp_path):
    path = tmp_path / "bus0"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        VirtualLine([VirtualMeter(1, "eastron-sdm630")], link=path).start()
    assert path.read_text() == "mine"


def test_two_meters_cannot_have_one_unit_id():
    with pytest.raises(ValueError, match="not all different"):
        VirtualLine([VirtualMeter(1, "eastron-sdm630"), VirtualMeter(1, "pzem-004t-v3")])


def test_the_program_plays_meters_on_a_link_until_it_is_told_to_end(tmp_path):
    link = tmp_path / "line"
    path = profiles.METERS_DIR.parent.parent.parent / "tools" / "virtual_meters.py"
    program = subprocess.Popen(
        [sys.executable, path, "--meter", "5:pzem-004t-v3", "--baud", "115200", "--link", link],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout.readline() == f"line={link} baud=115200 framing=8N1 units=5\n"
        master = Master(link)
        assert master.ask(5, read(4, 0, 10), 25)[:3] == b"\x05\x04\x14"
        master.close()
    finally:
        program.terminate()
        _, errors = program.communicate(timeout=10)
    assert program.returncode == 0
    assert "requests=1 answered=1" in errors
    assert not link.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--meter", "1"], "'1' is not UNIT:PROFILE"),
        (["--meter", "1:sdm"], "no such profile"),
        (["--meter", "255:pzem-004t-v3"], "255 is not one of 1..254"),
        (["--baud", "1"], "--baud 1: must be"),
        (["--framing", "7N1"], "is not like 8N1"),
        (["--serial", "/nonexistent"], "/nonexistent"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        virtual_meters.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
