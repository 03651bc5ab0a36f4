"""What `make sim` and `make emulate` have in common: the end by a signal, lines on stderr, and a process whose output
is watched."""

import contextlib
import queue
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable

_LINES = 2000  # of a process, kept; older ones are gone


class Ended(BaseException):
    """A signal asked for the end; raised in the main thread wherever it is. Not an error, so no Exception."""


def _on_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup keeps its meaning
            signal.signal(number, handler)


def _raise_ended(number, frame):
    _on_signals(signal.SIG_IGN)  # the clean-up that follows is not to be cut short by a second one
    raise Ended


def run(name: str, body: Callable[[], int], usage_errors=(), failures=()) -> int:
    """Runs body(); its exit code, 0 after SIGINT, SIGTERM or SIGHUP, 2 after one of usage_errors, 1 after one of
    failures. Errors are printed on stderr. Afterwards those signals are ignored."""
    _on_signals(_raise_ended)
    try:
        return body()
    except Ended:
        return 0
    except usage_errors as error:
        say(f"{name}: {error}")
        return 2
    except failures as error:
        say(f"{name}: {error}")
        return 1
    finally:
        _on_signals(signal.SIG_IGN)


def wait_while(alive: Callable[[], bool]) -> bool:
    """Waits until alive() is false, asked five times a second; True when a signal came first.

    From here on signals raise nothing: what an exception would interrupt may be Thread.is_alive(), and then CPython
    3.11 takes a running thread for an ended one. SimpleQueue.put() may interrupt its get() (documentation of queue).
    """
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    _on_signals(lambda number, frame: ended.put(number))
    while alive():
        with contextlib.suppress(queue.Empty):
            ended.get(timeout=0.2)
            return True
    return False


def say(text: str) -> None:
    """Prints one line on stderr."""
    print(text, file=sys.stderr, flush=True)


class Echo:
    """Copies a process's lines to stderr from a thread of its own; call it with a line.

    A reader of stderr who does not read, or is gone, must not stop the process: what is too much is lost.
    """

    def __init__(self):
        self._lines = queue.Queue(maxsize=1000)
        self._thread = threading.Thread(target=self._copy, name="echo", daemon=True)
        self._thread.start()

    def __call__(self, line):
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(f"| {line}")

    def close(self):
        """Waits a moment for the lines that are still to be copied."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(1.0)

    def _copy(self):
        with contextlib.suppress(OSError):  # stderr is closed
            for line in iter(self._lines.get, None):
                say(line)


class Watched:
    """The output of a process that runs in the background: its last lines, and waiting for one.

    A subclass has `alive`, calls _keep(line) from the thread that reads, and notifies _changed of anything else that
    _wait() is to see. on_line is called with each line, from that thread.
    """

    failure: type[Exception] = RuntimeError  # when it ended while something was waited for,
    late: type[Exception] = TimeoutError  # when that did not come in time

    def __init__(self, on_line: Callable[[str], object] | None = None) -> None:
        self.on_line = on_line or (lambda line: None)
        self.lines: deque[str] = deque(maxlen=_LINES)
        self._changed = threading.Condition()

    @property
    def alive(self) -> bool:
        """Whether more lines may come."""
        raise NotImplementedError

    def tail(self, count: int = 20) -> str:
        """The last output lines as one text."""
        return "\n".join(list(self.lines)[-count:])

    def wait_line(self, pattern: str, timeout: float = 30.0) -> str:
        """Waits for an output line, old ones included, with a match for the pattern; returns it."""

        def found():
            return [line for line in list(self.lines) if re.search(pattern, line)]

        self._wait(found, timeout, f"a line with {pattern!r}")
        return found()[0]

    def _keep(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()
        self.on_line(line)

    def _end_text(self) -> str:
        """How it ended, for an error."""
        return "the process has ended"

    def _wait(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or not self.alive, timeout)
            if condition():
                return
        if not self.alive:
            raise self.failure(f"{self._end_text()}, without {what}\n{self.tail()}")
        raise self.late(f"{what}: not within {timeout:g} s\n{self.tail()}")
