"""A run of the fleet: so many minutes with outages and restarts, then until the rest is delivered, within a bound.

run(Options(...)) -> Result. Needs a broker at `addresses` that keeps what its subscriber has not taken yet; mosquitto:
max_queued_messages 0. Or, with `database`, an address such as http://127.0.0.1:8428/write of VictoriaMetrics.
"""

import asyncio
import random
import resource
import socket
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from firmware.config import load as config
from tools.fleet import clock, ledger, senders
from tools.fleet.database import Database, DatabaseError
from tools.fleet.receiver import Receiver

PREFIX = "meterport-fleet"
_DRAIN_S = 1800  # of the run: three back-offs and more
_LAST_S = 20  # real: for what the broker still has for the receiver
_FILES_OF_OURS = 100
_READY_S = 20  # real
_LOOK_S = 0.05  # real


class FleetError(RuntimeError):
    """The run cannot be made."""


@dataclass(frozen=True)
class Options:
    """interval_s: of records; values_s: of values; minutes: of the run; outages: how often the broker cannot be reached
    by anybody for outage_s; restarts: share of the gateways that restart in the run, every other by a power cut;
    spread_s: their clocks are right within it; pace: seconds of the run in a real one at most, 0: no bound; user,
    password: at the broker, user "" without one."""

    addresses: tuple[tuple[str, int], ...]
    gateways: int = 1000
    minutes: float = 10
    meters: int = 3
    interval_s: int = 60
    values_s: int = 30
    commit_s: int = 300
    outages: int = 1
    outage_s: float = 90
    restarts: float = 0.2
    spread_s: float = 2
    pace: float = 0
    seed: int = 1
    database: str = ""
    user: str = ""
    password: str = ""


@dataclass
class Result:
    """made, delivered, lost, twice, cut: records. values: of QoS 0 that arrived. wrong: lines and values that nobody
    made; lost_by_firmware: its own count. largest_share: of the history that was sent in a minute without a backlog,
    what went out in its largest second; busiest: messages in the busiest second of all. virtual_s, real_s: how long it
    took. waiting: records that the gateways still had at the end."""

    gateways: int
    meters: int
    made: int
    delivered: int
    lost: int
    twice: int
    cut: int
    values: int
    wrong: int
    first_wrong: bytes
    lost_by_firmware: int
    waiting: int
    received: int
    counts: senders.Counts
    restarts: int
    cuts: int
    largest_share: float
    busiest: int
    virtual_s: float
    real_s: float
    missing: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """True when everything arrived, and nothing else."""
        return not (self.lost or self.wrong or self.lost_by_firmware or self.waiting)


