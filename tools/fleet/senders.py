"""A gateway of the fleet: the firmware's MQTT service, or posting, with its history on flash, on a real connection.

Made up are the meters, whose readings follow from the time (ledger.py), the buses, which always rest, and the link.
What the firmware keeps in files lies in a folder of each gateway.
"""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mqtt

from firmware.config import store
from firmware.events import Events
from firmware.history.recorder import Recorder, energies, powers
from firmware.history.segments import Segments
from firmware.meters.meter import ONLINE, Meter
from firmware.meters.profile import DECIMALS_BITS, Profile, pack_names
from firmware.meters.readings import GOOD
from firmware.net.clock import Clock
from firmware.net.tcp_client import ConnectionFailed, TcpClient
from firmware.services.mqtt.service import Mqtt
from firmware.services.posting.service import Posting
from tools.fleet import ledger
from tools.fleet.clock import Time

HOST = "broker"
_SEGMENTS_BYTES = 1 << 20
_BEGIN_S = 60.0  # within which the gateways boot
_TIME_AFTER_S = 5.0  # of the boot: that is when the gateway learns the time, at the latest
_ANSWERED = (1, 8, 12)  # CONNECT, SUBSCRIBE, PINGREQ; PUBLISH has an answer with QoS 1
_PUBLISH = 3
_folder: "contextvars.ContextVar[str]" = contextvars.ContextVar("folder of the gateway whose task runs")


@contextlib.contextmanager
def folders() -> Iterator[None]:
    """Paths of store.py are below the folder of the gateway whose task runs, meanwhile."""
    load, save = store.load, store.save
    store.load = lambda path: load(f"{_folder.get()}/{path}")
    store.save = lambda path, body: save(f"{_folder.get()}/{path}", body)
    try:
        yield
    finally:
        store.load, store.save = load, save


class Counts:
    """What all gateways have sent; of those that post a message is a connection with all its bodies. by_second:
    messages in each second of the run; of_minute: those of the history that were sent when nothing but the newest
    record waited, by the second of the minute."""

    def __init__(self) -> None:
        self.history = self.values = self.history_again = self.history_bytes = self.acknowledged = self.bytes = (
            self.connections
        ) = 0
        self.by_second: dict[int, int] = {}
        self.of_minute = [0] * 60

    def add(self, second: int, waiting: int | None) -> None:
        """A message goes out; `waiting`: the records that do, when it is one of the history."""
        self.by_second[second] = self.by_second.get(second, 0) + 1
        if waiting == 1:
            self.of_minute[second % 60] += 1


class _Profile:
    """Power and energy, as of each meter."""

    numbers = bytes((16, 32))
    names = pack_names(["active_power", "energy_import"])
    units = (3, 7)
    counters = (1,)

    def __len__(self) -> int:
        return 2

    name_of: Any = Profile.name_of

    def decimal(self, i: int, raw: tuple[int, int], ratios: None) -> int:
        return raw[i] << DECIMALS_BITS

    def unit(self, i: int) -> str:
        return ("W", "Wh")[i]

    def accumulates(self, i: int) -> bool:
        return i == 1

    def index_of(self, number: int) -> int:
        return self.numbers.find(bytes((number,)))


_PROFILE = _Profile()


class _Meter:
    state = ONLINE
    profile = _PROFILE
    profile_name = "fleet"

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.name = f"m{slot}"
        self.block_of = bytes(2)
        self.blocks = (SimpleNamespace(raw=(0, 0)),)
        self.held: dict[int, Any] = {}
        self.ratios = None

    point_id = Meter.point_id
    decimal = Meter.decimal


class _Slot:
    """What TcpClient uses of a slot of the socket budget."""

    kind = "mqtt"
    sent = received = used_ms = 0
    open = busy = False
    peer: Any = None


class _Client(TcpClient):
    """Counts what the server owes. Each connection is made to the next of `addresses`."""

    def __init__(self, gateway: "Gateway", addresses: list[tuple[str, int]]) -> None:
        super().__init__(_Slot(), None)  # type: ignore[arg-type]
        self._gateway = gateway
        self._addresses = addresses
        self._turn = gateway.number
        self._owed = 0
        self._is_connecting = False
        self._resolver = self  # type: ignore[assignment]

    async def resolve(self, name: str, exchange: Any) -> str:
        """Gives an address as a DNS server that turns through those it has."""
        return self._addresses[self._turn % len(self._addresses)][0]

    def _owe(self, count: int) -> None:
        self._owed += count
        self._gateway.time.owed += count

    async def connect(self, host: str, port: int, timeout_ms: int, tls: Any = None) -> None:
        self.close()
        if not self._gateway.is_reachable:
            raise ConnectionFailed("refused")
        self._turn += 1
        self._owe(1)
        self._is_connecting = True
        try:
            await super().connect(host, self._addresses[self._turn % len(self._addresses)][1], timeout_ms)
        finally:
            self._is_connecting = False
            self._owe(-self._owed)
        self._gateway.counts.connections += 1

    def close(self) -> None:
        super().close()
        if not self._is_connecting:  # connect() closes what was open before
            self._owe(-self._owed)


