"""What tests of the MQTT service share: meters, a connection whose other end is the test, and a clock that jumps."""

import asyncio
import functools
from types import SimpleNamespace

import mqtt
import pytest

from firmware.config import load as config
from firmware.meters.meter import ONLINE, Meter
from firmware.meters.profile import UNITS, Profile, pack_names
from firmware.meters.readings import GOOD, QUALITIES
from firmware.net import seam
from firmware.net.tcp_client import ConnectionFailed
from firmware.services.mqtt.service import Mqtt
from host_tests.unit.fakes import Log, Uptime

CONNACK = b"\x20\x02\x00\x00"
ROOT = b"meterport/hall"
HELD = QUALITIES.index("held")
UNIX_MS = 1_749_945_600_123


class FakeProfile:
    names = pack_names(["active_power", "energy_import"])
    numbers = bytes((16, 32))
    units = (3, 7)
    counters = (1,)
    encodings = ((0, 1, 1, 0, 1, 0),)  # none is plain
    encoding_of = offsets = bytes(256)

    def __len__(self):
        return 2

    name_of = Profile.name_of

    def unit(self, i):
        return UNITS[self.units[i]]

    def accumulates(self, i):
        return i in self.counters

    def decimal(self, i, raw, ratios):
        return 99_000_000_001 << 4 if i else 12345 << 4 | 1


class FakeReadings:
    def __init__(self):
        self.values = {0: 1234.5, 1: 99_000_000_001}
        self.quality = GOOD

    def read(self, meter, i):
        return self.values[i], 0, self.quality

    def of_block(self, meter, block):
        return 0, GOOD if self.quality == HELD else self.quality


class FakeClient:
    """A connection to a broker that the test plays."""

    def __init__(self, bench):
        self.bench = bench
        self.sent = b""
        self.incoming = [CONNACK]
        self.refusals = []
        self.closed = 0

    async def connect(self, host, port, timeout_ms, tls=None):
        self.bench.attempts.append((host, port))
        if self.refusals:
            raise ConnectionFailed(self.refusals.pop(0))
        self.incoming = self.incoming or [CONNACK]

    async def send(self, buf, n, timeout_ms=0):
        assert n <= 1024 or buf[0] == 0x10  # CONNECT
        self.sent += bytes(buf[:n])

    async def receive(self, buf, timeout_ms=0):
        data = self.incoming.pop(0)
        buf[: len(data)] = data
        return len(data)

    def receive_more(self, buf):
        if not self.incoming:
            return None
        data = self.incoming.pop(0)
        buf[: len(data)] = data
        return len(data)

    async def wait_ready(self, events, until_ms):
        if self.incoming:
            return True
        self.bench.pass_s(1)
        return False

    def close(self):
        self.closed += 1


class FakeBuses:
    """They rest at once, unless is_busy."""

    def __init__(self):
        self.is_busy = False
        self.paused = False
        self.pauses = self.resumes = 0

    def pause(self, on_paused):
        self.pauses += 1
        if self.is_busy:
            return False
        on_paused()
        return True

    def resume(self):
        self.resumes += 1


class Done(Exception):
    pass


class Bench:
    """`history`: the recorder of records on flash, None without; `serial`, `name`: of the device; `client`: makes its
    client of this bench. The history is sent where there is a recorder, or with `is_history`."""

    def __init__(self, monkeypatch, seconds=5, meters=None, history=None, is_history=False, serial=None,
                 client=FakeClient, name="hall", tls=None, page_port=80, **section):  # fmt: skip
        self.uptime = Uptime()
        self.log = Log(self.uptime)
        self.now_ms = 0
        self.left_s = seconds
        self.attempts = []
        self.slept_ms = []
        self.at = {}  # {uptime: what happens}
        monkeypatch.setattr(seam, "ticks_ms", lambda: self.now_ms)
        monkeypatch.setattr(seam, "sleep_ms", self._sleep)
        self.readings = FakeReadings()
        meter = SimpleNamespace(
            name="ma/in", slot=2, state=ONLINE, profile=FakeProfile(), profile_name="kind", block_of=(0, 0),
            blocks=(SimpleNamespace(raw=b""),), ratios=None, held=None,
            point_id=lambda i: 2 << 8 | FakeProfile.numbers[i],
        )  # fmt: skip
        meter.decimal = functools.partial(Meter.decimal, meter)
        self.meter = meter
        self.client = client(self)
        self.buses = FakeBuses()
        self.is_up = True
        self.unix_s = 299  # the end of an interval of any length: all that waits is due
        self.clock = SimpleNamespace(
            uptime_s=self.uptime, is_set=True, unix_s=lambda: self.unix_s, unix_ms=lambda: UNIX_MS + self.now_ms
        )
        details = (None,) * 4 + (serial, None)
        link = SimpleNamespace(up=lambda: self.is_up, address=lambda: "192.0.2.9", details=lambda: details)
        values = config.default()["mqtt"] | {"enabled": True, "host": "broker", "interval_s": 2} | section
        values["history"] = is_history or history is not None
        self.service = Mqtt(
            values, name, "e661", self.client, tls, self.log, self.clock, link,
            SimpleNamespace(meters=meters if meters is not None else [meter]), self.readings, self.buses,
            SimpleNamespace(records=history), lambda n: b"\x03" * n, page_port,
        )  # fmt: skip

    def pass_s(self, seconds):
        self.uptime.now += seconds
        self.now_ms += 1000 * seconds
        self.left_s -= seconds
        self.at.pop(self.uptime.now, lambda: None)()
        if self.left_s < 0:
            raise Done

    async def _sleep(self, ms):
        self.slept_ms.append(ms)
        if ms >= 1000:
            self.pass_s(ms // 1000)

    def live(self):
        """Runs until the time is over."""
        with pytest.raises(Done):
            asyncio.run(self.service.run())

    def run(self):
        """The packets that were sent until the time was over: [(kind, flags, body)]."""
        self.live()
        reader, data, found = mqtt.Reader(), memoryview(self.client.sent), []
        while len(data):
            before = data
            n = reader.next(data)
            assert n > 0
            data = data[n:]
            head = 2 if reader.size < 128 else 3
            found.append((reader.kind, reader.flags, bytes(before[head:n])))
        return found

    def messages(self):
        """[(topic, payload)] of what was published, all of it with QoS 0 and not retained."""
        found = self.published()
        assert not any(retained for _, _, retained in found)
        return [(topic, payload) for topic, payload, _ in found]

    def payloads_of(self, ending):
        """Of the topics that end so."""
        return [payload for topic, payload, _ in self.published() if topic.endswith(ending)]

    def published(self):
        """[(topic, payload, whether retained)]"""
        found = []
        for kind, flags, body in self.run():
            if kind == mqtt.PUBLISH:
                size = body[0] << 8 | body[1]
                found.append((body[2 : 2 + size], body[2 + size :], bool(flags & 1)))
        return found
