"""The page of the emulated chip in a real browser: Debian's Chromium, run by its command line, off line but for us; and
how long the chip takes until it could show the first value.
"""

import contextlib
import os
import re
import subprocess

import pytest

from host_tests.browser.visit import FIRST_REQUESTS
from host_tests.system.rig import HOST, Poller, configured, words
from tools import debian
from tools.bench import questions, servers, stages
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated
from tools.emulator.variant import Variant
from tools.virtual_meters import VirtualMeter

PAGE_S = 240
FROZEN = Variant(frozen=True)
ONLINE_S = 240
ONCE = {"interval_s": 3600, "max_age_s": 3600}
FIRST_VALUE_MS = 1800  # over PPP at 460,800 baud, which takes most of it
BUDGET_MS = 3000  # of the browser's own time: it stands while an answer is awaited
READS = ((3, 4, 0, 10), (1, 4, 0, 6))  # polled, so they are answered from memory
POLLERS = 4
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
    "--enable-logging=stderr",
    "--v=0",
    f"--virtual-time-budget={BUDGET_MS}",
    "--dump-dom",
)
CONSOLE = re.compile(r"CONSOLE[:(].*")  # [...:INFO:CONSOLE:12] "text", source: http://... (12)
SECTION = re.compile(r'<section class="meter"><h2>(.*?) <span.*?>(.*?)</span></h2>(.*?)</section>')
ROW = re.compile(r'<tr[^>]*><th [^>]*scope="row"[^>]*>[^<]*<span class="dim">([^<]*)</span></th>(.*?)</tr>')
# The first span, where there is one, says that it is a mean of the phases.
CELL = re.compile(r'data-point="(\d+)"[^>]*>(?:<span class="dim"[^>]*>[^<]*</span>)?<span class="value">([^<]*)</span>')
LINE = re.compile(r'<tr [^>]*data-slot="(\d+)"[^>]*>')
KILO = {"kWh": "Wh", "kvarh": "varh", "kVAh": "VAh"}


class Visit:
    """What Chromium made of a page: `dom` as HTML, `console` its messages."""

    def __init__(self, folder, url):
        browser = debian.ensure_packages({"chromium": "chromium"})["chromium"]
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which Chromium cannot have as root
        done = subprocess.run(
            [browser, *FLAGS, *sandbox, f"--user-data-dir={folder}", url],
            capture_output=True,
            text=True,
            timeout=PAGE_S,
            check=True,
        )
        self.dom = done.stdout
        self.console = CONSOLE.findall(done.stderr)

    def readings(self):
        """{point's id: (value, unit)} of a meter's view, in the units of the API."""
        ((_, state, table),) = SECTION.findall(self.dom)
        assert state == "online"
        found = {}
        for unit, cells in ROW.findall(table):
            factor = 1000 if unit in KILO else 1
            found |= {int(number): (factor * float(text), KILO.get(unit, unit)) for number, text in CELL.findall(cells)}
        return found


def served(chip, slot):
    """The same from the API."""
    (meter,) = chip.get(f"/api/readings?meter={slot}")["meters"]
    return {point["id"]: (point["value"], point["unit"]) for point in meter["points"]}


def visited(chip, folder, path):
    """The Visit of a page while pollers read, who lose nothing."""
    reads = [(*read, words(chip.meters[read[0]].registers(*read[1:]))) for read in READS]
    with contextlib.ExitStack() as stack:
        port = chip.emulator.ports["modbus"]
        pollers = [stack.enter_context(Poller(port, reads, pause_s=0.5)) for _ in range(POLLERS)]
        visit = Visit(folder, f"http://{HOST}:{chip.emulator.ports['http']}/#/{path}")
        for poller in pollers:
            poller.check(timeout=PAGE_S)
    assert visit.console == []
    assert '<span id="link" role="status"></span>' in visit.dom  # where the page would say that it has no data
    assert '<div id="problems" role="region" aria-label="Notices"></div>' in visit.dom
    return visit


def test_chromium_shows_the_readings_of_a_meter_and_pollers_beside_it_lose_nothing(chip, tmp_path):
    shown = visited(chip, tmp_path, "status/0").readings()
    wanted = served(chip, 0)
    assert set(shown) == set(wanted)
    for number, (value, unit) in wanted.items():
        assert shown[number] == (pytest.approx(value, rel=0.01, abs=0.01), unit), number


def test_chromium_shows_a_line_for_each_meter(chip, tmp_path):
    visit = visited(chip, tmp_path, "status")
    slots = [meter["slot"] for meter in chip.get("/api/readings?points=16")["meters"]]
    assert sorted(int(slot) for slot in LINE.findall(visit.dom)) == slots
    assert "sum of 3 meters" in visit.dom


def test_the_first_value_of_32_meters_is_there_in_time():
    """By the chip's own clock, the same on every machine: from the first bit of a request to the last of an answer."""
    over = {"meters": [meter | ONCE for meter in configured("eastron-sdm630", 32)]}
    meters = [VirtualMeter(unit, "eastron-sdm630", clock=lambda: 0.0) for unit in range(1, 33)]
    files = emulated.device_files(emulate.configuration(over), frozen=True)
    product = build.ensure_firmware(FROZEN)
    bench = stages.Bench(product, product, 1, print)
    server = servers.Server(servers.GATEWAY, files, meters, "link: up", frozen=True)
    blocks = len(meters[0].profile.blocks(meters[0].profile.gap))
    with bench.booted(server) as chip:
        chip.wait(lambda: len(chip.line.transactions) >= len(meters) * blocks, ONLINE_S * 1e9, "all meters")
        chip.run(1e9)
        browser = chip.connect(stages.HTTP)
        for path in FIRST_REQUESTS:
            question = questions.get(path, True, lambda body: None)
            bench.measure(chip, server.name, path, stages.asker(chip, browser, question), 1)
    for row in bench.rows:
        times = f"{row.latency_us / 1000:.0f} ms, {row.wire_us / 1000:.0f} of them on the wire"
        print(f"{row.what}: {row.cycles / 1000:.0f} kcycles, {times}")
    assert sum(row.latency_us for row in bench.rows) / 1000 <= FIRST_VALUE_MS


def test_an_error_of_a_script_would_be_seen(tmp_path):
    visit = Visit(tmp_path, "data:text/html,<script>throw new Error('on purpose')</script>")
    assert any("on purpose" in message for message in visit.console)
