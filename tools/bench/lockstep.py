"""The process of lockstep.mjs, which executes the chip when it is told to: one question, one answer."""

import json
import pathlib
import subprocess
import tempfile
from typing import IO, Any

from tools.emulator import node

HERE = pathlib.Path(__file__).resolve().parent
_STOP_S = 5
_SAID_MAX = 2000  # characters of what it said last


class LockstepError(RuntimeError):
    """The process ended; the text says what it said last."""


class Lockstep:
    """Runs from start() to stop(); a context manager."""

    def __init__(self, flash: pathlib.Path) -> None:
        self._flash = flash
        self._process: subprocess.Popen[str] | None = None
        self._said: IO[str] | None = None

    def start(self) -> "Lockstep":
        """Raises node.NodeError."""
        modules = node.ensure_packages()
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (stop() closes it)
        self._process = subprocess.Popen(
            [node.find()[0], HERE / "lockstep.mjs", "--flash", self._flash],
            env={"METERPORT_NODE_MODULES": str(modules), "TZ": "UTC"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        return self

    def ask(self, command: str, argument: Any) -> dict[str, Any]:
        """The answer to one command. Raises LockstepError."""
        process = self._process
        assert process  # started
        assert process.stdin  # they are pipes
        assert process.stdout
        try:
            process.stdin.write(json.dumps({command: argument}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            process.wait(_STOP_S)
            raise LockstepError(f"the emulator ended with exit code {process.returncode}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """May be called twice."""
        process, self._process = self._process, None
        if process and process.stdin and process.stdout:
            process.kill()  # it keeps nothing
            process.wait()
            process.stdin.close()
            process.stdout.close()
        if self._said:
            self._said.close()
            self._said = None

    def _last_words(self) -> str:
        assert self._said  # as long as there is a process
        self._said.seek(0)
        return self._said.read()[-_SAID_MAX:].strip()

    def __enter__(self) -> "Lockstep":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