class _Poster(_Client):
    """Owes an answer for as long as it is open."""

    async def connect(self, host: str, port: int, timeout_ms: int, tls: Any = None) -> None:
        await super().connect(host, port, timeout_ms)
        self._owe(1)
        gateway = self._gateway
        gateway.counts.history += 1
        gateway.counts.add(gateway.second(), gateway.waiting())

    async def send(self, buf: "bytes | bytearray | memoryview", n: int, timeout_ms: int = 10000) -> None:
        self._gateway.counts.bytes += n
        await super().send(buf, n, timeout_ms)


class _Publisher(_Client):
    """Counts packets, and the answers that each of them gets."""

    async def connect(self, host: str, port: int, timeout_ms: int, tls: Any = None) -> None:
        self._sent, self._got = mqtt.Reader(), mqtt.Reader()
        await super().connect(host, port, timeout_ms)

    async def send(self, buf: "bytes | bytearray | memoryview", n: int, timeout_ms: int = 10000) -> None:
        data = memoryview(buf)[:n]
        while len(data):
            used = self._sent.next(data)
            if used > 0:
                self._note(self._sent, used)
            data = data[abs(used) :]
        await super().send(buf, n, timeout_ms)

    def _note(self, packet: mqtt.Reader, size: int) -> None:
        gateway, counts = self._gateway, self._gateway.counts
        counts.bytes += size
        if packet.kind in _ANSWERED:
            self._owe(1)
        if packet.kind != _PUBLISH:
            return
        is_history = packet.flags & 0x06 > 0
        counts.add(gateway.second(), gateway.waiting() if is_history else None)
        if is_history:
            self._owe(1)
            counts.history += 1
            counts.history_again += packet.flags >> 3 & 1
        else:
            counts.values += 1

    async def receive(self, buf: "bytearray | memoryview", timeout_ms: int = 10000) -> int:
        n = await super().receive(buf, timeout_ms)
        self._take(memoryview(buf)[:n])
        return n

    def receive_more(self, buf: "bytearray | memoryview") -> int | None:
        n = super().receive_more(buf)
        self._take(memoryview(buf)[: n or 0])
        return n

    def _take(self, data: memoryview) -> None:
        while len(data):
            used = self._got.next(data)
            if used > 0 and self._got.kind != _PUBLISH and self._owed:
                self._owe(-1)
                self._gateway.counts.acknowledged += self._got.kind == mqtt.PUBACK
            data = data[abs(used) :]


