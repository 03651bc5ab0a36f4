"""A stock build's lwIP runs out of memory for output when documents and replies go out together: what a client gets may
end early, and is never wrong."""

import contextlib
import http.client
import threading
import time

from host_tests.system.rig import Client, words
from tools import page
from tools.emulator import build

READS = ((3, 4, 0, 10), (1, 4, 0, 6))  # polled, so they are answered from memory
LOAD_S = 25  # pages of more than the 8 KB that lwIP has
CLIENTS = 2
ANSWER_S = 60
PAUSE_S = 0.3


class Poller(threading.Thread):
    """Polls until stop(); connects again when the chip has closed. `error` is a reply that was not the request's."""

    def __init__(self, port, transaction, reads):
        super().__init__(name=f"poller {transaction}", daemon=True)
        self.port, self.transaction, self.reads = port, transaction, reads
        self.answers = 0
        self.error = None
        self._stopping = threading.Event()

    def stop(self):
        self._stopping.set()
        self.join()

    def run(self):
        while not self._stopping.is_set() and not self.error:
            with contextlib.suppress(OSError, EOFError), Client(self.port, ANSWER_S, self.transaction) as client:
                self._poll(client)

    def _poll(self, client):
        try:
            while not self._stopping.wait(PAUSE_S):
                for *read, expected in self.reads:
                    assert client.read(*read) == expected
                    self.answers += 1
        except AssertionError as error:
            self.error = f"after {self.answers} answers: {error}"


def test_no_reply_comes_twice_and_no_page_is_mixed_up(make_chip):
    chip = make_chip(build.STOCK_PCBS)
    chip.wait_polled()
    wanted = page.document().encode()
    reads = [(*read, words(chip.meters[read[0]].registers(*read[1:]))) for read in READS]
    pollers = [Poller(chip.emulator.ports["modbus"], 1000 * k, reads) for k in range(CLIENTS)]
    for poller in pollers:
        poller.start()
    try:
        end = time.monotonic() + LOAD_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):  # it ended early
                assert chip.fetch("/") == (200, wanted)
            assert [poller.error for poller in pollers] == [None] * CLIENTS
    finally:
        for poller in pollers:
            poller.stop()
    assert all(poller.answers for poller in pollers)
