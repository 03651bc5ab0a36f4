"""What the servers of `make bench` are asked, and the one right answer to it, byte for byte.

Modbus answers follow from the registers; those of HTTP are fetched once and looked at, and every later one must be the
same bytes. Raises questions.WrongAnswer, OSError.
"""

import socket

from tools.bench import questions
from tools.bench.load import Exchange
from tools.bench.meters import Ramp
from tools.bench.processes import FUNCTION, HOST, UNIT

_ANSWER_S = 10


class _Received:
    """What questions.Question.whole looks at."""

    def __init__(self) -> None:
        self.received, self.ended = bytearray(), False


def read(count: int, unit: int = UNIT) -> Exchange:
    """A Modbus read of so many registers from address 0 on."""
    request, answer = questions.read_adus(unit, FUNCTION, 0, [Ramp.register(address) for address in range(count)])
    return Exchange(request, answer, True)


def page(port: int, keep_alive: bool, right: bytes) -> Exchange:
    """GET / from a server that runs; `right` is the page."""
    question = questions.get("/", keep_alive, questions.equals(right))
    return Exchange(question.data, fetch(port, question), False)


def fetch(port: int, question: questions.Question) -> bytes:
    """One whole answer, which has been looked at. Without keep-alive the server has to end the connection."""
    state = _Received()
    with socket.create_connection((HOST, port), timeout=_ANSWER_S) as connection:
        connection.sendall(question.data)
        while not (length := question.whole(state)):  # type: ignore[arg-type]
            if state.ended:
                raise questions.WrongAnswer(f"port {port}: the connection ended after {bytes(state.received)[:80]!r}")
            piece = connection.recv(65536)
            state.ended = not piece
            state.received += piece
    answer = bytes(state.received[:length])
    question.check(answer)
    return answer
