"""The search for meters: who is found, at which settings, and that it can be stopped."""

import asyncio
import struct

import pytest

from firmware.bus import Bus, Buses, Request, Router
from firmware.bus.scan import Scan
from host_tests.unit import fakes
from host_tests.unit import the_schema as schema
from host_tests.unit.fakes import FakeLine, defaults, frame, registers

CONFIG = defaults(schema.BUS, uart=1)


class Field:
    """`units` is {(baud, framing): {unit: what it answers with, a function of its request}}; where another unit hears
    something at the wrong settings it says rubbish."""

    def __init__(self, clock, units):
        self.clock = clock
        self.units = units
        self.opened = []
        self.lines = []

    def open_line(self, settings):
        key = settings["baud"], settings["framing"]
        line = FakeLine(self.clock)
        self.opened.append(key)
        self.lines.append(line)
        here = self.units.get(key, {})
        elsewhere = {unit for others in self.units.values() for unit in others}

        def on_send(request):
            unit = request[0]
            if unit in here:
                line.deliver(here[unit](request), len(request) * 11000 / settings["baud"] + 10)
            elif unit in elsewhere:
                line.deliver(b"\xf3\x00\x8e\xff", len(request) * 11000 / settings["baud"] + 10)

        line.on_send = on_send
        return line


def zeros(request):
    return registers(request[0], request[1], *[0] * request[5])


def refuses(request):
    return frame(request[0], request[1] | 0x80, 2)


@pytest.fixture
def clock(monkeypatch):
    clock = fakes.Clock()
    fakes.fake_seam(monkeypatch, clock)
    return clock


def run(clock, events, field, **options):
    search = Scan(CONFIG, events, **options)
    fakes.run_virtual(clock, search.run(field.open_line))
    assert all(line.closed for line in field.lines)
    assert not search.running
    return search


def test_who_answers_anything_right_is_found_with_the_settings_that_it_has(clock, events):
    field = Field(clock, {(9600, "8N1"): {3: zeros, 9: refuses}, (19200, "8E1"): {247: zeros}})
    search = run(clock, events, field, bauds=[9600, 19200], framings=["8N1", "8E1"])
    assert [row[:3] for row in search.found] == [(3, 9600, "8N1"), (9, 9600, "8N1"), (247, 19200, "8E1")]
    assert search.done == search.total == 4 * 247
    assert field.opened == [(9600, "8N1"), (9600, "8E1"), (19200, "8N1"), (19200, "8E1")]
    assert "found unit 9 at 9600 8N1: unknown" in events.texts()


def test_by_default_only_the_settings_of_the_bus_are_tried(clock, events):
    field = Field(clock, {(9600, "8N1"): {1: zeros}})
    search = run(clock, events, field, first=1, last=5)
    assert field.opened == [(9600, "8N1")]
    assert search.total == 5


def test_a_unit_that_was_found_is_not_asked_again_at_the_same_baud_rate(clock, events):
    field = Field(clock, {(9600, "8N1"): {2: zeros}, (9600, "8N2"): {2: zeros}})
    search = run(clock, events, field, framings=["8N1", "8N2"], first=1, last=3)
    assert [row[:3] for row in search.found] == [(2, 9600, "8N1")]
    assert [data[0] for data in field.lines[1].frames()] == [1, 3]


def test_it_stops_after_the_question_under_way(clock, events):
    field = Field(clock, {})
    search = Scan(CONFIG, events, bauds=[9600, 19200])
    search.on_progress = lambda scan: scan.stop() if scan.done == 7 else None
    fakes.run_virtual(clock, search.run(field.open_line))
    assert (search.done, search.running) == (7, False)
    assert field.lines[0].closed


def test_a_silent_unit_costs_its_time_out_and_no_more(clock, events):
    field = Field(clock, {})
    begin = clock.ms
    run(clock, events, field, first=1, last=100, timeout_ms=50)
    assert (clock.ms - begin) / 100 == pytest.approx(50 + 8 * 11 / 9.6, abs=8)


