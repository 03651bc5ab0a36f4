"""What the firmware needs of the heap of a chip, as a test in exactly that heap: frozen into a 32-bit MicroPython, as
in our images, where modules lie in flash and objects have the size that they have on a chip.

At rest with the services that are on by default (http, modbus, finder, ntp), 76 KiB in use. In 110 KiB: ten meters,
ten Modbus clients, a browser and a save. In 152 KiB: 32 of the largest meters, ten clients, two browsers and a save.
With MQTT, its history and Home Assistant beside them: 96 KiB at rest, and in 136 KiB what else takes 110. Nothing is
lost meanwhile, nothing refused.
"""

import contextlib

import pytest

from host_tests.mosquitto import Listener, Mosquitto, history_of, history_points
from host_tests.system.backlog import Backlog
from host_tests.system.page_reader import PageReader
from host_tests.system.rig import (
    HOST,
    METERS,
    MOST_POINTS,
    MOST_REGISTERS,
    WATCHED_MAIN,
    Poller,
    Rig,
    configured,
    heaps,
    wait_for,
    words,
)
from tools import gateway
from tools.device_api import Device

AT_REST_BYTES = 76 * 1024
MQTT_AT_REST_BYTES = 96 * 1024
REST_S = 20  # longer than an HTTP connection may be idle
PASSWORD = "correct horse"
CLIENTS = 10
# BACnet is off, and posting gives its slot back: ten clients and two browsers have twelve.
SERVICES = {"bacnet": {"enabled": False}, "posting": {"enabled": False}}


# At rest


