"""What tests of posting share: a gateway that records on flash and posts, a server that takes it, and a clock that
jumps. The server's end is written from HTTP's description; it knows nothing of the firmware's codecs."""

import asyncio
from types import SimpleNamespace

from firmware.history.recorder import Recorder
from firmware.history.segments import Segments
from firmware.services.posting.service import Posting
from host_tests.unit import fakes, history_bench
from host_tests.unit.history_bench import INTERVAL_S, NOON, Buses, Readings

HOST = "192.0.2.80"
SECTION = {
    "enabled": True, "url": f"http://{HOST}/in", "format": "json", "interval_s": INTERVAL_S, "auth": "none",
    "user": "", "password": "", "headers": "", "template": "", "trust": "ca", "ca_file": "ca.pem", "pin_sha256": "",
}  # fmt: skip


class Profile(history_bench.Profile):
    name = "a kind"

    def name_of(self, i):
        return ("energy_import", "active_power")[i]


class Meter(history_bench.Meter):
    profile = Profile()

    def __init__(self, slot, name):
        super().__init__(slot)
        self.unit = slot + 1
        self.name = name


class Clock:
    """The firmware's, on a clock that only tests move. `offset_s`: unix time of its zero, None while unknown."""

    def __init__(self, clock):
        self.clock = clock
        self.boot_us = clock.us
        self.offset_s = None

    @property
    def is_set(self):
        return self.offset_s is not None

    def uptime_s(self):
        return (self.clock.us - self.boot_us) // 1_000_000

    def uptime_ms(self):
        return (self.clock.us - self.boot_us) // 1000

    def unix_s(self):
        return self.offset_s + self.clock.us // 1_000_000 if self.is_set else 0


class Request:
    def __init__(self, head, body):
        first, *fields = head.decode().split("\r\n")
        self.method, self.target, version = first.split(" ")
        assert version == "HTTP/1.1"
        pairs = [field.split(": ", 1) for field in fields]
        self.fields = {name.lower(): value for name, value in pairs}
        assert len(self.fields) == len(pairs), "a field stands there twice"
        self.body = body


class Server:
    """Answers each request by what answer(request) gives: a status, or (status, body[, fields]), or bytes.

    is_down: takes no connection; closes: after each answer, without saying so; requests: those that came."""

    def __init__(self, answer=None):
        self.answer = answer or (lambda request: 204)
        self.is_down = False
        self.closes = False
        self.connects = 0
        self.requests = []

    def response(self, request):
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, bytes):
            return answer
        parts = answer if isinstance(answer, tuple) else (answer,)
        status, body, fields = (*parts, *(b"", "")[len(parts) - 1 :])
        head = f"HTTP/1.1 {status} X\r\n{fields}"
        if status != 204:
            head += f"Content-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


class Client:
    """firmware.net.tcp_client.TcpClient, whose other end is a Server."""

    def __init__(self, server):
        self.server = server
        self.is_open = False
        self.opened = []
        self.largest = 0

    async def connect(self, host, port, timeout_ms, tls=None):
        assert not self.is_open
        self.opened.append((host, port, tls))
        await asyncio.sleep(0.02)
        if self.server.is_down:
            raise OSError("no answer")
        self.server.connects += 1
        self.is_open = True
        self._in = bytearray()
        self._out = bytearray()
        self._ended = False

    async def send(self, buf, n, timeout_ms=10000):
        assert self.is_open
        if self._ended:
            self.close()
            raise OSError("reset")
        self.largest = max(self.largest, n)
        self._in += bytes(memoryview(buf)[:n])
        await asyncio.sleep(0)
        head, blank, body = bytes(self._in).partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])["content-length"])
        assert len(body) <= length, "more than was announced"
        if len(body) == length:
            self._in.clear()
            self._out += self.server.response(Request(head, body))
            self._ended = self.server.closes

    async def receive(self, buf, timeout_ms=10000):
        assert self.is_open
        await asyncio.sleep(0.01)
        n = min(len(buf), len(self._out))
        if not n and not self._ended:
            self.close()
            raise OSError("time-out")
        buf[:n] = self._out[:n]
        del self._out[:n]
        return n

    def close(self):
        self.is_open = False