def test_a_line_that_cannot_be_opened_or_goes_away_ends_it_with_the_reason(clock, events):
    def cannot(settings):
        raise OSError(19, "no such device")

    search = Scan(CONFIG, events)
    with pytest.raises(OSError, match="no such device"):
        fakes.run_virtual(clock, search.run(cannot))
    assert not search.running
    assert "no such device" in search.error

    field = Field(clock, {})
    search = Scan(CONFIG, events)
    search.on_progress = lambda scan: field.lines[0].unplug()
    with pytest.raises(OSError, match="unplugged"):
        fakes.run_virtual(clock, search.run(field.open_line))
    assert search.done < 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bauds": [9601]}, "baud: 9601 is not one of 1200, 2400"),
        ({"framings": ["7E1"]}, "framing: 7E1 is not one of 8N1"),
        ({"first": 0}, "units: 0 to 247"),
        ({"last": 248}, "units: 1 to 248"),
        ({"first": 5, "last": 4}, "units: 5 to 4"),
        ({"timeout_ms": 5}, "timeout_ms: 5 is not 20 to 2000"),
    ],
)
def test_what_cannot_be_is_said(events, options, message):
    with pytest.raises(ValueError, match=message):
        Scan(CONFIG, events, **options)


def test_what_it_is_is_told_by_its_signature(clock, events):
    """A PZEM-004T: the rest is the business of the profiles' tests."""
    values = {0: 2301, 7: 500}

    def pzem(request):
        if request[1] != 4:
            return refuses(request)
        first, count = struct.unpack(">HH", request[2:6])
        if first + count > 10:
            return refuses(request)
        return registers(request[0], 4, *[values.get(first + k, 0) for k in range(count)])

    field = Field(clock, {(9600, "8N1"): {1: pzem}})
    search = run(clock, events, field, first=1, last=1)
    assert search.found[0][3][:1] == ["pzem-004t-v3"]


def test_the_bus_lets_it_have_the_line(clock, events):
    field = Field(clock, {(9600, "8N1"): {3: zeros}})
    bus = Bus(0, CONFIG, field.open_line, [], events, lambda: 0)
    buses = Buses([bus], Router([bus], []), events)

    async def test():
        task = asyncio.ensure_future(bus.run())
        await asyncio.sleep(0.1)
        with pytest.raises(ValueError, match="bus: 1 is not one of the 1 in buses"):
            buses.start_scan(1, [], [], 1, 4, 150)
        buses.start_scan(0, [], [], 1, 4, 150)
        search = buses.scan
        with pytest.raises(OSError, match="a scan is running"):
            buses.start_scan(0, [], [], 1, 4, 150)
        assert not buses.pause(None), "nothing is saved while a scan runs"
        while search.running:
            await asyncio.sleep(0.1)
        assert [row[0] for row in search.found] == [3]
        await asyncio.sleep(1.1)
        assert bus.lessee is None
        assert buses.scan is search, "its results stay"
        assert bus.wire is not None
        task.cancel()

    fakes.run_virtual(clock, test())
    assert len(field.opened) == 3


@pytest.mark.parametrize("error", [OSError(19), ValueError("invalid pin")])
def test_a_line_that_cannot_be_opened_ends_a_scan_and_every_request(clock, events, error):
    """ValueError is what a port says of pins that it does not have."""

    def open_line(config):
        raise error

    bus = Bus(0, CONFIG, open_line, [], events, lambda: 0)
    buses = Buses([bus], Router([bus], []), events)

    async def test():
        task = asyncio.ensure_future(bus.run())
        buses.start_scan(0, [], [], 1, 4, 150)
        await asyncio.sleep(0.1)
        assert (buses.scan.running, buses.scan.error, bus.lessee) == (False, str(error), None)
        paused = []
        assert buses.pause(lambda: paused.append(1)), "a save has not to wait for it"
        assert paused
        buses.resume()
        assert not task.done()
        assert bus.submit(a_request()) == 0x0A
        task.cancel()

    fakes.run_virtual(clock, test())


def a_request():
    request = Request(None)
    request.fill_read(1, 3, 0, 1)
    return request
