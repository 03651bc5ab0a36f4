"""What the application does when memory is short: whoever polls goes before browsers, and a task that died is started
again whatever became of it."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from firmware.app import App
from firmware.net import seam


class Gateway:
    """As much of an App as relieve() and the supervisor use."""

    relieve = App.relieve
    _keep_running = App._keep_running

    def __init__(self, events, shed):
        self.events = events
        self.http = SimpleNamespace(drop=shed)
        self.restarts = 0
        self.spared = 0

    def spare(self):
        self.spared += 1


def short():
    raise MemoryError


@pytest.mark.parametrize(("shed", "told"), [(lambda: True, 1), (lambda: False, 0)])
def test_the_web_server_makes_room_and_says_so(events, shed, told):
    gateway = Gateway(events, shed)
    gateway.relieve()
    assert gateway.spared == 1
    assert sum("closed for some seconds" in text for text in events.texts()) == told


def test_relief_that_runs_short_itself_raises_nothing(events):
    Gateway(events, short).relieve()


def test_a_task_without_memory_is_started_again(events, monkeypatch):
    runs = []

    async def run():
        runs.append(1)
        if len(runs) < 3:
            raise MemoryError
        await asyncio.Event().wait()

    async def test():
        gateway = Gateway(events, short)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await gateway._keep_running("bus 0", run)
        return gateway

    async def at_once(ms):
        await asyncio.sleep(0)

    monkeypatch.setattr(seam, "sleep_ms", at_once)
    gateway = asyncio.run(test())
    assert (len(runs), gateway.restarts) == (3, 2)
    assert any("bus 0" in source and "no memory" in text for _, source, text, _ in events.lines())
