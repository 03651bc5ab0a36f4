"""An emulated Pico with the firmware on it: one API for tests and for `make emulate`.

In:  a folder for its flash; what the flash holds when it is new; meters for its RS-485 line; ports to forward.
Out: a running chip: its REPL and output lines, its network, its resets, its flash after a power cut.

A reset of the chip (exit of the firmware for a reboot, or the watchdog) starts it again within the same process, on the
same ports: the lines stay, as wires do. A power cut kills the process; the flash file then holds every operation that
had ended. The process never outlives this one: it ends with its standard input.
"""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from tools import gateway
from tools.emulator import build, image, node
from tools.emulator.network import Forward, Network
from tools.emulator.slirp import SlirpNetwork
from tools.emulator.tun import TunNetwork
from tools.program import Watched
from tools.virtual_line import VirtualLine

HERE = pathlib.Path(__file__).resolve().parent
HOST = "127.0.0.1"
BAUD = 19200  # of the meter bus, unless the configuration says otherwise
METER_UART = 1
PORTS = {"http": 80, "modbus": 502}  # on the chip

_EVENTS = 200
_START_S = 20
_STOP_S = 5
_FAULT_CODE = 3

Progress = Callable[[str], object]


class EmulatorError(RuntimeError):
    """The emulator ended by itself, or something did not happen in time; the text ends with the chip's last lines."""