class Bench:
    """A gateway whose meters count, with records on flash unless `is_flash` is False."""

    def __init__(self, folder, monkeypatch, server, meters=2, unix_s=NOON, limit_bytes=1 << 20, commit_s=3600,
                 is_flash=True, record_s=INTERVAL_S, step_s=10, **section):  # fmt: skip
        monkeypatch.chdir(folder)
        self.server = server
        self.section = SECTION | section
        self.clock = fakes.Clock(10_000_000)  # samples are taken at multiples of 10 s
        self.clock.install(monkeypatch)
        self.time = Clock(self.clock)
        if unix_s is not None:
            self.set_time(unix_s)
        self.meters = [Meter(slot, ("main", "east wing")[slot] if slot < 2 else f"m{slot}") for slot in range(meters)]
        self.series = [(meter, i) for i in range(2) for meter in self.meters]
        self.options = limit_bytes, record_s, commit_s
        self.is_flash = is_flash
        self.step_s = step_s
        self.is_up = True
        self.wanted = {}  # time_s of each record that was taken: values
        self.times = {}  # its number: time_s; after a power cut numbers are given again
        self.start()

    def set_time(self, unix_s):
        self.time.offset_s = unix_s - self.clock.us // 1_000_000

    def start(self):
        """A boot; without keep() before, a power cut."""
        self.time.boot_us = self.clock.us
        limit_bytes, record_s, commit_s = self.options
        self.buses = Buses()
        self.log = fakes.Log(self.time.uptime_s)
        self.recorder = None
        if self.is_flash:
            segments = Segments("history", limit_bytes)
            self.recorder = Recorder(
                self.series, record_s, commit_s, segments, Readings(), self.time, self.buses, self.log
            )
        self.client = Client(self.server)
        link = SimpleNamespace(up=lambda: self.is_up, details=lambda: (None,) * 4 + ("02:42:ac:11:00:02", None))
        self.posting = Posting(
            self.section, "gateway", self.client, None, self.log, self.time, link,
            SimpleNamespace(records=self.recorder), SimpleNamespace(meters=self.meters), Readings(), self.buses,
            random_bytes=lambda n: bytes(n),
        )  # fmt: skip

    def run(self, seconds, then=None):
        """Lets that time pass; `then` is a coroutine function that runs meanwhile."""

        async def live():
            task = asyncio.ensure_future(self.posting.run())
            other = asyncio.ensure_future(then()) if then else None
            end_us = self.clock.us + 1_000_000 * (seconds - self.step_s)  # before another record is taken
            while self.clock.us < end_us:
                step_us = 1_000_000 * self.step_s
                await asyncio.sleep((step_us - self.clock.us % step_us) / 1e6)
                self.tick()
                if task.done():
                    task.result()
            for one in (task, other):
                if one is not None:
                    one.cancel()

        fakes.run_virtual(self.clock, live(), limit_s=10 * seconds + 1000)
        self.client.close()

    def tick(self):
        for meter in self.meters:
            meter.energy_wh += max(int(meter.power_w) * self.step_s // 3600, 1)
        if self.recorder is not None:
            taken = self.recorder.taken
            self.recorder.tick(self.time.uptime_s())
            if self.recorder.taken > taken and self.time.is_set:
                end_s = self.time.unix_s() // self.recorder.interval_s * self.recorder.interval_s
                self.wanted[end_s - self.recorder.interval_s] = [meter.energy_wh for meter in self.meters]
                self.times[self.recorder.next_record - 1] = end_s - self.recorder.interval_s
        self.posting.tick()

    def take(self, count):
        """Takes that many records while nothing is posted."""
        for _ in range(count * self.options[1] // self.step_s):
            self.clock.us += 1_000_000 * self.step_s
            self.tick()
