"""The heap of the chip with the firmware within the image: at work with ten meters, and what each document of the page
costs with 32 of the largest. `pytest -s` shows the figures."""

import contextlib

import pytest

from host_tests.emulated.peers import ReconnectingPoller
from host_tests.system.rig import HOST, MOST_REGISTERS, configured, words
from tools.bench import questions, servers, stages
from tools.device_api import Device
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated
from tools.emulator.variant import Variant
from tools.virtual_meters import VirtualMeter

pytestmark = pytest.mark.timeout(1200)

FROZEN = Variant(frozen=True)
PASSWORD = "correct horse"
ANSWER_S = 60
CLIENTS = 4  # each more makes the emulator slower, and the chip has room for ten as test_lwip.py shows
ONLINE_S = 240
SLOW = {"interval_s": 10, "max_age_s": 600}
ONCE = {"interval_s": 3600, "max_age_s": 3600}
# What anybody may see, as a browser asks for it.
DOCUMENTS = ("/", "/api/session", "/api/status", "/api/readings", "/api/bus", "/api/sockets", "/api/history")
PPP_BYTES = 24_000 + 4_096  # of the emulator's line to the network (firmware/board/emulated_pico.py)
MOST_BYTES = 125 * 1024 + PPP_BYTES  # in use after a collection, of 188,000


def test_ten_meters_clients_pages_and_a_save_on_the_chip(make_chip):
    meters = [meter | SLOW for meter in configured("eastron-sdm630", 10)]
    chip = make_chip(FROZEN, {"meters": meters})
    chip.wait_polled()
    reads = [
        (unit, *block, words(meter.registers(*block)))
        for unit, meter in chip.meters.items()
        for block in meter.profile.blocks(meter.profile.gap)
    ]
    pollers = [ReconnectingPoller(chip.emulator.ports["modbus"], 1000 * k, reads[k::CLIENTS]) for k in range(CLIENTS)]
    used = []
    with contextlib.ExitStack() as stack:
        for poller in pollers:
            stack.enter_context(poller)
        with Device(HOST, timeout=ANSWER_S, connect=lambda: chip.connect("http", ANSWER_S)) as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            for path in (*DOCUMENTS, "/api/schema", "/api/profiles", "/api/config"):
                status, _, body = device.request("GET", path)
                assert status == 200, f"{path}: {body!r}"
                used.append(device.get("/api/status")["heap"]["used"])
            config = device.config()
            config["meters"][-1]["name"] = "saved"
            assert device.save(config) == ["configuration"]
            assert device.config() == config
            status = device.get("/api/status")
    print(f"heap in use, garbage among it: {min(used)}..{max(used)} bytes")
    assert [poller.error for poller in pollers] == [None] * CLIENTS
    assert all(poller.answers for poller in pollers)
    assert status["task_restarts"] == 0
    assert {meter["state"] for meter in status["meters"]} == {"online"}


def test_what_a_get_of_each_document_costs_with_32_meters():
    over = {"meters": [meter | ONCE for meter in configured(MOST_REGISTERS, 32)]}
    meters = [VirtualMeter(unit, MOST_REGISTERS, clock=lambda: 0.0) for unit in range(1, 33)]
    files = emulated.device_files(emulate.configuration(over), frozen=True)
    product = build.ensure_firmware(FROZEN)
    bench = stages.Bench(product, product, 1, print)
    server = servers.Server(servers.GATEWAY, files, meters, "link: up", frozen=True)
    blocks = len(meters[0].profile.blocks(meters[0].profile.gap))
    with bench.booted(server) as chip:
        started = chip.sweeps[-1].after
        chip.wait(lambda: len(chip.line.transactions) >= len(meters) * blocks, ONLINE_S * 1e9, "all meters")
        chip.run(1e9)
        browser = chip.connect(stages.HTTP)
        asked = [questions.get(path, True, lambda body: None) for path in DOCUMENTS]
        for path, question in zip(DOCUMENTS, asked, strict=True):
            bench.measure(chip, server.name, f"GET {path}", stages.asker(chip, browser, question), 2)
        modbus = questions.read(*_first_block(meters[0]))
        clients = [(chip.connect(stages.MODBUS), (modbus,)) for _ in range(stages.CLIENTS - 1)]
        bench.heap_under(chip, server.name, started, [*clients, (browser, tuple(asked))])
    for row in bench.rows:
        print(f"{row.what}: {row.cycles / 1000:.0f} kcycles, {row.heap_bytes:.0f} bytes of heap")
    (heap,) = bench.heaps
    print(f"heap of {heap.total}: {heap.started} in use after the start, at most {heap.busiest} after a collection")
    assert heap.busiest <= MOST_BYTES


def _first_block(meter):
    function, first, count = meter.profile.blocks(meter.profile.gap)[0]
    return meter.unit, function, first, meter.registers(function, first, count)
