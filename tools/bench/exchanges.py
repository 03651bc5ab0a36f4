"""What the servers of `make bench` are asked, and the one right answer to it, byte for byte.

Modbus answers follow from the registers; those of HTTP are fetched once and looked at, and every later one must be the
same bytes. Raises questions.WrongAnswer, OSError.
"""

import socket

from tools.bench import questions
from tools.bench.load import Exchange
from tools.bench.meters import Ramp
from tools.bench.processes import FUNCTION, HOST, UNIT

_ANSWER_S = 60  # under Callgrind a document takes seconds


def read(count: int, unit: int = UNIT) -> Exchange:
    """A Modbus read of so many registers from address 0 on."""
    request, answer = questions.read_adus(unit, FUNCTION, 0, [Ramp.register(address) for address in range(count)])
    return Exchange(request, answer, True)


def page(port: int, keep_alive: bool, right: bytes) -> Exchange:
    """GET / from a server that runs; `right` is the page."""
    question = questions.get("/", keep_alive, questions.equals(right))
    return Exchange(question.data, fetch(port, question), False)


def fetch(port: int, question: questions.Question) -> bytes:
    """One whole answer, which has been looked at."""
    with Kept(port) as kept:
        return kept.ask(question)


class Kept:
    """An HTTP connection for one question after the other; a context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.received, self.ended = bytearray(), False  # what Question.whole looks at

    def __enter__(self) -> "Kept":
        self._socket = socket.create_connection((HOST, self._port), timeout=_ANSWER_S)
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def ask(self, question: questions.Question) -> bytes:
        """The whole answer, which has been looked at."""
        self._socket.sendall(question.data)
        while not (length := question.whole(self)):
            if self.ended:
                raise questions.WrongAnswer(f"port {self._port}: it ended after {bytes(self.received)[:80]!r}")
            piece = self._socket.recv(65536)
            self.ended = not piece
            self.received += piece
        answer = bytes(self.received[:length])
        del self.received[:length]
        question.check(answer)
        return answer
