"""The servers of `make bench` as processes of this machine: our gateway, and those that it is compared with.

In:  the firmware's tree, a folder for their files. Out: Servers, all held (SIGSTOP) but the one that is being asked, so
     that nobody else has the core, not even umodbus, which never sleeps.

All run on the interpreter of tools/micropython.py with a heap of HEAP and modules compiled ahead of time, but for
pymodbus, which needs CPython.
"""

import collections
import contextlib
import hashlib
import os
import pathlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pymodbus

from tools import build, gateway, micropython, sim, umodbus
from tools.bench import servers
from tools.bench.meters import Ramp
from tools.virtual_line import VirtualLine
from tools.virtual_meters import Behaviour

GATEWAY, POLL_LOOP, UMODBUS, MICRODOT = servers.GATEWAY, servers.POLL_LOOP, servers.UMODBUS, servers.MICRODOT
ECHO, PYMODBUS, MBUSD = "asyncio echo", f"pymodbus {pymodbus.__version__} (CPython)", "mbusd"
HEAP = gateway.HEAP
UNIT, FUNCTION, REGISTERS = 1, 3, 125  # what each Modbus server has
PASSED_UNIT = servers.PASSED_UNIT  # a meter on the line that nobody polls
HOST = "127.0.0.1"
_OUT = build.ROOT / "build" / "bench"
_BAUD = 115200
_LINES = 100  # of output that are looked through
READY_S = 20
READY_CALLGRIND_S = 60  # which makes everything fifty times slower
_QUIET = {"interval_s": 3600, "max_age_s": 3600}

Progress = Callable[[str], object]


class Cpu(NamedTuple):
    """Seconds of a process so far. The kernel counts all of it exactly, but tells user from system by samples."""

    user: float
    system: float
    total: float


class Ports(NamedTuple):
    """0 where there is none; probe and peer are UDP."""

    modbus: int
    http: int
    probe: int = 0
    peer: int = 0

    def words(self) -> list[str]:
        """As the programs of tools/bench/programs take them."""
        return [str(port) for port in self if port]


class LineRamp(Ramp):
    """A Ramp for a VirtualLine."""

    def __init__(self, unit: int) -> None:
        super().__init__(unit)
        self.requests = self.answered = 0
        self.seen: collections.deque[bytes] = collections.deque(maxlen=1)

    def behaviour(self) -> Behaviour:
        """Well-behaved."""
        return Behaviour()


