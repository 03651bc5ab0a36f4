"""The stages of the emulated benchmark: each boots one server on a chip of its own and measures it.

In:  a Bench, which knows the firmware and how often to ask. Out: rows, heaps and shares in its lists.
Raises questions.WrongAnswer, chip.ChipError, tcp.TcpError, lockstep.LockstepError, what fetching and building raise.
"""

import contextlib
import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tools.bench import cycles, heap, measure, names, questions, servers
from tools.bench.chip import CLOCK_HZ, Chip, ChipError, Peer, Sample, Watch
from tools.bench.elf import Symbols
from tools.bench.meters import Ramp
from tools.bench.questions import Question
from tools.bench.tcp import Connection
from tools.emulator import image
from tools.past import DAY_S

CLIENTS = 10
MODBUS, HTTP, BACNET = 502, 80, 47808
_WARM_UP = 2
_TURNS = 3  # of a crowd
_BOOT_NS = 30e9
_POLLED_NS = 60e9
_LOOK_NS = 0.5e9
_IDLE_NS = 5e9
_COLLECTIONS = 3  # that the heap is watched for
_CROWD_NS = 60e9  # and no longer than this
_PROFILED = 3
_MQTT_READS = 9  # of its three meters in an interval, within a second
_SETTLE_NS = 1e9  # the values of an interval come some three seconds after its reads
_MQTT_ROUNDS = 8  # intervals
_SETTLING_NS, _POLLING_NS = 30e9, 20e9
_PROPERTIES = 20  # of one ReadPropertyMultiple
_FEWER = 3  # times less often than registers pages are asked for; the median of ten has no collection of the heap in it

RAMP = [Ramp.register(address) for address in range(125)]

Progress = Callable[[str], object]
T = TypeVar("T")
Clients = Sequence[tuple[Connection, tuple[Question, ...]]]  # what each asks in turn


class Bench:
    """Results so far, and what all stages need."""

    def __init__(self, bare: pathlib.Path, product: pathlib.Path, rounds: int, progress: Progress) -> None:
        """`bare`: MicroPython, for servers whose modules are files; `product`: with our firmware frozen into it. Beside
        each lies its firmware.elf. Raises elf.ElfError, OSError."""
        self.bare, self.product, self.rounds, self.progress = bare, product, rounds, progress
        self._symbols = {firmware: Symbols(firmware.with_name("firmware.elf")) for firmware in (bare, product)}
        self.rows: list[measure.Row] = []
        self.heaps: list[measure.Heap] = []
        self.parts: dict[str, list[cycles.Share]] = {}  # of a read of 10 registers, by server
        self.functions: dict[str, list[cycles.Share]] = {}
        self.records: list[tuple[str, str]] = []  # what reading them takes
        self.polls: dict[str, float] = {}  # cycles and bytes of heap of one, and the share of the chip
        self.idle: dict[str, float] = {}  # cycles per second with nobody connected, by server

    @contextlib.contextmanager
    def booted(self, server: servers.Server, unix_s: int = 0) -> Iterator[Chip]:
        """A chip that runs this server and whose network is up; a time server there tells this time, at 0 none."""
        self.progress(f"{server.name}: starting ...")
        with tempfile.TemporaryDirectory(prefix="meterport-bench-") as folder:
            flash = pathlib.Path(folder) / "flash.bin"
            firmware = self.product if server.frozen else self.bare
            image.make(flash, firmware, server.files)
            with Chip(flash, self._symbols[firmware], server.meters) as chip:
                chip.unix_s = unix_s
                chip.wait(lambda: server.ready in chip.printed, _BOOT_NS, f"{server.name}: its start")
                yield chip

    def measure(self, chip: Chip, server: str, what: str, ask: Callable[[], Sample], rounds: int) -> None:
        """A row of this many requests, one after the other; ask() checks the answer of its own."""
        self.progress(f"{server}: {what}")
        for _ in range(_WARM_UP):
            ask()
        used, collections = chip.used(), len(chip.sweeps)
        samples = [ask() for _ in range(rounds)]
        grown = heap.allocated(used, chip.used(), chip.sweeps[collections:])
        self.rows.append(measure.row(server, what, samples, chip.character_ns[0], grown))

    def measure_crowd(self, chip: Chip, server: str, what: str, question: Question) -> None:
        """The same with 10 connections at once. What overlaps cannot be told apart: cycles are the mean, and since a
        median would leave out collections of the heap, so does this."""
        self.progress(f"{server}: {what}")
        clients = [(chip.connect(MODBUS), (question,)) for _ in range(CLIENTS)]
        list(crowd(chip, clients, lambda done: done >= CLIENTS))
        used, collections, before, line_before = chip.used(), len(chip.sweeps), chip.cycles, chip.line_cycles
        samples = list(crowd(chip, clients, lambda done: done >= CLIENTS * _TURNS))
        grown = heap.allocated(used, chip.used(), chip.sweeps[collections:])
        collected = sum(sweep.cycles for sweep in chip.sweeps[collections:])
        each = (chip.cycles - before - collected) / len(samples)
        line_each = (chip.line_cycles - line_before) / len(samples)
        even = [sample._replace(cycles=round(each), line_cycles=round(line_each)) for sample in samples]
        self.rows.append(measure.row(server, what, even, chip.character_ns[0], grown))
        for connection, _ in clients:
            chip.hang_up(connection)

    def profile(self, chip: Chip, server: str, what: str, ask: Callable[[], object]) -> None:
        """Where the cycles of this request go."""
        self.progress(f"{server}: where the cycles go, {what}")
        ask()
        chip.lockstep.ask("profile", cycles.request(chip.symbols))
        for _ in range(_PROFILED):
            ask()
        counted = chip.lockstep.ask("profile", None)
        name = names.Names(chip.read, chip.symbols).function
        key = f"{server}, {what}"
        self.parts[key] = cycles.parts(counted["calls"], _PROFILED)
        self.functions[key] = cycles.functions(counted["calls"], counted["entered"], name, _PROFILED)

    def rest(self, chip: Chip, server: str) -> None:
        """Measures the server without requests."""
        before = chip.cycles + chip.line_cycles
        chip.run(_IDLE_NS)
        self.idle[server] = (chip.cycles + chip.line_cycles - before) / (_IDLE_NS / 1e9)

    def heap_under(self, chip: Chip, server: str, started: int, clients: Clients) -> None:
        """The heap while these clients ask as fast as they are answered, until it was collected some times."""
        self.progress(f"{server}: heap under {len(clients)} clients")
        before, end_ns = len(chip.sweeps), chip.now_ns + _CROWD_NS
        for _ in crowd(chip, clients, lambda _: len(chip.sweeps) >= before + _COLLECTIONS or chip.now_ns >= end_ns):
            pass
        sweeps = chip.sweeps[before:]
        self.heaps.append(measure.heap_under(server, chip.heap_bytes, started, len(clients), sweeps, chip.used()))


