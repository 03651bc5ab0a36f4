"""wrk (Debian's, not installed) from Python: a closed loop of GET / over several connections, every body compared.

In:  a port, the one right body, connections. Out: Pages. Raises load.LoadError when wrk cannot be had or does not run,
     questions.WrongAnswer when a page was not the right one. wrk counts the time of an answer from the moment at which
     its request was written: the time to connect is not in it, but that in the server's backlog is.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import NamedTuple

from tools import debian
from tools.bench.load import LoadError
from tools.bench.processes import HOST
from tools.bench.questions import WrongAnswer

_SCRIPT = pathlib.Path(__file__).resolve().with_suffix(".lua")
_LIBRARY = "libluajit-5.1-2"
_PATIENCE_S = 10  # wrk counts no answer that takes longer
_START_S = 20


class Pages(NamedTuple):
    """What became of the requests of one run."""

    answered: int  # whole and right
    refused: int  # answered with another status than 200
    broken: int  # the connection ended in front of the answer or in it; wrk connects and asks again
    unconnected: int  # connections that were refused
    seconds: float
    p50_us: float
    p99_us: float
    worst_us: float

    @property
    def rate(self) -> float:
        """Pages per second."""
        return self.answered / self.seconds


def program() -> tuple[str, dict[str, str]]:
    """(path, environment) of wrk: the system's, else that of its package. Raises LoadError."""
    found = shutil.which("wrk")
    if found:
        return found, {}
    try:
        path = debian.unpack("wrk") / "usr" / "bin" / "wrk"
        (library,) = (debian.unpack(_LIBRARY) / "usr" / "lib").glob("*/libluajit-5.1.so.2")
    except debian.MissingPackages as error:
        raise LoadError(f"the load of pages needs wrk: {error}") from error
    return str(path), {"LD_LIBRARY_PATH": str(library.parent)}


def run(port: int, right: bytes, connections: int, keep_alive: bool, seconds: float) -> Pages:
    """Asks for that long, in whole seconds and at least one, which is all that wrk knows."""
    path, environment = program()
    whole = max(1, round(seconds))
    command = [path, "--threads", "1", "--connections", str(connections), "--duration", f"{whole}s"]
    command += ["--timeout", f"{_PATIENCE_S}s", "--script", str(_SCRIPT), "--header", "Accept-Encoding: gzip"]
    command += [] if keep_alive else ["--header", "Connection: close"]
    with tempfile.TemporaryDirectory(prefix="meterport-wrk-") as folder:
        body = pathlib.Path(folder) / "body"
        body.write_bytes(right)
        try:
            done = subprocess.run(
                [*command, f"http://{HOST}:{port}/", "--", str(body)],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_START_S + whole + _PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"wrk did not end: {error}") from error
    if done.returncode:
        raise LoadError(f"wrk ended with {done.returncode}: {(done.stderr + done.stdout).strip()[-800:]}")
    return parse(done.stdout)


def parse(text: str) -> Pages:
    """What wrk.lua has printed last."""
    try:
        raw = json.loads(text.strip().rpartition("\n")[2])
    except ValueError as error:
        raise LoadError(f"wrk said: {text.strip()[-800:]}") from error
    if raw["wrong"]:
        raise WrongAnswer(f"{raw['wrong']} of {raw['answers']} pages were not the right one")
    times = (raw["seconds"], raw["p50_us"], raw["p99_us"], raw["worst_us"])
    return Pages(raw["answers"] - raw["refused"], raw["refused"], raw["broken"], raw["connect"], *times)
