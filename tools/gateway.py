"""The firmware as a process of a development machine: started, watched, started again after a reboot, ended.

In:  a state directory (the device's file system and the working directory of the firmware; its
     configuration is data/config.json there), the runtime and the heap.
Out: a running gateway, its output lines, its exit codes, its memory and its sockets as the kernel counts
     them.

The firmware ends with exit code 42 to ask for a reboot and is then started again, on the same ports since
these are in its configuration. After a factory reset there is none: a device would use ports 80 and 502 of all
its addresses then, which this machine may not have to give; so the starter writes a new one with nothing but
the place of the old one (`place`). Any other end is an end. The process never outlives this one: the kernel is
asked to kill it with its parent, whatever kills the parent (Linux; elsewhere stop() must be reached).
"""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from tools import page
from tools.program import Watched

ROOT = Path(__file__).resolve().parent.parent
# Of the firmware's files in the state directory: MicroPython keeps the path of each module in the heap, and on a board
# it is as short.
_TREE = ".fw"
REBOOT_CODE = 42  # docs/reference/starting.md
RUNTIMES = ("micropython", "cpython")
FORGOTTEN = "the firmware has removed its configuration"
HEAP = "320K"  # of a firmware that runs as files,
FROZEN_HEAP = "112K"  # what an ESP32 without PSRAM has
_PLACE = {"http": ("bind", "port"), "modbus": ("bind", "port"), "ntp": ("server", "port"), "finder": ("bind", "port")}

_LAST_PORT = ROOT / "build" / "last-port"
_PORTS = range(12000, 32000)  # for free_ports(); Linux gives 32768 and above by itself

_QUICK_S = 2.0  # a run shorter than this is a quick one,
_QUICK_MAX = 10  # and this many quick reboots in a row are a loop
_PROBE_S = 1.0  # time-out of one readiness probe
_PR_SET_PDEATHSIG = 1  # prctl(2)

_build_lock = threading.Lock()
_built = {}  # source -> directory, "frozen" -> interpreter; built once in a process


class GatewayError(RuntimeError):
    """The firmware did not start, ended by itself or was not ready in time; the text ends with its log."""