def asker(chip: Chip, connection: Peer, question: Question) -> Callable[[], Sample]:
    """Asks this on this connection, and looks at the answer."""

    def ask() -> Sample:
        answer, sample = chip.request(connection, question.data, question.whole)
        question.check(answer)
        return sample

    return ask


def visitor(chip: Chip, port: int, question: Question) -> Callable[[], Sample]:
    """The same with a connection for each request."""

    def ask() -> Sample:
        answer, sample = chip.visit(port, question.data, question.whole)
        question.check(answer)
        return sample

    return ask


def crowd(chip: Chip, clients: Clients, enough: Callable[[int], bool]) -> Iterator[Sample]:
    """All of them at once, each asking its questions in turn as soon as it is answered, until enough(answers)."""
    turns = [0] * len(clients)
    under_way: dict[int, Watch] = {}
    done = 0
    while True:
        for n, (connection, asked) in enumerate(clients):
            if n not in under_way and not enough(done):
                question = asked[turns[n] % len(asked)]
                under_way[n] = Watch(chip, connection, question.whole)
                under_way[n].send(question.data)
        if not under_way:
            return
        chip.wait(lambda: any(watch.look() for watch in under_way.values()), _BOOT_NS, "an answer in a crowd")
        for n, watch in list(under_way.items()):
            if watch.look():
                asked = clients[n][1]
                asked[turns[n] % len(asked)].check(watch.answer())
                turns[n] += 1
                done += 1
                del under_way[n]
                yield watch.sample()


def _registers(unit: int, count: int) -> Question:
    return questions.read(unit, 4, 0, RAMP[:count])


