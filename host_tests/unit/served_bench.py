"""Meters with the registers of virtual ones, and units that are served from them, without bus and network."""

import struct

from firmware.meters import profile_loader
from firmware.meters.meter import Meter
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.services.modbus_tcp.served import make_units
from host_tests.unit import fakes
from tools.virtual_meters import VirtualMeter

FRESH_MS = 1_000_000
IDENTITY = ("gateway", "0242ac110002")


class Bench:
    """`now_s`: the uptime, which a test may move on. Meters are in the slots 0, 1, ... at the units 1, 2, ..."""

    def __init__(self, *kinds, **change):
        """`kinds`: names of profiles; `change`: keys of each meter's configuration."""
        self.now_s = 100
        self.virtual = [VirtualMeter(k + 1, kind, seed=k, clock=lambda: 77.7) for k, kind in enumerate(kinds)]
        self.meters = []
        for k, kind in enumerate(kinds):
            section = {
                "slot": k, "name": f"meter {k}", "unit": k + 1, "bus": 0, "interval_s": 5, "max_age_s": 10,
                "timeout_ms": 500, "retries": 1, "auto_timeout": False, "profile": kind, "inverted": False,
                "ct_primary": 1, "ct_secondary": 1, "pt_primary": 1, "pt_secondary": 1, **change,
            }  # fmt: skip
            self.meters.append(Meter(section, profile_loader.of_meter(section, {}), profile_loader.ratios(section)))
        self.readings = Readings(lambda: self.now_s)
        self.log = fakes.Log(lambda: self.now_s)
        for virtual in self.virtual:
            virtual.freeze()

    def poll(self):
        """Reads all meters."""
        for virtual, meter in zip(self.virtual, self.meters, strict=True):
            for block in meter.blocks:
                words = virtual.registers(block.function, block.first, block.count)
                meter.store(block, bytearray(struct.pack(f">{len(words)}H", *words)), 0, FRESH_MS, self.now_s)

    def serve(self, kind="", unit=200, meters="0", sunspec=False, stale="exception", last_s=60):
        """The ServedUnit, or None when there is none."""
        section = {
            "unit": unit, "meters": meters, "as": kind, "sunspec": sunspec, "stale": stale, "last_s": last_s,
        }  # fmt: skip
        profiles = {kind: profile_loader.load(kind)} if kind else {}
        units = make_units([section], profiles, IDENTITY, Meters(self.meters), self.readings, self.log)
        return units.get(unit)


def read(served, function, first, count):
    """The registers, or the exception code."""
    request = struct.pack(">BHH", function, first, count)
    out = bytearray(b"\xaa" * 260)
    n = served.answer(b"xx" + request, 2, 5, out, 7)
    assert out[:7] == b"\xaa" * 7
    end = min(7 + 2 + 2 * count, 260)
    assert out[end:] == b"\xaa" * (260 - end)
    reply = bytes(out[7 : 7 + n])
    if reply[0] & 0x80:
        assert reply[0] == function | 0x80
        assert n == 2
        return reply[1]
    assert reply[:2] == bytes((function, 2 * count))
    return list(struct.unpack(f">{count}H", reply[2:]))