class Gateway(Watched):
    """One firmware process at a time in a state directory; a context manager, or start() and stop().

    pid         of the running process, else None       exit_codes  of all processes so far, in order
    alive       True from start() until an end that is no reboot, or stop()
    lines       the last output lines (bounded)         reboots     starts after an exit with code 42
    """

    failure = GatewayError

    def __init__(
        self,
        state_dir,
        runtime="micropython",
        heap=None,
        source=False,
        device_dir=None,
        argv=None,
        env=None,
        on_line=None,
        progress=None,
        place=None,
        frozen=False,
    ):
        """Nothing is started yet. Raises ValueError.

        runtime     "micropython" (a built tree) or "cpython" (the checkout with host_tests/shim)
        heap        MicroPython's heap, as -X heapsize takes it; None: "320K", "112K" when frozen
        source      run .py files on MicroPython instead of .mpy
        device_dir  a tree built before (boot.py, main.py, firmware/, lib/); else build/device is built
        argv, env   run this command instead of the firmware, with these variables added (tests of this class)
        on_line     called with every output line, and with a line for every reboot; from another thread
        progress    called with a text before every long step of the preparation
        frozen      run the 32-bit MicroPython that has the firmware of the checkout within (tools/frozen.py)
        place       the configuration for a reboot that finds none, as place_of() gives it; None: it stays without
        """
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime {runtime!r} is not one of {', '.join(RUNTIMES)}")
        if frozen and (runtime != "micropython" or source or device_dir):
            raise ValueError("frozen: the firmware lies within MicroPython, neither in a tree nor on CPython")
        if heap is None:
            heap = FROZEN_HEAP if frozen else HEAP
        if not re.fullmatch(r"[1-9][0-9]*[KkMm]?", heap):
            raise ValueError(f"heap {heap!r} is not a number of bytes like 128K")
        super().__init__(on_line)
        self.state_dir = Path(state_dir).resolve()
        self.runtime, self.heap, self.source, self.frozen = runtime, heap, source, frozen
        self.device_dir = device_dir and Path(device_dir).resolve()
        self.argv, self.env = argv, dict(env or {})
        self.progress = progress or (lambda text: None)
        self.place = place
        self.exit_codes = []
        self.reboots = 0
        self._process = self._thread = self._failure = None
        self._running = False  # from start() to the end of the last process
        self._wanted = False  # a reboot is followed by a start

    # Life

    def start(self):
        """Builds what is to be run and starts it; returns self when it runs. Raises GatewayError."""
        if self._thread and self._thread.is_alive():
            raise RuntimeError("the gateway runs already")
        command, env = self._command()
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self._failure, self._running, self._wanted = None, True, True
        # One thread starts every process, reads it and outlives it: the kernel's death signal is bound to the
        # thread that started the child, not to the process.
        self._thread = threading.Thread(target=self._watch, args=(command, env), name="gateway", daemon=True)
        with self._changed:
            started = len(self.exit_codes)
            self._thread.start()
            self._changed.wait_for(lambda: self._process or self._failure or len(self.exit_codes) > started)
        if self._failure:
            self._thread.join()
            raise GatewayError(f"cannot start {command[0]}: {self._failure}")
        return self

    def stop(self, timeout=5.0):
        """Ends the process (SIGTERM, after the time-out SIGKILL) and waits for it; may be called twice."""
        with self._changed:
            self._wanted = False
            self._signal(signal.SIGTERM)
        if self._thread:
            self._thread.join(timeout)
            if self._thread.is_alive():
                self._signal(signal.SIGKILL)
                self._thread.join()

    def kill(self):
        """SIGKILL, as when the power goes; the gateway does not come back before start()."""
        with self._changed:
            self._wanted = False
            self._signal(signal.SIGKILL)
        if self._thread:
            self._thread.join()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    @property
    def pid(self):
        """Process id, or None when there is no process just now."""
        process = self._process
        return process.pid if process else None

    @property
    def alive(self):
        """True until stop() or an exit that is no reboot; also true between a reboot and the next start."""
        return self._running

    def wait_exit(self, timeout=30.0):
        """Waits for an end that is no reboot; returns its exit code (negative: signal)."""
        if not self._thread:
            raise RuntimeError("the gateway was not started")
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"the firmware still runs after {timeout} s")
        return self.exit_codes[-1]

    def wait_reboots(self, count, timeout=30.0):
        """Waits until it was started again this many times in all. Raises GatewayError or TimeoutError."""
        self._wait(lambda: self.reboots >= count, timeout, f"{count} reboots")

    def wait_ready(self, timeout=30.0, http_port=None, modbus_port=None):
        """Waits until HTTP and Modbus TCP both answer.

        The ports are those of data/config.json unless given; 0 leaves one out. Raises GatewayError with the
        last lines when the firmware has ended or the time is over.
        """
        if http_port is None or modbus_port is None:
            configured = self.ports()
            http_port = configured[0] if http_port is None else http_port
            modbus_port = configured[1] if modbus_port is None else modbus_port
        probes = [(http_answers, http_port), (modbus_answers, modbus_port)]
        waiting = [(probe, port) for probe, port in probes if port]
        deadline = time.monotonic() + timeout
        while True:
            waiting = [(probe, port) for probe, port in waiting if not probe(port)]
            if not waiting:
                return
            names = " and ".join(f"{probe.__name__.split('_')[0]} on port {port}" for probe, port in waiting)
            if not self.alive:
                raise GatewayError(f"{self._end_text()}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise GatewayError(f"no answer by {names} within {timeout:g} s\n{self.tail()}")
            with self._changed:
                self._changed.wait(0.02)

    def ports(self):
        """(http.port, modbus.port) as configured in the state directory; else 80 and 502. Raises GatewayError when
        the file is not a JSON object: then only the firmware knows by which configuration it runs."""
        try:
            config = json.loads((self.state_dir / "data" / "config.json").read_text())
        except FileNotFoundError:
            config = {}
        except ValueError as error:
            raise GatewayError(f"data/config.json is not JSON ({error}): give the ports") from error
        if not isinstance(config, dict):
            raise GatewayError("data/config.json is not an object: give the ports")
        return config.get("http", {}).get("port", 80), config.get("modbus", {}).get("port", 502)

    # Measured from outside, in /proc (Linux)

    @property
    def rss(self):
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self._need_pid()}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise GatewayError("the process has just ended")

    @property
    def cpu_s(self):
        """User and system time so far, in seconds."""
        fields = Path(f"/proc/{self._need_pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def socket_count(self):
        """Sockets that the process holds now, as the kernel counts them."""
        folder = f"/proc/{self._need_pid()}/fd"
        count = 0
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
        return count

    def _need_pid(self):
        pid = self.pid
        if pid is None:
            raise GatewayError(f"the firmware is not running\n{self.tail()}")
        return pid

    # Inside

    def _command(self):
        env = dict(os.environ, PYTHONUNBUFFERED="1", **self.env)
        if self.argv:
            return [str(word) for word in self.argv], env
        if self.runtime == "cpython":
            page.write()
            paths = (ROOT, ROOT / "lib", ROOT / "host_tests" / "shim")
            env.update(PYTHONPATH=os.pathsep.join(map(str, paths)), PYTHONDONTWRITEBYTECODE="1")
            return [sys.executable, str(ROOT / "main.py")], env
        if self.frozen:
            env["MICROPYPATH"] = ".frozen"
            return [str(find_frozen(self.progress)), "-X", f"heapsize={self.heap}", "-m", "main"], env
        interpreter = find_micropython(self.progress)
        tree = self.device_dir or build_device(self.source, self.progress)
        link = self.state_dir / _TREE
        link.unlink(missing_ok=True)
        link.symlink_to(Path(tree).resolve())
        env["MICROPYPATH"] = f"{_TREE}:{_TREE}/lib:.frozen"
        return [str(interpreter), "-X", f"heapsize={self.heap}", f"{_TREE}/main.py"], env

    def _watch(self, command, env):
        quick, again = 0, False
        while True:
            begun = time.monotonic()
            try:
                process = subprocess.Popen(
                    command,
                    cwd=self.state_dir,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C at the terminal is the starter's to handle
                    preexec_fn=_die_with_parent(),
                )
            except OSError as error:
                self._note(failure=error)
                return
            self._note(process=process, again=again)
            assert process.stdout  # it is a pipe
            with process.stdout as output:
                for raw in output:
                    self._keep(raw.decode("utf-8", "replace").rstrip("\r\n"))
            code = process.wait()
            quick = quick + 1 if time.monotonic() - begun < _QUICK_S else 0
            again = code == REBOOT_CODE and self._wanted and quick < _QUICK_MAX
            if again:
                self._keep("meterport: reboot (exit code 42), starting again")
                self._keep_place()
            elif code == REBOOT_CODE and self._wanted:
                self._keep(f"meterport: {quick} reboots within {_QUICK_S:g} s each: not started again")
            self._note(code=code, again=again)
            if not again:
                return

    def _keep_place(self):
        if self.place is not None and not (self.state_dir / "data" / "config.json").exists():
            write_config(self.state_dir, self.place)
            self._keep(f"meterport: {FORGOTTEN}; it gets one with its ports and nothing else")

    def _note(self, process=None, code=None, again=False, failure=None):
        with self._changed:
            if process:
                self._process = process
                self.reboots += again
                if not self._wanted:  # stop() came between two processes
                    self._signal(signal.SIGTERM)
            if code is not None:
                self._process = None
                self.exit_codes.append(code)
                self._running = again
            if failure:
                self._failure, self._running = failure, False
            self._changed.notify_all()

    def _signal(self, number):
        process = self._process
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)  # its own session: children of the firmware's, if any, go too

    def _end_text(self):
        return f"the firmware ended with code {self._last_code()}"

    def _last_code(self):
        return self.exit_codes[-1] if self.exit_codes else None


