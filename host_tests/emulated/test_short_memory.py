"""A stock build's lwIP runs out of memory for output when documents and replies go out together: what a client gets may
end early, and is never wrong."""

import contextlib
import http.client
import time

from host_tests.emulated.peers import ReconnectingPoller
from host_tests.system.rig import words
from tools import page
from tools.emulator import build

READS = ((3, 4, 0, 10), (1, 4, 0, 6))  # polled, so they are answered from memory
LOAD_S = 25  # pages of more than the 8 KB that lwIP has
CLIENTS = 2


def test_no_reply_comes_twice_and_no_page_is_mixed_up(make_chip):
    chip = make_chip(build.STOCK_PCBS)
    chip.wait_polled()
    wanted = page.document().encode()
    reads = [(*read, words(chip.meters[read[0]].registers(*read[1:]))) for read in READS]
    pollers = [ReconnectingPoller(chip.emulator.ports["modbus"], 1000 * k, reads) for k in range(CLIENTS)]
    with contextlib.ExitStack() as stack:
        for poller in pollers:
            stack.enter_context(poller)
        end = time.monotonic() + LOAD_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):  # it ended early
                assert chip.fetch("/") == (200, wanted)
            assert [poller.error for poller in pollers] == [None] * CLIENTS
    assert all(poller.answers for poller in pollers)