class Gateway:
    """`number`: from 0 on; `config`: its section "mqtt" or, with a url, "posting"; `ahead_s`: of its clock, before the
    right one.

    lost: records that its own count says were lost; restarts, cuts: how often it was restarted as planned, and by a
    power cut; is_reachable: whether the broker is, from here."""

    def __init__(
        self, number: int, folder: Path, config: dict[str, Any], history: dict[str, Any], meters: int,
        addresses: list[tuple[str, int]], ahead_s: float, time: Time, counts: Counts, book: ledger.Ledger,
        rng: random.Random,
    ) -> None:  # fmt: skip
        self.number = number
        self.time = time
        self.counts = counts
        self.is_reachable = True
        self.is_recording = True
        self.lost = self.restarts = self.cuts = 0
        self._folder = folder
        self._config = config
        self._history = history
        self._meters: Any = [_Meter(slot) for slot in range(meters)]
        self._addresses = addresses
        self._ahead_s = ahead_s
        self._ledger = book
        self._rng = rng
        self._service: Mqtt | Posting | None = None
        self._client: _Client | None = None
        self._recorder: Any = None
        self._clock: Any = None
        self._off: asyncio.Event = asyncio.Event()
        self._has_power_cut = False
        self._taken_s: list[int] = []  # begins of the records that are not on flash
        mac = ":".join(f"{byte:02x}" for byte in bytes.fromhex(ledger.serial(number).decode()))
        self._link: Any = SimpleNamespace(
            up=lambda: True, address=lambda: "192.0.2.1", details=lambda: (None,) * 4 + (mac, None)
        )

    def second(self) -> int:
        """Of the run, by the right clock."""
        return int(self.time.now_s)

    def waiting(self) -> int:
        """Records that are not delivered yet."""
        service = self._service
        sender = service.history if isinstance(service, Mqtt) else service
        return 0 if sender is None else sender.records.waiting

    def unix_s(self) -> float:
        """By its own clock."""
        return ledger.EPOCH_S + self.time.now_s + self._ahead_s

    def read(self, meter: Any, i: int) -> tuple[int, int, int]:
        """As Readings has it."""
        if i:
            interval_s = self._history["interval_s"]
            now_s = self._clock.unix_s() if self._clock.is_set else int(self.unix_s())
            end_s = now_s // interval_s * interval_s
            return ledger.energy_wh(self.number, meter.slot, end_s), 0, GOOD
        return ledger.power_w(self.number, meter.slot), 0, GOOD

    def of_block(self, meter: Any, block: Any) -> tuple[int, int]:
        """As Readings has it; and now the block has been read."""
        block.raw = tuple(self.read(meter, i)[0] for i in (0, 1))
        return 0, GOOD

    # -- its life

    def cut_connection(self) -> None:
        """The connection breaks."""
        if self._client is not None:
            self._client.close()

    def restart(self, is_power_cut: bool) -> None:
        """As planned, when it writes what it has, or by a power cut."""
        self._has_power_cut = is_power_cut
        self._off.set()

    async def run(self) -> None:
        """Boots again and again."""
        _folder.set(str(self._folder))
        (self._folder / "data").mkdir(parents=True)
        await asyncio.sleep(_BEGIN_S * self._rng.random())
        while True:
            self._boot()
            assert self._service is not None
            tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._service.run())]
            tasks.append(asyncio.ensure_future(self._tick()))
            off = asyncio.ensure_future(self._off.wait())
            try:
                await asyncio.wait([*tasks, off], return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in (*tasks, off):
                    task.cancel()
                await asyncio.gather(*tasks, off, return_exceptions=True)
                self._end()
                self._off.clear()
                self._has_power_cut = False
            await asyncio.sleep(1 + 9 * self._rng.random())

    def _boot(self) -> None:
        clock = self._clock = Clock()
        events = Events(clock.uptime_s, lambda line: None)
        buses: Any = SimpleNamespace(pause=_pause, resume=lambda: None, paused=False)
        segments = Segments(str(self._folder / "data" / "history"), _SEGMENTS_BYTES)
        readings: Any = SimpleNamespace(read=self.read, of_block=self.of_block)
        series = energies(self._meters) + powers(self._meters)
        history = self._history
        meters: Any = SimpleNamespace(meters=self._meters)
        recorder = self._recorder = Recorder(
            series, history["interval_s"], history["commit_s"], segments, readings, clock, buses, events
        )
        name, serial = f"gateway{self.number}", ledger.serial(self.number).decode()
        kept: Any = SimpleNamespace(records=recorder)
        random_bytes = self._rng.randbytes
        if "url" in self._config:
            self._client = _Poster(self, self._addresses)
            self._service = Posting(
                self._config, name, self._client, None, events, clock, self._link, kept, meters, readings, buses,
                random_bytes,
            )  # fmt: skip
        else:
            self._client = _Publisher(self, self._addresses)
            self._service = Mqtt(
                self._config, name, serial, self._client, None, events, clock, self._link, meters, readings, buses,
                kept, random_bytes,
            )  # fmt: skip

    async def _tick(self) -> None:
        """The housekeeping's second."""
        clock, recorder, service = self._clock, self._recorder, self._service
        assert service is not None
        time_at_s = self.time.now_s + _TIME_AFTER_S * self._rng.random()
        interval_s = self._history["interval_s"]
        while True:
            if not clock.is_set and self.time.now_s >= time_at_s:
                clock.set_ms(int(1000 * self.unix_s()))
            taken = recorder.taken
            if self.is_recording:
                recorder.tick(clock.uptime_s())
            if recorder.taken != taken:
                begin_s = (clock.unix_s() // interval_s - 1) * interval_s
                self._ledger.make(self.number, begin_s)
                self._taken_s.append(begin_s)
            del self._taken_s[: len(self._taken_s) - recorder.pending]
            service.tick()
            await asyncio.sleep(1)

    def _end(self) -> None:
        """Off: what a power cut leaves is what is on flash."""
        service, recorder = self._service, self._recorder
        assert service is not None
        is_planned = self._off.is_set() and not self._has_power_cut
        if self._has_power_cut:
            self.cuts += 1
            self._ledger.cut_off(self.number, self._taken_s)
        else:
            self.restarts += is_planned
            recorder.commit()
            service.keep()
        self._taken_s = []
        status = service.status()
        self.lost += sum(status.get(name) or 0 for name in ("lost", "undated", "set_aside")) + recorder.lost
        self.cut_connection()


def _pause(on_paused: Any) -> bool:
    on_paused()
    return True