def _die_with_parent():
    """For preexec_fn: the kernel kills the child when the thread that started it is gone, and Ctrl-C reaches it even
    where the parent process ignores it (a shell's background job). None off Linux."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here, not between fork and exec
    parent = os.getpid()

    def in_child():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return in_child


def find_micropython(progress):
    """Path of the interpreter: $MICROPYTHON, or what tools/micropython.py gets. Raises GatewayError."""
    from tools import micropython  # only here: on CPython nothing of it is needed

    try:
        return micropython.ensure(progress)
    except micropython.NoMicroPython as error:
        raise GatewayError(str(error)) from error


def find_frozen(progress):
    """Path of the interpreter that has the firmware within, built once in this process. Raises GatewayError."""
    from tools import build, debian, frozen

    with _build_lock:
        if "frozen" not in _built:
            try:
                _built["frozen"] = frozen.ensure(progress)
            except (build.BuildError, frozen.BuildError, debian.MissingPackages) as error:
                raise GatewayError(f"the firmware cannot be frozen:\n{error}") from error
        return _built["frozen"]


def build_device(source, progress):
    """Brings the device's tree under build/ up to date, once in this process; returns its path.

    Raises GatewayError when a file does not compile.
    """
    from tools import build

    with _build_lock:
        if source not in _built:
            target = ROOT / "build" / ("device-source" if source else "device")
            try:
                build.build(target, source, progress)
            except build.BuildError as error:
                raise GatewayError(f"the firmware cannot be built:\n{error}") from error
            _built[source] = target
        return _built[source]


def http_answers(port, host="127.0.0.1"):
    """True when GET /api/status gets an HTTP response, whatever its status."""
    request = f"GET /api/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    return _exchange(host, port, request, 9, lambda reply: reply.startswith(b"HTTP/1."))


def modbus_answers(port, host="127.0.0.1"):
    """True when a read of the gateway's own register 0 (unit 255, function 3) is answered, or refused."""
    request = struct.pack(">HHHBBHH", 0x4D50, 0, 6, 255, 3, 0, 1)
    return _exchange(host, port, request, 9, lambda reply: reply[:4] == request[:4] and reply[6] == 255)


