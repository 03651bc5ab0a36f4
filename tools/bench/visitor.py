"""A visitor who wants the page: as a browser does, over a connection that is kept while the server keeps it, and made
again, with the same question, when the server has ended it.

In:  a port, the one right page. Out: how often it was asked for and served, and how long that took.
"""

import asyncio
import contextlib
import time

from tools.bench import questions
from tools.bench.slowloris import HOST

_AGAIN_S = 0.05  # after a connection that ended in front of its answer


class Visitor:
    """`run()` until it is cancelled; raises questions.WrongAnswer. How long a page may take is for the caller to say.

    asked, answered   pages
    repeated          times that a question had to be asked again on a new connection
    first_s           until the first page had come; None before
    worst_s           from the first question to the page, connecting included; one that has not come yet counts
    """

    def __init__(self, port: int, page: bytes, period_s: float = 1.0, keep_alive: bool = True) -> None:
        """`period_s`: from one page to the next; 0: at once."""
        self.asked = self.answered = self.repeated = 0
        self.first_s: float | None = None
        self._port, self._period_s, self._keep_alive = port, period_s, keep_alive
        self._question = questions.get("/", keep_alive, questions.equals(page))
        self._writer: asyncio.StreamWriter | None = None
        self._worst_s = 0.0
        self._begun: float | None = None  # of the question that waits
        self.received, self.ended = bytearray(), False  # what Question.whole looks at

    @property
    def worst_s(self) -> float:
        waiting = 0.0 if self._begun is None else time.monotonic() - self._begun
        return max(self._worst_s, waiting)

    async def run(self) -> None:
        """Page after page, for good."""
        due = time.monotonic()
        try:
            while True:
                await asyncio.sleep(due - time.monotonic())
                self._begun = time.monotonic()
                self.asked += 1
                while not await self._ask():
                    self.repeated += 1
                    self._close()
                    await asyncio.sleep(_AGAIN_S)
                self.answered += 1
                self._worst_s = self.worst_s
                self.first_s = self.first_s or self._worst_s
                self._begun = None
                due = max(due + self._period_s, time.monotonic())
        finally:
            self._worst_s, self._begun = self.worst_s, None
            self._close()

    async def _ask(self) -> bool:
        """False when the connection ended first."""
        with contextlib.suppress(ConnectionError):
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
                self.received, self.ended = bytearray(), False
            self._writer.write(self._question.data)
            while not (length := self._question.whole(self)):
                if self.ended:
                    return False
                piece = await self._reader.read(65536)
                self.ended = not piece
                self.received += piece
            self._question.check(bytes(self.received[:length]))
            del self.received[:length]
            if not self._keep_alive or self.ended:
                self._close()
            return True
        return False

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