def run(options: Options) -> Result:
    """Raises FleetError when there is no broker, or too few files may be open."""
    _allow_files(options.gateways + _FILES_OF_OURS)
    virtual = clock.Time(options.pace)
    loop = clock.Loop(virtual)
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder, clock.under_the_seam(virtual), senders.folders():
        try:
            asyncio.set_event_loop(loop)
            return loop.run_until_complete(_Run(options, virtual, Path(folder)).run())
        except (DatabaseError, socket.gaierror) as error:
            raise FleetError(str(error)) from None
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise FleetError(f"{count} files may not be open here, {hard} may: ulimit -n")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class _Run:
    def __init__(self, options: Options, virtual: clock.Time, folder: Path) -> None:
        self._options = options
        self._time = virtual
        self._rng = rng = random.Random(options.seed)
        self._counts = senders.Counts()
        self._ledger = ledger.Ledger(options.meters, options.interval_s, is_ordered=len(options.addresses) < 2)
        addresses = list(options.addresses)
        default = config.default()
        self._receiver: Receiver | Database
        if options.database:
            self._receiver = Database(options.database, self._ledger.take)
            addresses = [(socket.gethostbyname(self._receiver.host), self._receiver.port)]
            section = default["posting"] | {
                "url": options.database, "format": "influx", "interval_s": options.interval_s
            }  # fmt: skip
        else:
            self._receiver = Receiver(
                addresses, b"meterport-fleet-%d" % options.seed, PREFIX.encode() + b"/+/history", self._ledger.take,
                PREFIX.encode() + b"/+/+/+", self._take_value, options.user, options.password,
            )  # fmt: skip
            section = default["mqtt"] | {
                "enabled": True, "host": senders.HOST, "port": addresses[0][1], "prefix": PREFIX, "history": True,
                "interval_s": options.values_s, "user": options.user, "password": options.password,
            }  # fmt: skip
        history = default["history"] | {"interval_s": options.interval_s, "commit_s": options.commit_s}
        self._gateways = [
            senders.Gateway(
                number, folder / str(number), section, history, options.meters, addresses,
                options.spread_s * (2 * rng.random() - 1), virtual, self._counts, self._ledger,
                random.Random(f"{options.seed} {number}"),
            )
            for number in range(options.gateways)
        ]  # fmt: skip

    def _take_value(self, topic: bytes, payload: bytes) -> None:
        now_s = ledger.EPOCH_S + self._time.now_s + self._options.spread_s
        self._ledger.take_value(topic, payload, now_s)

    async def run(self) -> Result:
        begin, begin_s = time.monotonic(), self._time.now_s
        receiving = asyncio.ensure_future(self._receiver.run())
        tasks: list[asyncio.Future[None]] = []
        try:
            await self._real(self._receiver.ready.is_set, _READY_S, [receiving])
            if not self._receiver.ready.is_set():
                what = "database" if self._options.database else "broker"
                raise FleetError(f"no {what}: {self._receiver.error or 'no answer'}")
            tasks = [asyncio.ensure_future(gateway.run()) for gateway in self._gateways]
            plan = asyncio.ensure_future(self._disturb())
            tasks.append(plan)
            await self._virtual(lambda: False, 60 * self._options.minutes, [receiving, *tasks])
            for gateway in self._gateways:
                gateway.is_recording = False
            virtual_s = self._time.now_s - begin_s
            await self._virtual(self._is_empty, _DRAIN_S, [receiving, *tasks])
            if isinstance(self._receiver, Database):
                self._receiver.collect()
            else:
                await self._real(self._is_quiet, _LAST_S, [receiving, *tasks])
            waiting = sum(gateway.waiting() for gateway in self._gateways)
        finally:
            self._receiver.close()
            for task in (*tasks, receiving):
                task.cancel()
            await asyncio.gather(*tasks, receiving, return_exceptions=True)
        return self._result(virtual_s, time.monotonic() - begin, waiting)

    def _is_empty(self) -> bool:
        return not any(gateway.waiting() for gateway in self._gateways)

    def _is_quiet(self) -> bool:
        """True when the receiver has all, or as many messages as the broker has acknowledged."""
        receiver = self._receiver
        return receiver.messages - receiver.again >= self._counts.acknowledged or not self._ledger.missing()

    async def _virtual(self, done, limit_s, tasks):
        """Waits until done(), or so long; a task that has failed raises."""
        end_s = self._time.now_s + limit_s
        while not done() and self._time.now_s < end_s:
            await asyncio.sleep(min(1.0, end_s - self._time.now_s))
            _look_at(tasks)

    async def _real(self, done, limit_s, tasks):
        """The same by the real clock, at whose pace time passes meanwhile."""
        end_s = time.monotonic() + limit_s
        self._time.owed += 1
        try:
            while not done() and time.monotonic() < end_s:
                await asyncio.sleep(_LOOK_S)
                _look_at(tasks)
        finally:
            self._time.owed -= 1

    async def _disturb(self) -> None:
        """Outages and restarts, spread over the run, but for its begin and its end."""
        options, rng = self._options, self._rng
        whole_s = 60 * options.minutes
        times: list[tuple[float, str, int]] = []
        for k in range(options.outages):
            at_s = whole_s * (k + 0.5 + 0.3 * rng.random()) / options.outages
            times += [(at_s, "out", 0), (min(at_s + options.outage_s, whole_s), "back", 0)]
        chosen = rng.sample(range(options.gateways), round(options.restarts * options.gateways))
        times += [
            (whole_s * (0.1 + 0.8 * rng.random()), ("restart", "cut")[k % 2], number) for k, number in enumerate(chosen)
        ]
        begin_s = self._time.now_s
        for at_s, what, number in sorted(times):
            await asyncio.sleep(max(begin_s + at_s - self._time.now_s, 0))
            if what in ("out", "back"):
                for gateway in self._gateways:
                    gateway.is_reachable = what == "back"
                    gateway.cut_connection()
            else:
                self._gateways[number].restart(what == "cut")

    def _result(self, virtual_s: float, real_s: float, waiting: int) -> Result:
        book, counts, gateways = self._ledger, self._counts, self._gateways
        missing = book.missing()
        return Result(
            gateways=len(gateways), meters=self._options.meters, made=book.made, delivered=book.delivered,
            lost=len(missing), twice=len(book.twice), cut=book.cut, values=book.values, wrong=book.wrong,
            first_wrong=book.first_wrong, lost_by_firmware=sum(gateway.lost for gateway in gateways), waiting=waiting,
            received=self._receiver.messages, counts=counts, restarts=sum(gateway.restarts for gateway in gateways),
            cuts=sum(gateway.cuts for gateway in gateways),
            largest_share=max(counts.of_minute) / max(sum(counts.of_minute), 1),
            busiest=max(counts.by_second.values(), default=0), virtual_s=virtual_s, real_s=real_s, missing=missing,
        )  # fmt: skip


def _look_at(tasks):
    for task in tasks:
        if task.done():
            task.result()
