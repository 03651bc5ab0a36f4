"""A year of posting, a record every quarter of an hour: weeks without the server, answers that are lost, a record that
is refused, planned restarts, power cuts at flash writes, more than the flash holds. Each record that was taken has
arrived, was set aside, was counted as lost, or was not on flash yet when the power went."""

import builtins
import random

import pytest

from firmware.config import store as store_module
from firmware.history import segments as segments_module
from firmware.meters.readings import GOOD
from host_tests.unit.posting_bench import NOON, Bench, Server

DAY_S = 86400
QUARTER_S = 900
REFUSED_S = NOON + 200 * DAY_S
AWAY = ((40, 47), (90, 125), (300, 301))  # days; the second is longer than what the flash holds


class PowerCut(BaseException):
    """Nothing catches it."""


class Power:
    """Goes in the middle of the write to flash that is `writes_left` ahead; 0: stays."""

    def __init__(self, monkeypatch):
        self.writes_left = 0
        self.is_cut = False
        for module in (segments_module, store_module):
            monkeypatch.setattr(module, "open", self._open, raising=False)

    def _open(self, path, mode="r"):
        return builtins.open(path, mode) if "r" in mode else _File(self, builtins.open(path, mode))


class _File:
    def __init__(self, power, file):
        self._power = power
        self._file = file
        self.flush = file.flush

    def write(self, data):
        power = self._power
        if power.writes_left:
            power.writes_left -= 1
            if not power.writes_left:
                self._file.write(bytes(data)[: len(data) // 2])
                self._file.flush()
                power.is_cut = True
                raise PowerCut
        self._file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._file.close()


class ForgetfulServer(Server):
    """Has all times that it was ever sent; `acknowledged`: those of which the gateway knows. Away at times, busy, and
    its answers are sometimes lost."""

    def __init__(self, rng):
        super().__init__(self._answer)
        self.rng = rng
        self.times = set()
        self.acknowledged = set()
        self.repeated = 0

    def _answer(self, request):
        self.requests.clear()
        chance = self.rng.random()
        if chance < 0.01:
            return 503, b"", "Retry-After: 100\r\n"
        if b'"time":%d,' % REFUSED_S in request.body:
            return 400, b"out of range"
        times = [int(part.partition(b",")[0]) for part in request.body.split(b'{"time":')[1:]]
        self.repeated += len(self.times.intersection(times))
        self.times.update(times)
        if chance > 0.98:
            return b""  # the answer is lost
        self.acknowledged.update(times)
        return 204


@pytest.mark.parametrize("seed", [1])
def test_every_record_of_a_year_arrives_or_is_counted(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    server = ForgetfulServer(rng)
    power = Power(monkeypatch)
    bench = Bench(
        tmp_path, monkeypatch, server, meters=6, limit_bytes=3 * 16384, record_s=QUARTER_S, step_s=QUARTER_S,
        commit_s=3 * 3600, interval_s=3600,
    )  # fmt: skip
    cuts = 0
    for day in range(365):
        server.is_down = any(begin <= day < end for begin, end in AWAY)
        for meter in bench.meters:
            meter.power_w = float(rng.randrange(-500, 9000))
            meter.quality = GOOD if rng.random() > 0.05 else GOOD + 1
        chance = rng.random()
        if chance < 0.2:
            power.writes_left = rng.randrange(1, 30)
        try:
            bench.run(DAY_S)
            if chance > 0.9:  # a planned restart
                bench.recorder.commit()
                bench.posting.close()
        except PowerCut:
            cuts += 1
        if power.is_cut or chance > 0.85:
            before = bench.posting.records.cursor
            bench.start()
            # Delivered, but the cursor was not kept yet: the gateway takes them for records that wait.
            forgotten = range(bench.posting.records.cursor, min(before, bench.recorder.next_record))
            server.acknowledged.difference_update([bench.times[number] for number in forgotten])
        power.writes_left = 0
        power.is_cut = False
    assert cuts > 20
    server.is_down = False
    bench.run(DAY_S)
    status = bench.posting.status()
    kept = {bench.times[number] for number in range(bench.recorder.next_record)}  # not what a power cut took
    waiting = set(sorted(kept)[len(kept) - status["waiting"] :]) if status["waiting"] else set()
    missing = kept - server.acknowledged - waiting
    assert REFUSED_S in missing
    assert (status["set_aside"], status["waiting"] < 8) == (1, True)
    assert status["lost"] == len(missing) - 1 > 100
    assert server.times <= set(bench.wanted)
    assert server.repeated > 0