def quiet_gateway(bench: Bench) -> None:
    """Our gateway without a poller at work: registers from memory and over the bus."""
    server = servers.quiet_gateway(bench.progress)
    with bench.booted(server) as chip:
        chip.wait(lambda: chip.line.transactions, _POLLED_NS, "a meter that is polled")
        chip.run(1e9)
        modbus = chip.connect(MODBUS)
        ten = asker(chip, modbus, _registers(servers.CACHED_UNIT, 10))
        bench.measure(chip, server.name, "read of 10 registers", ten, bench.rounds)
        many = asker(chip, modbus, _registers(servers.CACHED_UNIT, 125))
        bench.measure(chip, server.name, "read of 125 registers", many, bench.rounds)
        passed = asker(chip, modbus, _registers(servers.PASSED_UNIT, 10))
        bench.measure(chip, server.name, "read of 10, passed through", passed, bench.rounds)
        bench.profile(chip, server.name, "read of 10 registers", ten)
        bench.profile(chip, server.name, "read of 10, passed through", passed)
        chip.hang_up(modbus)
        question = _registers(servers.CACHED_UNIT, 10)
        bench.measure_crowd(chip, server.name, "read of 10, 10 clients", question)


def pages(bench: Bench) -> None:
    """Our gateway with three meters and no poller at work: what a browser asks for."""
    server = servers.gateway(bench.progress, quiet=True)
    fewer = max(1, bench.rounds // _FEWER)
    page = questions.get("/", True, questions.equals(servers.PAGE))
    readings = questions.get("/api/readings", True, questions.readings(len(server.meters)))
    with bench.booted(server) as chip:
        browser = chip.connect(HTTP)
        _wait_polled(chip, browser, readings)
        bench.measure(chip, server.name, "GET /", asker(chip, browser, page), fewer)
        bench.measure(chip, server.name, "GET /api/readings", asker(chip, browser, readings), fewer)
        bench.profile(chip, server.name, "GET /", asker(chip, browser, page))
        bench.profile(chip, server.name, "GET /api/readings", asker(chip, browser, readings))
        chip.hang_up(browser)
        alone = questions.get("/", False, questions.equals(servers.PAGE))
        bench.measure(chip, server.name, "GET /, a connection each", visitor(chip, HTTP, alone), fewer)
        alone = questions.get("/api/readings", False, questions.readings(len(server.meters)))
        what = "GET /api/readings, a connection each"
        bench.measure(chip, server.name, what, visitor(chip, HTTP, alone), fewer)


def bacnet(bench: Bench) -> None:
    """Our gateway with BACnet and no poller at work: one property, and many of one request."""
    server = servers.bacnet_gateway(bench.progress)
    with bench.booted(server) as chip:
        browser = chip.connect(HTTP)
        _wait_polled(chip, browser, questions.get("/api/readings", True, questions.readings(len(server.meters))))
        chip.hang_up(browser)
        sock = chip.udp(BACNET)
        found: list[int] = []
        asker(chip, sock, questions.object_list(found))()
        values = {instance: servers.bacnet_value(instance) for instance in found[:_PROPERTIES]}
        first = found[0]
        one = asker(chip, sock, questions.read_property(first, values[first]))
        bench.measure(chip, server.name, "BACnet ReadProperty", one, bench.rounds)
        many = asker(chip, sock, questions.read_properties(values))
        what = f"BACnet ReadPropertyMultiple of {len(values)}"
        bench.measure(chip, server.name, what, many, bench.rounds)
        bench.profile(chip, server.name, "BACnet ReadProperty", one)
        bench.profile(chip, server.name, what, many)


def mqtt(bench: Bench) -> None:
    """Our gateway with a broker and no poller at work, and values once an interval: a topic for each, JSON, Sparkplug,
    whose data has what is other than in the interval before: with meters that move."""
    server = servers.mqtt_gateway(bench.progress, "plain")
    _publishes(bench, server, "MQTT, values of a meter", sum(len(meter.profile.points) for meter in server.meters))
    server = servers.mqtt_gateway(bench.progress, "json")
    _publishes(bench, server, "MQTT, values of a meter as JSON", len(server.meters))
    server = servers.mqtt_gateway(bench.progress, "sparkplug")
    births = 2 + len(server.meters)  # of the node, its count of meters, and of each meter
    _publishes(bench, server, "MQTT, Sparkplug's birth of a meter", births, questions.rebirth(servers.NODE))
    server = servers.mqtt_gateway(bench.progress, "sparkplug", is_moving=True)
    _publishes(bench, server, "MQTT, Sparkplug's data of a meter", len(server.meters), reads=_MQTT_READS)


def _publishes(
    bench: Bench, server: servers.Server, what: str, messages: int, asks: bytes = b"", reads: int = 0
) -> None:
    """A row of the values of a meter, which come in so many messages for all meters, by themselves or when the broker
    sends `asks`: the mean of the three, less what the chip does in as much time without them, and without collections
    of the heap, of which one in two intervals would be in it. `reads`: of the meters in an interval, which are over
    before that."""
    meters = len(server.meters)
    with bench.booted(server, servers.RECORDED.end_s) as chip:
        broker = chip.accept(servers.BROKER, _POLLED_NS)
        chip.wait(lambda: questions.mqtt_packets(broker.received, questions.CONNECT), _BOOT_NS, "CONNECT")
        broker.received.clear()
        broker.send(questions.CONNACK)

        def whole(connection: Peer) -> int:
            """The length of what has come once all messages are there, and nothing behind them is cut off."""
            found = questions.mqtt_packets(connection.received, questions.PUBLISH)
            return len(connection.received) if found >= messages else 0

        chip.wait(lambda: whole(broker), _POLLED_NS, "the first values of all meters")
        chip.run(1e9)
        broker.received.clear()
        samples, grown = [], 0.0
        bench.progress(f"{server.name}: {what}")
        for number in range(_WARM_UP + _MQTT_ROUNDS):
            if reads:
                _wait_read(chip, reads)
                broker.received.clear()
            replies = chip.line.replies
            before_ns, line_before = chip.now_ns, chip.line_cycles
            idle, idle_grown, _ = _uncollected(chip, lambda: chip.run(_SETTLE_NS if reads else _IDLE_NS))
            if broker.received:
                raise ChipError(f"{len(broker.received)} bytes when none were due")
            idle_ns = chip.now_ns - before_ns
            line_rate = (chip.line_cycles - line_before) / idle_ns
            busy, busy_grown, sample = _uncollected(chip, lambda: _next_values(chip, broker, whole, asks))
            if chip.line.replies != replies:
                raise ChipError("a meter was read meanwhile")
            share = sample.latency_ns / idle_ns
            if number >= _WARM_UP:
                grown += busy_grown - idle_grown * share
                samples.append(
                    sample._replace(
                        cycles=round((busy - idle * share) / meters),
                        line_cycles=round((sample.line_cycles - line_rate * sample.latency_ns) / meters),
                        latency_ns=(sample.latency_ns - sample.turnaround_ns) / meters,
                        answered_bytes=sample.answered_bytes // meters,
                    )
                )
        even = round(sum(sample.cycles for sample in samples) / len(samples))
        samples = [sample._replace(cycles=even) for sample in samples]
        bench.rows.append(measure.row(server.name, what, samples, chip.character_ns[0], round(grown / meters)))
        bench.profile(chip, server.name, what, lambda: _next_values(chip, broker, whole, asks))


def _wait_read(chip: Chip, reads: int) -> None:
    """Waits for so many reads of the meters, and until the chip is done with them."""
    due = chip.line.replies + reads
    chip.wait(lambda: chip.line.replies >= due, _POLLED_NS, "the reads of all meters")
    chip.run(_SETTLE_NS)


def _uncollected(chip: Chip, act: Callable[[], T]) -> tuple[int, int, T]:
    """What `act` takes, cycles without those of collections and bytes of the heap, and what it returns."""
    before, used, collections = chip.cycles, chip.used(), len(chip.sweeps)
    found = act()
    sweeps = chip.sweeps[collections:]
    took = chip.cycles - before - sum(sweep.cycles for sweep in sweeps)
    return took, heap.allocated(used, chip.used(), sweeps), found


def _next_values(chip: Chip, broker: Connection, whole: Callable[[Peer], int], asks: bytes) -> Sample:
    """Of all meters, with all that the chip does until then."""
    watch = Watch(chip, broker, whole)
    if asks:
        watch.send(asks)
    chip.wait(watch.look, 2e9 * servers.MQTT_INTERVAL_S, "values of all meters")
    watch.answer()
    return watch.sample()


def plant(bench: Bench) -> None:
    """Our gateway as it is meant to run, three meters polled every second: the heap, and what it does by itself."""
    server = servers.gateway(bench.progress, quiet=False)
    page = questions.get("/", True, questions.equals(servers.PAGE))
    readings = questions.get("/api/readings", True, questions.readings(len(server.meters)))
    with bench.booted(server) as chip:
        started = chip.sweeps[-1].after
        browser = chip.connect(HTTP)
        _wait_polled(chip, browser, readings)
        chip.hang_up(browser)
        bench.rest(chip, server.name)
        meter = server.meters[-1]
        asked = questions.read(meter.unit, 4, 0, meter.registers(4, 0, 10))
        clients = [(chip.connect(MODBUS), (asked,)) for _ in range(CLIENTS - 1)]
        bench.heap_under(chip, server.name, started, [*clients, (chip.connect(HTTP), (page, readings))])


def polls(bench: Bench) -> None:
    """Our gateway with the most meters on a line that is always busy, and nobody connected: what the chip does in all,
    and what one poll costs, that is the difference to the same gateway without polls, divided."""
    seen: dict[bool, tuple[float, float, int]] = {}
    for quiet in (True, False):
        server = servers.polling_gateway(bench.progress, quiet)
        with bench.booted(server) as chip:
            chip.run(_SETTLING_NS)  # until each has been read once
            bench.progress(f"{server.name}: {servers.MOST_METERS} meters, {'polled' if not quiet else 'not polled'}")
            cycles_before, replies = chip.cycles, chip.line.replies
            took, grown, _ = _uncollected(chip, lambda: chip.run(_POLLING_NS))
            seen[quiet] = took, grown, chip.line.replies - replies
            if not quiet:
                bench.polls["share"] = (chip.cycles - cycles_before) / (_POLLING_NS / 1e9 * CLOCK_HZ)
                bench.profile(chip, server.name, "a poll", functools.partial(_next_poll, chip))
    (idle, idle_grown, _), (busy, busy_grown, count) = seen[True], seen[False]
    bench.polls["cycles"] = (busy - idle) / count
    bench.polls["heap_bytes"] = (busy_grown - idle_grown) / count
    bench.polls["polls_per_s"] = count / (_POLLING_NS / 1e9)
    bench.idle[server.name] = idle / (_POLLING_NS / 1e9)


def _next_poll(chip: Chip) -> None:
    replies = chip.line.replies
    chip.wait(lambda: chip.line.replies > replies, _POLLED_NS, "a poll")


def history(bench: Bench) -> None:
    """Records of the most meters as CSV: of a day for nobody but the reader, of ten days while ten clients poll."""
    server = servers.recorder(bench.progress)
    past = servers.RECORDED
    with bench.booted(server) as chip:
        chip.wait(lambda: len(chip.line.transactions) >= past.meters, _POLLED_NS, "meters that are polled")
        chip.run(1e9)
        reader = chip.connect(HTTP)
        bench.progress(f"{server.name}: a day of records")
        end_s = past.end_s + 1
        day = questions.records(end_s - DAY_S, end_s, past)
        alone = asker(chip, reader, day)()
        one = past.records // past.days
        bench.records.append(("a day of 32 meters: time", f"{alone.latency_ns / 1e9:.1f} s"))
        bench.records.append(("a day of 32 meters: records a second", f"{one / alone.latency_ns * 1e9:.0f}"))

        week = asker(chip, reader, questions.steps(past.end_s - 7 * DAY_S, past, 20, 1800))()
        bench.records.append(("a week of one of them in half hours: time", f"{week.latency_ns / 1e9:.1f} s"))

        bench.progress(f"{server.name}: ten days of records, {CLIENTS} clients")
        polls = [questions.read(meter.unit, 4, 0, meter.registers(4, 0, 10)) for meter in server.meters[:CLIENTS]]
        done: list[bytes] = []
        whole = questions.records(past.begin_s + 1, end_s, past)

        def check(answer: bytes) -> None:
            whole.check(answer)
            done.append(answer)

        clients = [(chip.connect(MODBUS), (poll,)) for poll in polls]
        sweeps = len(chip.sweeps)
        samples = list(crowd(chip, [*clients, (reader, (whole._replace(check=check),))], lambda _: bool(done)))
        latencies_ns = sorted(sample.latency_ns for sample in samples)
        took_ns = latencies_ns.pop()  # of the reader
        found = chip.sweeps[sweeps:]
        bench.records += [
            ("ten days of 32 meters while ten clients poll as fast as they can: time", f"{took_ns / 1e9:.1f} s"),
            ("records a second", f"{past.records / took_ns * 1e9:.0f}"),
            ("polls a second meanwhile, none lost", f"{len(latencies_ns) / took_ns * 1e9:.0f}"),
            (
                "median and slowest poll",
                f"{latencies_ns[len(latencies_ns) // 2] / 1e6:.0f} ms, {latencies_ns[-1] / 1e6:.0f} ms",
            ),
            ("heap in use after a collection, at most", f"{max(sweep.after for sweep in found) // 1024} KiB"),
            ("longest collection", f"{measure.cycles_us(max(sweep.cycles for sweep in found)) / 1000:.0f} ms"),
        ]


def _wait_polled(chip: Chip, browser: Connection, readings: Question) -> None:
    end_ns = chip.now_ns + _POLLED_NS
    while True:
        try:
            asker(chip, browser, readings)()
            return
        except questions.WrongAnswer as error:
            if chip.now_ns >= end_ns:
                raise ChipError(f"the meters do not become good: {error}") from error
            chip.run(_LOOK_NS)


def poll_loop(bench: Bench) -> None:
    """The floor."""
    server = servers.poll_loop(bench.progress)
    fewer = max(1, bench.rounds // _FEWER)
    with bench.booted(server) as chip:
        started = chip.sweeps[-1].after
        bench.rest(chip, server.name)
        modbus = chip.connect(MODBUS)
        ten = asker(chip, modbus, _registers(1, 10))
        bench.measure(chip, server.name, "read of 10 registers", ten, bench.rounds)
        many = asker(chip, modbus, _registers(1, 125))
        bench.measure(chip, server.name, "read of 125 registers", many, bench.rounds)
        bench.profile(chip, server.name, "read of 10 registers", ten)
        chip.hang_up(modbus)
        bench.measure_crowd(chip, server.name, "read of 10, 10 clients", _registers(1, 10))
        page = questions.get("/", True, questions.equals(servers.PAGE))
        browser = chip.connect(HTTP)
        bench.measure(chip, server.name, "GET /", asker(chip, browser, page), fewer)
        clients = [(chip.connect(MODBUS), (_registers(1, 10),)) for _ in range(CLIENTS)]
        used, count = chip.used(), len(chip.sweeps)
        list(crowd(chip, clients, lambda done: done >= CLIENTS))
        bench.heaps.append(
            measure.heap_under(server.name, chip.heap_bytes, started, CLIENTS, chip.sweeps[count:], used)
        )


def umodbus_server(bench: Bench) -> None:
    """micropython-modbus, which serves one client at a time."""
    server = servers.umodbus_server(bench.progress)
    with bench.booted(server) as chip:
        started = chip.sweeps[-1].after
        bench.rest(chip, server.name)
        modbus = chip.connect(MODBUS)
        ten = asker(chip, modbus, _registers(1, 10))
        bench.measure(chip, server.name, "read of 10 registers", ten, bench.rounds)
        many = asker(chip, modbus, _registers(1, 125))
        bench.measure(chip, server.name, "read of 125 registers", many, bench.rounds)
        bench.profile(chip, server.name, "read of 10 registers", ten)
        bench.heap_under(chip, server.name, started, [(modbus, (_registers(1, 125),))])


def microdot_server(bench: Bench) -> None:
    """microdot, which closes every connection after its response."""
    server = servers.microdot_server(bench.progress)
    fewer = max(1, bench.rounds // _FEWER)
    with bench.booted(server) as chip:
        started = chip.sweeps[-1].after
        bench.rest(chip, server.name)
        page = questions.get("/", False, questions.equals(servers.PAGE))
        readings = questions.get("/api/readings", False, questions.readings(3))
        bench.measure(chip, server.name, "GET /, a connection each", visitor(chip, HTTP, page), fewer)
        what = "GET /api/readings, a connection each"
        bench.measure(chip, server.name, what, visitor(chip, HTTP, readings), fewer)
        bench.profile(chip, server.name, "GET /, a connection each", visitor(chip, HTTP, page))
        before = len(chip.sweeps)
        bench.progress(f"{server.name}: heap under {CLIENTS} clients")
        while len(chip.sweeps) < before + _COLLECTIONS:
            # One after the other: at once, they use up lwIP's memory, and microdot drops connections for it.
            guests = [chip.connect(HTTP) for _ in range(CLIENTS)]
            for guest in guests:
                asker(chip, guest, page)()
                chip.hang_up(guest)
        sweeps = chip.sweeps[before:]
        bench.heaps.append(measure.heap_under(server.name, chip.heap_bytes, started, CLIENTS, sweeps, chip.used()))


STAGES: dict[str, Callable[[Bench], None]] = {
    "registers": quiet_gateway,
    "pages": pages,
    "bacnet": bacnet,
    "mqtt": mqtt,
    "plant": plant,
    "polls": polls,
    "history": history,
    "poll-loop": poll_loop,
    "umodbus": umodbus_server,
    "microdot": microdot_server,
}
