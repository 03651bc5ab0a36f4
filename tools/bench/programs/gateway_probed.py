"""The gateway as main.py starts it, with the probe as one more stream of its loop."""

# mypy: ignore-errors
import bench_place

from firmware import app, board
from firmware.net import seam


class _Probe:
    """An owner as the seam wants it: a task of asyncio's that waits for a stream would make each request dearer."""

    def __init__(self):
        self._stream = bench_place.probe_socket()
        seam.watch(self._stream, self)

    def on_ready(self, events):
        bench_place.answer(self._stream, self._stream.recv(1))

    def fail(self, error):
        seam.print_exception(error)


_main = app.App.main


async def _probed_main(self):
    _Probe()
    await _main(self)


app.App.main = _probed_main
app.run(board.detect())
