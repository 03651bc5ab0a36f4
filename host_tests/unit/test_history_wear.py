"""What history costs the flash, counted from the block device below the real littlefs: the recorder with the records
and the daily totals of 32 meters, at the default settings. docs/reference/configuration.md states the numbers."""

import random

import pytest

from firmware.history import segments
from firmware.history.recorder import Recorder
from firmware.history.segments import Segments
from host_tests.unit import fakes
from host_tests.unit.flash import Device, Flash, Geometry
from host_tests.unit.history_bench import INTERVAL_S, NOON, Buses, Clock, Meter, Readings

METERS = 32
DAY_S = 86400
DAYS = 40
LIMIT_BYTES = 300 * 1024  # is full after half of the time: then segments are removed, too
BLOCKS = 212  # Pico W: 848 KB; an ESP32 has more, which is less for each
CYCLES = 100_000  # that NOR flash is good for
ESP32 = Geometry("esp32", 4096, BLOCKS, 32, 32)
RP2 = Geometry("rp2", 4096, BLOCKS, 32, 256)


def record(days):
    """Runs both recorders for so long, with loads of dwellings, which turn on and off. Returns them."""
    rng = random.Random(5)
    clock = Clock()
    clock.offset_s = NOON - clock.seconds
    meters = [Meter(slot) for slot in range(METERS)]
    parts = Readings(), clock, Buses(), fakes.Log(clock.uptime_s)
    energies = [(meter, 0) for meter in meters]
    both = energies + [(meter, 1) for meter in meters]
    records = Recorder(both, INTERVAL_S, 3600, Segments("data/history", LIMIT_BYTES), *parts)
    daily = Recorder(energies, DAY_S, 0, Segments("data/daily", LIMIT_BYTES), *parts)
    for _ in range(days * DAY_S // INTERVAL_S):
        for meter in meters:
            if rng.random() < 0.1:
                meter.power_w = rng.choice((50, 200, 800, 2000)) + rng.randrange(30)
            meter.energy_wh += round(meter.power_w * INTERVAL_S / 3600)
        clock.seconds += INTERVAL_S
        records.tick(clock.seconds)
        daily.tick(clock.seconds)
    return records, daily


@pytest.mark.parametrize("geometry", [ESP32, RP2], ids=lambda geometry: geometry.name)
def test_the_flash_outlives_the_device(geometry, monkeypatch):
    flash = Flash(geometry)
    device = Device(flash, fresh=True)
    device.os.mkdir("data")
    device.install(monkeypatch, (segments,))
    records, daily = record(DAYS)
    assert records.segments.removed > 0
    assert (records.lost, daily.lost) == (0, 0)
    assert (records.taken, daily.taken) == (DAYS * DAY_S // INTERVAL_S - 1, DAYS)  # it begins within an interval
    assert 15 * 1024 < records.bytes_a_day + daily.bytes_a_day < 30 * 1024
    erases_a_year = sum(flash.erases) * 365 // DAYS
    erases_of_a_block_a_year = max(flash.erases) * 365 // DAYS
    assert erases_a_year < 12_000
    assert erases_of_a_block_a_year < 400 < CYCLES // 200  # years
    # What the page says is what is written.
    written = records.segments.bytes * records.taken // (records.taken - records.segments.removed)
    assert written / DAYS == pytest.approx(records.bytes_a_day, rel=0.05)
