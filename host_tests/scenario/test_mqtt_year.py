"""A year with an MQTT broker as the receiver, a record every quarter of an hour: weeks without the broker, PUBACKs that
are lost, connections that break, steps of the clock, boots that learn the time late or never, planned restarts, power
cuts at flash writes, more than the flash holds. Each record that was taken has arrived, was counted as lost or undated,
or was not on flash yet when the power went."""

import asyncio
import contextlib
import random
from types import SimpleNamespace

import mqtt
import pytest

from firmware.config import load as config
from firmware.history.recorder import Recorder
from firmware.history.segments import Segments
from firmware.meters.readings import GOOD
from firmware.net import seam
from firmware.net.tcp_client import ConnectionFailed
from firmware.services.mqtt.service import Mqtt
from host_tests.line_protocol_reader import read_line
from host_tests.scenario.test_posting_year import DAY_S, NOON, QUARTER_S, Power, PowerCut
from host_tests.unit import fakes, mqtt_bench, posting_bench
from host_tests.unit.history_bench import Buses, Readings

METERS = 6
DAYS = 365
AWAY = ((40, 47), (90, 125), (300, 301))  # days; the second is longer than what the flash holds
UNSET_S = 2 * 3600  # of a boot that learns the time late
TOPIC = b"meterport/gateway/history"


class DayIsOver(Exception):
    """The gateway goes on from there."""


class Clock:
    """firmware.net.clock.Clock on seconds that only the test moves. `offset_s`: unix time of its zero, None while
    unknown."""

    def __init__(self, world):
        self._world = world
        self.boot_s = world.now_s
        self.offset_s = None

    @property
    def is_set(self):
        return self.offset_s is not None

    def uptime_s(self):
        return self._world.now_s - self.boot_s

    def uptime_ms(self):
        return 1000 * self.uptime_s()

    def unix_s(self):
        return self.offset_s + self._world.now_s if self.is_set else 0


class Client(mqtt_bench.FakeClient):
    """TcpClient whose other end is the broker. It takes each message of the history, or breaks off before or after
    that, so that the PUBACK is lost."""

    def __init__(self, world):
        self.world = world
        self.incoming = []

    async def connect(self, host, port, timeout_ms, tls=None):
        if self.world.is_away:
            raise ConnectionFailed("no answer")
        self.incoming = [mqtt_bench.CONNACK]
        self.reader = mqtt.Reader(2048)

    async def send(self, buf, n, timeout_ms=0):
        world = self.world
        if world.is_away:
            raise ConnectionFailed("closed by the server")
        data = memoryview(bytes(buf[:n]))
        while len(data):
            used = self.reader.next(data)
            data = data[abs(used) :]
            if used > 0 and self.reader.kind == 12:
                self.incoming.append(b"\xd0\x00")
            elif used > 0 and self.reader.kind == mqtt.PUBLISH and self.reader.flags & 6:
                chance = world.rng.random()
                if chance < 0.01:
                    raise ConnectionFailed("closed by the server")
                identifier = world.take(self.reader.body)
                if chance < 0.02:
                    raise ConnectionFailed("closed by the server")
                self.incoming.append((b"\x40\x02" + identifier, world.last))

    def receive_more(self, buf):
        if not self.incoming:
            return None
        data = self.incoming.pop(0)
        if isinstance(data, tuple):
            data, keys = data
            self.world.acknowledged.update(keys)
        buf[: len(data)] = data
        return len(data)

    async def wait_ready(self, events, until_ms):
        if self.incoming:
            return True
        self.world.pass_until_something_is_due()
        return False

    def close(self):
        self.incoming = []


