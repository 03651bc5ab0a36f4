"""The link of a board (firmware.board.esp32, rp2) and firmware.net.link on simulated access points, in virtual time."""

import asyncio
import random
import tempfile

from host_tests.unit import fake_ports
from host_tests.unit.fakes import Log, defaults
from host_tests.unit.the_schema import SCHEMA
from tools.simulator import loop, patch, radio, timeline

DAY_S = 86400


class RadioBench:
    """`air` has the access points; `station` is what network.WLAN gives; `cable` what network.LAN or WIZNET5K gives."""

    def __init__(self, monkeypatch, machine_name, **config):
        self.port = fake_ports.install(monkeypatch, machine_name)
        self.timeline = timeline.Timeline()
        self.air = radio.Air(self.timeline)
        self.station = (radio.Cyw43Station if self.port.is_rp2 else radio.Esp32Station)(self.air)
        self.cable = radio.Wire(self.timeline)
        self.port.wifi, self.port.wired = self.station, self.cable
        self.log = Log(lambda: int(self.now_s))
        self.closed_at_s = []
        self.looks = 0
        self.seen_up = 0
        self.link = self.port.board.Board().open_link(defaults(SCHEMA["network"]) | config)

    @property
    def now_s(self):
        return self.timeline.now_s

    def at(self, seconds, call, *arguments):
        self.timeline.at(self.timeline.start_us + int(1e6 * seconds), call, *arguments)

    def run(self, seconds):
        """Keeps the link up for so long; counts at each second whether it is."""
        selector = loop.FakeSelector(self.timeline, random.Random(1))
        virtual = loop.VirtualLoop(selector, lambda: None)
        with (
            tempfile.TemporaryDirectory() as folder,
            patch.patched(self.timeline, None, random.Random(1), folder, patch.Console()),
        ):
            asyncio.set_event_loop(virtual)
            try:
                virtual.run_until_complete(self._main(self.now_s + seconds))
            finally:
                asyncio.set_event_loop(None)
                virtual.close()

    async def _main(self, end_s):
        from firmware.net import link

        close = lambda: self.closed_at_s.append(self.now_s)  # noqa: E731
        task = asyncio.get_running_loop().create_task(link.keep_up(self.link, self.log, close))
        while self.now_s < end_s and not task.done():
            await asyncio.sleep(1)
            self.looks += 1
            self.seen_up += self.link.up()
        assert not task.done(), "keep_up runs for ever"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