def test_the_heap_at_rest_with_three_meters_is_within_its_bound(tmp_path):
    argv = [gateway.find_frozen(print), "-X", "heapsize=96K", WATCHED_MAIN]
    with Rig(tmp_path, argv=argv, env={"MICROPYPATH": ".frozen"}) as rig:
        rig.wait_polled()
        wait_for(lambda: any("no time from" in line for line in rig.gateway.lines), 30, "the end of the first question")
        before = len(heaps(rig))
        wait_for(lambda: len(heaps(rig)) >= before + 2 * REST_S, 3 * REST_S, "measurements of the heap")
        at_rest = heaps(rig)[-2 * REST_S // 4 :]
        print(f"heap at rest: {min(at_rest)}..{max(at_rest)} bytes in use, at most {max(heaps(rig))} before")
        assert max(at_rest) <= AT_REST_BYTES


@contextlib.contextmanager
def mqtt_rig(folder, count, services=None, **options):
    """A gateway with MQTT, its history and Home Assistant on, with `count` records that wait until its clock is set;
    its configuration has a password. Gives the Rig, what the broker was sent (Listener), and the Backlog."""
    backlog = Backlog(folder, count)
    with Mosquitto(folder / "mosquitto") as broker, Listener(broker) as listener:
        mqtt = {"enabled": True, "host": HOST, "port": broker.port, "history": True, "homeassistant": True,
                "interval_s": 5}  # fmt: skip
        config = {"mqtt": mqtt, "history": {"flash": True}, **(services or {})}
        with Rig(folder, config=config, **options) as rig:
            wait_for(lambda: rig.status()["mqtt"]["state"] == "connected" and listener.seen, 60, "a connection")
            yield rig, listener, backlog


def test_the_heap_at_rest_with_mqtt_is_within_its_bound(tmp_path):
    argv = [gateway.find_frozen(print), "-X", "heapsize=128K", WATCHED_MAIN]
    with mqtt_rig(tmp_path, 100, argv=argv, env={"MICROPYPATH": ".frozen"}) as (rig, listener, backlog):
        with Device(HOST, rig.http_port) as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            device.post("/api/time", {"unix_s": backlog.end_s + 20})
        wait_for(lambda: rig.status()["mqtt"]["waiting"] == 0, 60, "the end of the backlog")
        rig.wait_polled()
        before = len(heaps(rig))
        wait_for(lambda: len(heaps(rig)) >= before + 2 * REST_S, 3 * REST_S, "measurements of the heap")
        at_rest = heaps(rig)[-2 * REST_S // 4 :]
        print(f"heap at rest: {min(at_rest)}..{max(at_rest)} bytes in use, at most {max(heaps(rig))} before")
        assert max(at_rest) <= MQTT_AT_REST_BYTES
        assert rig.status()["mqtt"]["connections"] == 1


# At work


@contextlib.contextmanager
def clients(rig):
    """Ten Modbus clients that poll all blocks of all meters, each some of them; check() says that no poll was lost."""
    reads = [
        (meter.unit, *block, words(meter.registers(*block)))
        for meter in rig.line.meters
        for block in meter.profile.blocks(meter.profile.gap)
    ]
    with contextlib.ExitStack() as stack:
        pollers = [stack.enter_context(Poller(rig.modbus_port, reads[k::CLIENTS], 0.02)) for k in range(CLIENTS)]

        def check():
            for poller in pollers:
                poller.check(2 * len(reads) // CLIENTS, 60)

        yield check
        check()


def assert_room(rig, count, browsers, begin=lambda device: None, meanwhile=lambda: None):
    """Ten clients, browsers and a save of the configuration, and that it is there after a restart. begin(device) is
    called before them, meanwhile() beside them."""
    with Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)
        device.login(PASSWORD)
        cookie = device.cookie
        config = device.config()
        assert len(config["meters"]) == count
        begin(device)
    with clients(rig) as check, contextlib.ExitStack() as stack:
        looking = [stack.enter_context(PageReader(rig, cookie)) for _ in range(browsers)]
        check()
        for browser in looking:
            browser.check()
        config["meters"][1]["name"] = "another name"
        config["meters"][-1]["unit"] = 200
        with Device(HOST, rig.http_port) as device:
            device.cookie = cookie
            assert device.save(config) == ["configuration"]
        meanwhile()
        for browser in looking:
            browser.check()
        check()
    with Device(HOST, rig.http_port) as device:
        device.cookie = cookie
        assert device.config() == config
        status = device.get("/api/status")
        assert {meter["state"] for meter in status["meters"]} == {"online"}
        assert status["task_restarts"] == 0
        assert rig.event_count("modbus connection closed") == 0
        device.reboot()
        status = device.get("/api/status")
    assert status["config"] == {"source": "file", "errors": []}
    assert [meter["name"] for meter in status["meters"]] == [meter["name"] for meter in config["meters"]]
    assert [meter["unit"] for meter in status["meters"]] == [meter["unit"] for meter in config["meters"]]


@pytest.mark.parametrize(
    ("kind", "count", "browsers", "heap"),
    [
        ("eastron-sdm630", 10, 1, "110K"),
        (MOST_REGISTERS, 32, 2, "152K"),
        (MOST_POINTS, 32, 2, "152K"),
    ],
    ids=["ten meters in 110K", "32 with the most registers in 152K", "32 with the most points in 152K"],
)
def test_clients_browsers_and_a_save_have_room(tmp_path, kind, count, browsers, heap):
    with Rig(tmp_path, meters=configured(kind, count), config=SERVICES, frozen=True, heap=heap) as rig:
        assert_room(rig, count, browsers)


def test_mqtt_with_a_backlog_has_room_beside_ten_clients_a_browser_and_a_save(tmp_path):
    """Of ten meters, of three of which there is a backlog: it is sent while all others are there."""
    meters = [*METERS, *configured("eastron-sdm630", 10)[len(METERS) :]]
    services = {**SERVICES, "ntp": {"enabled": False}}  # whose slot is MQTT's; the time is set
    with mqtt_rig(tmp_path, 1000, services, meters=meters, frozen=True, heap="136K") as (rig, listener, backlog):

        def begin(device):
            device.post("/api/time", {"unix_s": backlog.end_s + 20})

        def heard():
            return sum(payload.count("\n") for topic, payload, _ in list(listener.all) if topic.endswith("/history"))

        def arrives():
            wait_for(lambda: heard() >= len(METERS) * len(backlog.values), 120, "the backlog")

        assert_room(rig, 10, 1, begin, arrives)
        found, _ = history_of([listener])
        for i in (0, 1):
            assert history_points(found, i) == backlog.points(i)
