"""The gateway as main.py starts it, with the probe as one more task of its loop."""

# mypy: ignore-errors
import asyncio

import bench_host

from firmware import app, board

_main = app.App.main


async def _probed_main(self):
    asyncio.create_task(bench_host.answer_all())
    await _main(self)


app.App.main = _probed_main
app.run(board.detect())
