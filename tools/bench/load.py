"""The load generator load.c from Python: compiled when needed, run to its end, its figures as objects.

In:  a request and its one right answer as bytes, a port, a load. Out: a Load. Raises LoadError when an answer was
     wrong or missing, with what the generator said.
"""

import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import tempfile
from typing import NamedTuple

from tools import debian

SOURCE = pathlib.Path(__file__).resolve().with_name("load.c")
_HEADER = SOURCE.with_name("histogram.h")
OUT = SOURCE.parent.parent.parent / "build" / "bench"
LATE_MS = 20  # no answer should take longer
CLIENTS_MAX = 64
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")
_COMPILE_LIMIT_S = 60
_TIMEOUT_S = 5
_START_S = 10


class LoadError(RuntimeError):
    """A server gave a wrong answer or none, or the generator cannot be compiled."""


class Exchange(NamedTuple):
    """What is asked, and the one right answer. With `numbered` the first two bytes of both are a number that the
    generator counts up (the transaction identifier of Modbus TCP)."""

    request: bytes
    answer: bytes
    numbered: bool


class Times(NamedTuple):
    """Microseconds."""

    min: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    mean: float


class Load(NamedTuple):
    """Figures of one run."""

    requests: int
    seconds: float
    latency: Times
    lag: Times | None  # how late requests left, at a fixed rate
    served: Times  # from the moment at which they left; without a rate the latency
    late: int  # answers after more than LATE_MS
    clients: list[int]  # answers for each
    cpu_s: float  # that the generator itself took
    reopened: int  # connections that the server ended, with `reopen`

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds

    @property
    def fairness(self) -> float:
        """What the slowest client got of what the fastest got."""
        return min(self.clients) / max(self.clients)


def compile_generator(out: pathlib.Path = OUT) -> pathlib.Path:
    """The program, compiled with $CC or the system's gcc when the source has changed. Raises LoadError."""
    told = os.environ.get("CC")
    try:
        compiler = shlex.split(told) if told else [debian.ensure_packages({"gcc": "gcc"})["gcc"]]
    except debian.MissingPackages as error:
        raise LoadError(f"the load generator needs a C compiler, or $CC: {error}") from error
    sources = SOURCE.read_bytes() + _HEADER.read_bytes()
    mark = hashlib.sha256(" ".join([*compiler, *_FLAGS]).encode() + sources).hexdigest()[:16]
    program = out / f"load-{mark}"
    if program.exists():
        return program
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="load-", dir=out) as folder:
        fresh = pathlib.Path(folder) / "load"
        done = subprocess.run(
            [*compiler, *_FLAGS, "-o", str(fresh), str(SOURCE)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMPILE_LIMIT_S,
            check=False,
        )
        if done.returncode:
            raise LoadError(f"{' '.join(compiler)} refused {SOURCE.name}:\n{done.stdout[-2000:]}")
        fresh.rename(program)
    return program


def run(
    port: int,
    exchange: Exchange,
    *,
    seconds: float = 0,
    requests: int = 0,
    clients: int = 1,
    rate: float = 0,
    reconnect: bool = False,
    reopen: bool = False,
    timeout_s: int = _TIMEOUT_S,
) -> Load:
    """Asks for this long or this often (in all), closed loop, or `rate` times a second and client; with `reconnect`
    each time on a new connection, which the server ends; with `reopen` again where the server has ended one. No answer
    within the time-out: LoadError."""
    program = compile_generator()
    with tempfile.TemporaryDirectory(prefix="meterport-load-") as name:
        folder = pathlib.Path(name)
        (folder / "request").write_bytes(exchange.request)
        (folder / "answer").write_bytes(exchange.answer)
        command = [str(program), "--port", str(port), "--request", "request", "--answer", "answer"]
        command += ["--clients", str(clients), "--rate", str(rate), "--late-ms", str(LATE_MS)]
        command += ["--timeout-s", str(timeout_s)]
        command += ["--requests", str(requests)] if requests else ["--seconds", str(seconds)]
        command += ["--id"] * exchange.numbered + ["--reconnect"] * reconnect + ["--reopen"] * reopen
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_limit_s(seconds, requests),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"the load generator did not end: {error}") from error
    if done.returncode:
        raise LoadError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    return parse(done.stdout)


def _limit_s(seconds: float, requests: int) -> float:
    """When a run has to be over: a request may wait for its time-out, but not each of many."""
    return _START_S + 2 * seconds + requests * 0.5 + _TIMEOUT_S


def parse(text: str) -> Load:
    """The generator's output."""
    raw = json.loads(text)
    lag = Times(**raw["lag_us"]) if "lag_us" in raw else None
    latency, served = Times(**raw["latency_us"]), Times(**raw["served_us"])
    times = (raw["requests"], raw["seconds"], latency, lag, served, raw["late"])
    return Load(*times, raw["clients"], raw["cpu_s"], raw["reopened"])