class UartLine(VirtualLine):
    """Virtual meters on an emulated UART, which keeps the time of the wire itself."""

    def __init__(self, meters, port, baud=BAUD, framing="8N1"):
        super().__init__(meters, baud, framing)
        self.port = port

    def _open(self):
        line = socket.create_connection((HOST, self.port), timeout=_START_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setblocking(False)
        self._fd, self.path, self._paced = line.detach(), f"UART {METER_UART}", False


class Emulator(Watched):
    """One emulated Pico; a context manager, or start() and stop().

    lines    output of the REPL, last ones (bounded)     events   what the machine reported, last ones
    resets   so far in this life of the process          alive    True while the process runs
    repl_port, uart1_port                                ports    of network.host, by name ("http", "modbus")
    line     the virtual meters, None without            network  PPP, None without forwards
    """

    failure = late = EmulatorError

    def __init__(
        self,
        folder,
        firmware=None,
        files=None,
        meters=None,
        baud=BAUD,
        framing="8N1",
        ports=None,
        forwards: Iterable[Forward] = (),
        repl_port=0,
        on_line=None,
        progress: Progress | None = None,
        tun=False,
    ):
        """Nothing is started yet.

        folder    keeps flash.bin; a flash that is there already is used as it is
        firmware  MicroPython's image (build.ensure_firmware() of a variant); None builds the one that users flash
        files     {name: bytes} of a new flash's file system; None leaves it empty
        meters    VirtualMeters for its UART 1
        ports     {"http": port, "modbus": port} of 127.0.0.1 that lead to the services; 0 picks a free one
        forwards  further ones
        on_line   called with every output line and event, from another thread
        progress  called with a text before every long step
        tun       a network of the chip's own (tun.py) instead of forwards: needs privileges; `ports` are the chip's
                  then
        """
        super().__init__(on_line)
        self.folder = pathlib.Path(folder).resolve()
        self.flash = self.folder / "flash.bin"
        self.firmware, self.files = firmware, files
        self.meters, self.baud, self.framing = meters, baud, framing
        wanted = dict(ports or {})
        if unknown := set(wanted) - set(PORTS):
            raise ValueError(f"ports {sorted(unknown)} are not among {sorted(PORTS)}")
        free = dict(zip(wanted, gateway.free_ports(len(wanted)), strict=True))
        self.ports = {name: port or free[name] for name, port in wanted.items()}
        self.forwards = [*(Forward(port, PORTS[name]) for name, port in self.ports.items()), *forwards]
        self.tun = tun
        if tun:
            self.ports, self.forwards = {name: PORTS[name] for name in wanted}, []
        self.repl_port, self.uart1_port = repl_port, 0
        self.progress = progress or (lambda text: None)
        self.events = deque(maxlen=_EVENTS)
        self.resets = 0
        self.line: UartLine | None = None
        self.network: Network | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._console: threading.Thread | None = None

    # Life

    def start(self):
        """Makes the flash if there is none, and switches the power on; returns self. Raises EmulatorError,
        build.BuildError, node.NodeError, debian.MissingPackages, image.ImageError, network.NetworkError."""
        if self.alive:
            raise RuntimeError("the emulator runs already")
        if self.forwards:
            build.ensure_slirp(self.progress)
        modules = node.ensure_packages(self.progress)
        if not self.flash.exists():
            firmware = self.firmware or build.ensure_firmware(progress=self.progress)
            image.make(self.flash, firmware, self.files or {})
        self.events.clear()
        self.resets = 0
        arguments = ["--flash", self.flash, "--repl", self.repl_port]
        self._process = subprocess.Popen(
            [node.find(self.progress)[0], HERE / "machine" / "main.mjs", *map(str, arguments)],
            env={"METERPORT_NODE_MODULES": str(modules)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C at the terminal is the starter's to handle
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="emulator", daemon=True)
        self._reader.start()
        try:
            listening = self.wait_event("listening", _START_S)
            self.repl_port, self.uart1_port = listening["repl"], listening["uart1"]
            if self.tun:
                self.network = TunNetwork(listening["uart0"]).start()
            elif self.forwards:
                self.network = SlirpNetwork(listening["uart0"], self.forwards).start()
            if self.meters is not None:
                self.line = UartLine(self.meters, self.uart1_port, self.baud, self.framing)
                self.line.start()
            self._watch_console()
            assert self._process.stdin  # it is a pipe
            self._process.stdin.write("on\n")
            self._process.stdin.flush()
            self.wait_event("usb", _START_S)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """Ends it; may be called twice."""
        self._end(None)

    def power_cut(self):
        """The power goes, now. start() brings the same flash up again."""
        self._end(signal.SIGKILL)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    @property
    def alive(self):
        """True while the process of the emulator runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        """Of the process, None when there is none."""
        return self._process.pid if self._process and self.alive else None

    def _end(self, number):
        process = self._process
        if process and number:
            process.send_signal(number)
        # Meters and network before the process: what they would see is the end of a line.
        with contextlib.ExitStack() as stack:
            stack.callback(self._end_process)
            if self.network:
                stack.callback(self.network.stop)
            if self.line:
                stack.callback(self.line.stop)
        self.line = self.network = None

    def _end_process(self):
        process, self._process = self._process, None
        if not process:
            return
        assert process.stdin  # it is a pipe
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader:
            self._reader.join()
        if self._console:
            self._console.join()
        if process.stdout:
            process.stdout.close()

    # Watching

    def wait_event(self, name, timeout=10.0, count=1) -> dict[str, Any]:
        """Waits for the count-th event of this name since start(), and returns it."""

        def found():
            return [event for event in list(self.events) if event["event"] == name][count - 1 :]

        self._wait(found, timeout, f"event {name} number {count}")
        return found()[0]

    def wait_reset(self, count=1, timeout=30.0):
        """Waits for the count-th reset since start(); returns its cause, "software" or "watchdog"."""
        return self.wait_event("reset", timeout, count)["cause"]

    def wait_ready(self, timeout=300.0):
        """Waits until PPP is up and HTTP and Modbus TCP answer on their ports. Raises EmulatorError."""
        if not self.network:
            raise RuntimeError("there are no ports to answer on")
        deadline = time.monotonic() + timeout
        try:
            # Not before: what connects to a forward while the link is down waits for a peer that never heard of it.
            self.network.wait_up(timeout, self.resets + 1)
        except (TimeoutError, RuntimeError) as error:
            raise EmulatorError(f"{error}\n{self.tail()}") from error
        for name, answers in (("http", gateway.http_answers), ("modbus", gateway.modbus_answers)):
            while name in self.ports and not self.network.call(answers, self.ports[name], self.network.host):
                if not self.alive:
                    raise EmulatorError(f"the emulator has ended\n{self.tail()}")
                if time.monotonic() > deadline:
                    raise EmulatorError(f"no answer by {name} within {timeout:g} s\n{self.tail()}")
                with self._changed:
                    self._changed.wait(0.1)

    def statistics(self) -> dict[str, Any]:
        """chip_s, cycles, busy_s (of this machine), lost (bytes, by UART), erased and programmed (flash operations)."""
        assert self._process
        with self._changed:
            count = 1 + sum(event["event"] == "statistics" for event in self.events)
        self._process.send_signal(signal.SIGUSR2)
        return self.wait_event("statistics", _START_S, count)

    # The REPL

    def exec(self, code, timeout=20.0):
        """Runs code at the raw REPL, as mpremote does; what it printed. A running firmware is interrupted by it.

        Raises EmulatorError when the code raises, or the REPL does not answer.
        """
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        try:
            transport = SerialTransport(f"socket://{HOST}:{self.repl_port}", timeout=timeout)
            try:
                try:
                    transport.enter_raw_repl(soft_reset=False)
                except TransportError:
                    # A Ctrl-C that falls into a callback of the port is printed there and ends nothing: once more, as a
                    # user would.
                    transport.enter_raw_repl(soft_reset=False)
                output, error = transport.exec_raw(code, timeout=timeout)
                transport.exit_raw_repl()
            finally:
                transport.close()
        except (TransportError, OSError) as failure:
            raise EmulatorError(f"the REPL: {failure}\n{self.tail()}") from failure
        if error:
            raise EmulatorError(error.decode(errors="replace"))
        return output.decode(errors="replace")

    def type(self, text):
        """Sends this to the REPL as if typed; "\\x03" is Ctrl-C."""
        with socket.create_connection((HOST, self.repl_port), timeout=_START_S) as connection:
            connection.sendall(text.encode())

    # Inside

    def _read(self, process):
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                self._keep(f"emulator: {line.rstrip()}")
                continue
            with self._changed:
                self.events.append(event)
                self.resets += event["event"] == "reset"
                self._changed.notify_all()
            if event["event"] in ("reset", "fault"):
                self._keep(f"emulator: {event['event']}: {event.get('cause') or event.get('text')}")
            if event["event"] == "reset":
                self._watch_console()
        with self._changed:
            self._changed.notify_all()

    def _watch_console(self):
        try:
            connection = socket.create_connection((HOST, self.repl_port), timeout=_START_S)
        except OSError:
            return  # it has ended meanwhile, which shows elsewhere
        connection.settimeout(None)
        self._console = threading.Thread(target=self._copy, args=(connection,), name="console", daemon=True)
        self._console.start()

    def _copy(self, connection):
        text = connection.makefile(errors="replace", newline="\n")
        with connection, text, contextlib.suppress(ConnectionError):
            for line in text:
                self._keep(line.rstrip("\r\n"))

    def _end_text(self):
        return "the emulator has ended"


def device_files(config, progress: Progress = print, frozen=False) -> dict[str, bytes]:
    """What a new flash holds: this configuration, and the firmware's tree, compiled, unless it is frozen into
    MicroPython's image. Raises gateway.GatewayError."""
    files = {} if frozen else image.tree_files(gateway.build_device(False, progress))
    return files | {"data/config.json": image.config_file(config)}