class Server:
    """A process that serves. Raises gateway.GatewayError when it does not start."""

    def __init__(self, name: str, process: gateway.Gateway, ports: Ports) -> None:
        self.name, self.process, self.ports = name, process, ports

    @property
    def pid(self) -> int:
        """Raises GatewayError when it has ended, with its last words."""
        pid = self.process.pid
        if pid is None:
            raise gateway.GatewayError(f"{self.name} has ended:\n{self.process.tail()}")
        return int(pid)

    def cpu(self) -> Cpu:
        """What it has used so far."""
        folder = pathlib.Path(f"/proc/{self.pid}")
        fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total_ns = (folder / "schedstat").read_text(encoding="ascii").split()[0]
        ticks = os.sysconf("SC_CLK_TCK")
        return Cpu(int(fields[11]) / ticks, int(fields[12]) / ticks, int(total_ns) / 1e9)

    def hold(self) -> None:
        """Nothing of it runs until running()."""
        os.kill(self.pid, signal.SIGSTOP)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """It runs within, and is held again afterwards."""
        os.kill(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.hold()


class DoesNotFit(gateway.GatewayError):
    """The gateway has not enough heap for this configuration."""


class Interpreter(NamedTuple):
    """How MicroPython is called."""

    command: list[str]
    environment: dict[str, str]


def interpreter(progress: Progress) -> Interpreter:
    """As it is. Raises micropython.NoMicroPython."""
    return Interpreter([str(micropython.ensure(progress))], {})


def device_tree(tree: pathlib.Path, progress: Progress) -> pathlib.Path:
    """The firmware below `tree`, built: build/device for this checkout's own, else a folder of its own. Raises
    build.BuildError."""
    tree = tree.resolve()
    mark = hashlib.sha256(str(tree).encode()).hexdigest()[:12]
    out = build.OUT if tree == build.ROOT else _OUT / f"tree-{mark}"
    out.parent.mkdir(parents=True, exist_ok=True)
    build.build(out, progress=progress, root=tree)
    return out


def _page(device: pathlib.Path) -> bytes:
    """The body of GET / as it lies on the device, packed or not."""
    folder = device / "firmware" / "services" / "http"
    packed = folder / "page.html.gz"
    return (packed if packed.exists() else folder / "page.html").read_bytes()


def udp_port() -> int:
    """A UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _ports(probed: bool) -> Ports:
    modbus, http = gateway.free_ports(2)
    return Ports(modbus, http, udp_port(), udp_port()) if probed else Ports(modbus, http)


class Bench:
    """Starts servers; all end with its `with` block."""

    def __init__(
        self, tree: pathlib.Path, folder: pathlib.Path, progress: Progress, upy: Interpreter | None = None
    ) -> None:
        """`tree`: of a checkout; `folder`: for the servers' files, exists; `upy`: instead of interpreter(). Of the
        servers to come, `heap` may be set to another size, and `ready_s` to another time to start in."""
        self.heap, self.ready_s = HEAP, READY_S
        self.tree, self.folder, self.progress = tree, folder, progress
        self._upy = upy or interpreter(progress)
        self.page = _page(device_tree(tree, progress))
        self._stack = contextlib.ExitStack()
        self._started = 0

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _start(self, name: str, program: list[str], path: str, ports: Ports, folder: pathlib.Path) -> Server:
        argv = [*self._upy.command, "-X", f"heapsize={self.heap}", *program]
        process = gateway.Gateway(folder, argv=argv, env=self._upy.environment | {"MICROPYPATH": path})
        self._stack.enter_context(process)
        server = Server(name, process, ports)
        self._stack.callback(_let_go, server)
        return server

    def _folder(self) -> pathlib.Path:
        self._started += 1
        folder = self.folder / str(self._started)
        folder.mkdir()
        return folder

    def gateway(self, over: dict[str, Any] | None = None, meters: Iterable[Any] = (), probed: bool = False) -> Server:
        """Ours, held: one meter with 125 holding registers, polled once an hour, unless the configuration `over` says
        otherwise; all services that there are."""
        ports = _ports(probed)
        folder = self._folder()
        meter = {"slot": 0, "name": "ramp", "unit": UNIT, "profile": "ramp", "timeout_ms": 1000, **_QUIET}
        config = sim.merge(sim.DEFAULT_CONFIG, {"meters": [meter]})
        config = sim.merge(config, {"http": {"port": ports.http}, "modbus": {"port": ports.modbus}})
        config = sim.merge(config, {"finder": {"port": udp_port()}})
        config = sim.merge(config, {"buses": [{"uart": "bus0", "baud": _BAUD}]})
        gateway.write_config(folder, sim.merge(config, over or {}))
        (folder / "data" / "meters").mkdir()
        for profile, count in (("ramp", REGISTERS), ("ramp10", 10)):
            (folder / "data" / "meters" / f"{profile}.json").write_bytes(servers.ramp_profile(count, FUNCTION))
        line = VirtualLine(list(meters) or [LineRamp(UNIT)], _BAUD, link=str(folder / "bus0"))
        self._stack.enter_context(line)
        tree = device_tree(self.tree, self.progress)
        path = f"{tree}:{tree}/lib:.frozen"
        program = [f"{tree}/main.py"]
        if probed:
            programs = servers.program_tree("gateway_probed", "host", [])
            path = f"{tree}:{tree}/lib:{programs}/lib:.frozen"
            program = [f"{programs}/main.py", *ports.words()]
        server = self._start(GATEWAY, program, path, ports, folder)
        on = over.get("http", {}).get("enabled", True) if over else True
        try:
            server.process.wait_ready(self.ready_s, ports.http if on else 0, ports.modbus)
            self._wait_polled(server)
        except (OSError, gateway.GatewayError) as error:
            said = server.process.tail(_LINES)
            server.process.stop()
            if "MemoryError" in said:
                raise DoesNotFit(f"no room in a heap of {self.heap}:\n{said}") from error
            raise
        server.hold()
        return server

    def _wait_polled(self, server: Server) -> None:
        """Wait until all meters are online: unit 255 counts meters in holding register 10 and those online in 12
        (docs/reference/modbus.md)."""
        request = bytes.fromhex("4d5000000006ff03000a0003")
        deadline = time.monotonic() + self.ready_s
        with socket.create_connection((HOST, server.ports.modbus), timeout=self.ready_s) as connection:
            while True:
                connection.sendall(request)
                answer = connection.recv(64)
                if len(answer) == 15 and answer[9:11] == answer[13:15]:
                    return
                if time.monotonic() > deadline:
                    raise gateway.GatewayError(f"the meters do not come online\n{server.process.tail()}")
                time.sleep(0.02)

    def _other(self, name: str, program: str, packages: Iterable[pathlib.Path], probed: bool) -> Server:
        ports = _ports(probed)
        folder = self._folder()
        (folder / "page.html").write_bytes(self.page)
        tree = servers.program_tree(program, "host", packages)
        server = self._start(name, [f"{tree}/main.py", *ports.words()], f"{tree}/lib:.frozen", ports, folder)
        server.process.wait_line("^ready", self.ready_s)
        _wait_open(ports.http if name == MICRODOT else ports.modbus)  # microdot listens a little later
        server.hold()
        return server

    def poll_loop(self, probed: bool = False) -> Server:
        """The floor, held."""
        return self._other(POLL_LOOP, "poll_loop", [], probed)

    def echo(self, probed: bool = False) -> Server:
        """asyncio's streams, held."""
        return self._other(ECHO, "asyncio_echo", [], probed)

    def umodbus(self, probed: bool = False) -> Server:
        """micropython-modbus, held. Raises umodbus.FetchError."""
        return self._other(UMODBUS, "umodbus_server", [umodbus.ensure(self.progress)], probed)

    def microdot(self, probed: bool = False) -> Server:
        """microdot, held."""
        return self._other(MICRODOT, "microdot_server", [servers.microdot_package()], probed)

    def pymodbus(self) -> Server:
        """pymodbus on this CPython, held."""
        ports = _ports(False)
        argv = [sys.executable, "-m", "tools.bench.pymodbus_server", str(ports.modbus)]
        return self._program(PYMODBUS, argv, ports, self._folder())

    def passing_gateway(self) -> Server:
        """Ours, held, with a meter on its line that it is not configured to poll: PASSED_UNIT."""
        return self.gateway(meters=[LineRamp(UNIT), LineRamp(PASSED_UNIT)])

    def passing_pymodbus(self) -> Server:
        """pymodbus that asks PASSED_UNIT on a serial line for each read, held."""
        ports, folder, device = _ports(False), *self._line()
        argv = [sys.executable, "-m", "tools.bench.pymodbus_gateway", str(ports.modbus), device]
        return self._program(PYMODBUS, [*argv, str(_BAUD), str(PASSED_UNIT)], ports, folder)

    def passing_umodbus(self) -> Server:
        """micropython-modbus that asks PASSED_UNIT by its own master for each read, held."""
        ports, folder, _ = _ports(False), *self._line()
        tree = servers.program_tree("umodbus_gateway", "host", [umodbus.ensure(self.progress)])
        server = self._start(UMODBUS, [f"{tree}/main.py", *ports.words()], f"{tree}/lib:.frozen", ports, folder)
        server.process.wait_line("^ready", self.ready_s)
        server.hold()
        return server

    def mbusd(self, program: str) -> Server:
        """The mbusd of this path on such a line, held: one try of a second, no pause between requests."""
        ports, folder, device = _ports(False), *self._line()
        argv = [program, "-d", "-L", "-", "-p", device, "-s", str(_BAUD), "-m", "8n1", "-A", HOST]
        argv += ["-P", str(ports.modbus), "-C", "32", "-N", "0", "-R", "0", "-W", "1000"]
        return self._program(MBUSD, argv, ports, folder, says_ready=False)

    def _line(self) -> tuple[pathlib.Path, str]:
        """A folder, and in it the device of a serial line with PASSED_UNIT."""
        folder = self._folder()
        self._stack.enter_context(VirtualLine([LineRamp(PASSED_UNIT)], _BAUD, link=str(folder / "bus0")))
        return folder, str(folder / "bus0")

    def _program(
        self, name: str, argv: list[str], ports: Ports, folder: pathlib.Path, says_ready: bool = True
    ) -> Server:
        process = gateway.Gateway(folder, argv=argv, env={"PYTHONPATH": str(build.ROOT)})
        self._stack.enter_context(process)
        server = Server(name, process, ports)
        self._stack.callback(_let_go, server)
        if says_ready:
            process.wait_line("^ready", self.ready_s)
        _wait_open(ports.modbus)
        server.hold()
        return server


def _let_go(server: Server) -> None:
    """A process that is held does not hear that it should end."""
    if server.process.pid is not None:
        os.kill(server.process.pid, signal.SIGCONT)


def _wait_open(port: int) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