def _exchange(host, port, request, length, good):
    """Sends a request on a connection of its own; good() of the first `length` bytes; False when it fails."""
    try:
        with socket.create_connection((host, port), timeout=_PROBE_S) as connection:
            connection.sendall(request)
            reply = b""
            while len(reply) < length:
                data = connection.recv(4096)
                if not data:
                    return False
                reply += data
            return good(reply)
    except OSError:  # refused, reset or silent: not ready
        return False


def free_ports(count, host="127.0.0.1"):
    """This many different ports that neither a TCP nor a UDP socket of `host` has now.

    They lie below those that the kernel gives to sockets without a wish, and all processes of a checkout take theirs
    from one round: nothing else is given a port between this call and the bind.
    """
    _LAST_PORT.parent.mkdir(exist_ok=True)
    with open(_LAST_PORT, "a+") as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)
        shared.seek(0)
        last = int(shared.read() or _PORTS[-1])
        ports = []
        for _ in _PORTS:
            if len(ports) == count:
                break
            last = last + 1 if last < _PORTS[-1] else _PORTS[0]
            if _is_free(host, last):
                ports.append(last)
        shared.truncate(0)
        shared.write(str(last))
    if len(ports) < count:
        raise GatewayError(f"{host} has no {count} free ports in {_PORTS[0]}..{_PORTS[-1]}")
    return ports


def _is_free(host, port):
    try:
        socket.create_server((host, port)).close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind((host, port))
    except OSError:
        return False
    return True


def port_error(port, host="127.0.0.1"):
    """The OSError that a server on this port would meet now, or None."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        return error
    return None


def write_config(state_dir, config):
    """Writes data/config.json of a state directory; returns its path."""
    path = Path(state_dir) / "data" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=1) + "\n")
    return path


def place_of(config):
    """Of a configuration, the ports on this machine and the time server."""
    return {
        section: {key: config[section][key] for key in keys if key in config[section]}
        for section, keys in _PLACE.items()
        if section in config
    }