class World:
    """The gateway, its meters and the broker.

    taken: {number of a record: energies of its meters}, of those that a power cut has not taken; dated: numbers of
    those whose boot has known the time; got, acknowledged: {(meter, energy)} that the broker has, and whose PUBACK the
    gateway has."""

    def __init__(self, rng, monkeypatch):
        self.rng = rng
        self.now_s = 0
        self.day_end_s = 0
        self.is_away = False
        self.unix_s = NOON
        self.taken, self.dated, self.got, self.acknowledged = {}, set(), {}, set()
        self.times = {}  # {(meter, energy): begin of the interval by the gateway's clock then, None while unknown}
        self.repeated = self.steps = 0
        self.last = ()
        self.meters = []
        for slot in range(METERS):
            meter = posting_bench.Meter(slot, f"m{slot}")
            meter.state, meter.held, meter.ratios = "online", None, None
            self.meters.append(meter)
        self.series = [(meter, i) for i in range(2) for meter in self.meters]
        monkeypatch.setattr(seam, "ticks_ms", lambda: 1000 * self.now_s & 0x3FFFFFFF)
        monkeypatch.setattr(seam, "ticks_add", lambda ticks, ms: ticks + ms & 0x3FFFFFFF)
        monkeypatch.setattr(seam, "ticks_diff", lambda a, b: (a - b + 0x20000000 & 0x3FFFFFFF) - 0x20000000)
        monkeypatch.setattr(seam, "sleep_ms", self._sleep)
        self.boot()

    # -- the gateway

    def boot(self):
        self.clock = Clock(self)
        chance = self.rng.random()
        self.time_at_s = self.now_s + (0 if chance < 0.8 else UNSET_S if chance < 0.9 else 1 << 40)
        if self.time_at_s == self.now_s:
            self.set_time()
        log = fakes.Log(self.clock.uptime_s)
        buses = Buses()
        segments = Segments("history", 3 * 16384)
        self.recorder = Recorder(self.series, QUARTER_S, 3 * 3600, segments, Readings(), self.clock, buses, log)
        self.first = self.recorder.next_record  # of this boot
        for number in [number for number in self.taken if number >= self.first]:
            del self.taken[number]  # a power cut took it
            self.dated.discard(number)
        values = config.default()["mqtt"] | {"enabled": True, "host": "broker", "history": True, "interval_s": 3600}
        link = SimpleNamespace(
            up=lambda: True, address=lambda: "192.0.2.9", details=lambda: (None,) * 4 + ("02:42:ac:11:00:02", None)
        )
        self.service = Mqtt(
            values, "gateway", "e661", Client(self), None, log, self.clock, link, SimpleNamespace(meters=[]),
            Readings(), buses, SimpleNamespace(records=self.recorder), self.rng.randbytes,
        )  # fmt: skip

    def set_time(self):
        self.clock.offset_s = self.unix_s - self.now_s
        self.dated.update(number for number in self.taken if number >= getattr(self, "first", 0))

    async def _sleep(self, ms):
        if ms >= 1000:
            self._pass(-(-ms // 1000))

    def pass_until_something_is_due(self):
        """To the next quarter of an hour, or the offset at which the gateway sends."""
        self._pass(QUARTER_S // 3)

    def _pass(self, seconds):
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            step = min(end_s - self.now_s, 100 - self.now_s % 100)
            self.now_s += step
            self.unix_s += step
            if self.now_s >= self.time_at_s and not self.clock.is_set:
                self.set_time()
            if self.now_s % 100 == 0:
                self._tick()
        if self.now_s >= self.day_end_s:
            raise DayIsOver

    def _tick(self):
        number = self.recorder.next_record
        for meter in self.meters:
            meter.energy_wh += 1
        taken = self.recorder.taken
        self.recorder.tick(self.clock.uptime_s())
        if self.recorder.taken != taken:
            self.taken[number] = [meter.energy_wh if meter.quality == GOOD else None for meter in self.meters]
            begin_s = None
            if self.clock.is_set:
                self.dated.add(number)
                begin_s = (self.clock.unix_s() // QUARTER_S - 1) * QUARTER_S
            self.times.update(dict.fromkeys(self.keys(number), begin_s))
        self.service.tick()

    def live(self, seconds):
        """Raises PowerCut."""
        self.day_end_s = self.now_s + seconds
        with contextlib.suppress(DayIsOver):
            asyncio.run(self.service.run())

    def restart(self, is_planned):
        before = self.service.history.records.cursor
        if is_planned:
            self.recorder.commit()
            self.service.keep()
        self.boot()
        # Delivered, but the cursor was not kept yet: the gateway takes them for records that wait.
        for number in range(self.service.history.records.cursor, before):
            self.acknowledged.difference_update(self.keys(number))

    def step_clock(self, seconds):
        """What NTP does to a clock that was wrong."""
        self.steps += 1
        self.unix_s += seconds
        if self.clock.is_set:
            self.clock.offset_s += seconds

    # -- the broker

    def take(self, body):
        """A message of the history: its identifier."""
        size = body[0] << 8 | body[1]
        assert body[2 : 2 + size] == TOPIC
        keys = []
        for line in body[4 + size : -1].split(b"\n"):
            _, tags, fields, time = read_line(line)
            if b"energy_import_wh" in fields:
                key = tags[b"meter"], int(fields[b"energy_import_wh"].rstrip(b"i"))
                self.repeated += key in self.got
                assert self.got.setdefault(key, time) == time
                assert self.times[key] in (None, time)
                keys.append(key)
        self.last = keys
        return body[2 + size : 4 + size]

    # -- the balance

    def keys(self, number):
        values = self.taken.get(number, ())
        return {(b"m%d" % slot, value) for slot, value in enumerate(values) if value is not None}


@pytest.mark.parametrize("seed", [1])
def test_every_record_of_a_year_arrives_or_is_counted(tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rng = random.Random(seed)
    power = Power(monkeypatch)
    world = World(rng, monkeypatch)
    cuts = 0
    for day in range(DAYS):
        world.is_away = any(begin <= day < end for begin, end in AWAY)
        for meter in world.meters[1:]:
            meter.power_w = float(rng.randrange(-500, 9000))
            meter.quality = GOOD if rng.random() > 0.05 else GOOD + 1
        chance = rng.random()
        if chance < 0.2:
            power.writes_left = rng.randrange(1, 30)
        elif chance > 0.97:
            world.step_clock(rng.choice((-7200, -40, 40, 7200, 40 * QUARTER_S)))
        try:
            world.live(DAY_S)
        except PowerCut:
            cuts += 1
        if power.is_cut or chance > 0.85:
            power.writes_left = 0
            world.restart(not power.is_cut and chance > 0.9)
        power.writes_left = 0
        power.is_cut = False
    world.is_away = False
    world.restart(True)
    world.time_at_s = world.now_s
    world.live(DAY_S)
    status = world.service.status()
    assert status["waiting"] < 3
    end = world.recorder.next_record - status["waiting"]
    kept = {number for number in world.taken if number < end}
    undated = kept - world.dated
    missing = {number for number in kept - undated if not world.keys(number) <= world.acknowledged}
    print(f"{len(kept)} records: {len(missing)} lost, {len(undated)} undated, {cuts} cuts, {world.repeated} twice")
    assert status["lost"] + status["undated"] == len(missing | undated)
    assert len(missing) > 100
    assert len(undated) > 10
    assert cuts > 10
    assert world.steps > 3
    assert world.repeated > 0
