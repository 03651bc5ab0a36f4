"""The whole gateway on the emulated chip: what a client sees through real lwIP, and who is evicted there."""

import re
import struct
import subprocess

import pytest
from pymodbus.client import ModbusTcpClient

from host_tests.system.rig import HOST, METERS, wait_for, words
from tools import debian, profiles

READ = (3, 4, 0, 10)  # of the PZEM: polled, so it is answered from memory
GENERAL = 10  # connections: 16 sockets less page, Modbus, finder, multicast DNS, NTP and posting
CLOSED_S = 60  # until an end that the chip has sent has come over the line and through libslirp


def expected(chip, unit, function, address, count):
    return words(chip.meters[unit].registers(function, address, count))


def check(chip, client):
    assert client.read(*READ) == expected(chip, *READ)


def serve_and_name_the_evicted(chip, connect, clients):
    """A newcomer is served; the numbers of those that are closed then."""
    check(chip, connect(chip))
    return wait_for(
        lambda: [k for k, client in enumerate(clients) if not client.is_open()], CLOSED_S, "a connection that is closed"
    )


def test_the_firmware_boots_and_says_what_it_runs_on(chip):
    status = chip.get("/api/status")
    assert status["board"] == "emulated_pico"
    assert status["task_restarts"] == 0
    assert status["config"] == {"source": "file", "errors": []}
    assert chip.get("/api/sockets")["general"] == GENERAL
    assert "up: 10.0.2.15" in [event["text"] for event in status["events"] if event["source"] == "link"]


@pytest.mark.parametrize("meter", METERS, ids=lambda meter: meter["profile"])
def test_every_point_is_read_as_the_meter_has_it(chip, meter):
    unit = meter["unit"]
    with chip.client() as client:
        for point in profiles.load(meter["profile"]).points:
            read = (unit, point.function, point.address, point.size)
            assert client.read(*read) == expected(chip, *read), point.name


def test_what_is_not_polled_is_read_through_to_the_meter(chip):
    with chip.client() as client:
        assert client.read(2, 3, 0x51D, 1) == expected(chip, 2, 3, 0x51D, 1)
    assert struct.pack(">BHH", 3, 0x51D, 1) in chip.meters[2].seen


def test_a_meter_that_is_not_there_is_no_answer_and_no_route(chip):
    with chip.client() as client:
        assert client.exception(77, struct.pack(">BHH", 3, 0, 1)) in (0x0A, 0x0B)
        check(chip, client)


@pytest.mark.parametrize(("unit", "function", "first", "count"), [(1, 4, 0, 36), (2, 3, 0x200, 40), (3, 4, 0, 10)])
def test_mbpoll_reads_through_real_lwip_what_the_meters_have(chip, unit, function, first, count):
    command = [
        debian.ensure_packages({"mbpoll": "mbpoll"})["mbpoll"], "-m", "tcp", "-p", str(chip.emulator.ports["modbus"]),
        "-a", str(unit), "-0", "-1", "-o", "10", "-t", {3: "4:hex", 4: "3:hex"}[function], "-r", str(first),
        "-c", str(count), HOST,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    got = {int(address): int(text, 16) for address, text in re.findall(r"^\[(\d+)\]:\s+(\w+)", done.stdout, re.M)}
    assert got == dict(enumerate(chip.meters[unit].registers(function, first, count), first))


def test_pymodbus_reads_and_asks_who_it_is_through_real_lwip(chip):
    client = ModbusTcpClient(HOST, port=chip.emulator.ports["modbus"], timeout=15, retries=0)
    try:
        assert client.connect()
        for unit, first, count in ((1, 0, 36), (3, 0, 10)):
            answer = client.read_input_registers(first, count=count, device_id=unit)
            assert answer.registers == chip.meters[unit].registers(4, first, count)
        answer = client.read_holding_registers(0x200, count=40, device_id=2)
        assert answer.registers == chip.meters[2].registers(3, 0x200, 40)
        assert client.read_device_information(read_code=1, object_id=0, device_id=255).information[0] == b"meterport"
    finally:
        client.close()


def test_the_page_and_the_readings_come_whole(chip):
    status, page = chip.fetch("/")
    assert status == 200
    assert page.rstrip().endswith(b"</html>")
    for meter in chip.get("/api/readings")["meters"]:
        wanted = chip.meters[meter["unit"]].expected_all()
        assert {point["id"] & 0xFF for point in meter["points"]} == set(wanted)


def test_one_client_too_many_evicts_exactly_the_least_recently_used(chip, connect):
    clients = []
    for _ in range(GENERAL):
        clients.append(connect(chip))
        check(chip, clients[-1])
    for k in (7, 2, 9, 0, 5, 1, 8, 6, 4):  # everybody but number 3, who was not the first to come
        check(chip, clients[k])
    assert all(client.is_open() for client in clients)
    assert serve_and_name_the_evicted(chip, connect, clients) == [3]
    for k in (0, 1, 2, 4, 5, 6, 7, 8, 9):
        check(chip, clients[k])


def test_thirty_newcomers_are_all_served_when_the_evicted_hang_up(chip, connect):
    clients = []
    for _ in range(30):
        clients.append(connect(chip))
        check(chip, clients[-1])
        if len(clients) > GENERAL:  # until the evicted one closes too, lwIP keeps its connection in FIN_WAIT_2
            wait_for(lambda: not clients[0].is_open(), CLOSED_S, "the end of the oldest connection")
            clients.pop(0).close()
    assert chip.get("/api/status")["task_restarts"] == 0


def test_a_stock_build_says_what_it_holds_and_evicts_the_least_recently_used_beyond(make_chip, connect):
    chip = make_chip(tcp_pcbs=5)
    ledger = chip.get("/api/sockets")
    general = ledger["general"]
    assert 1 <= general < 5
    chip.wait_polled()
    chip.wait_alone()
    clients = []
    for _ in range(general):
        clients.append(connect(chip))
        check(chip, clients[-1])
    check(chip, clients[0])
    assert serve_and_name_the_evicted(chip, connect, clients) == [1 % general]
