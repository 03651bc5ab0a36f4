"""Putting a bus into service, on real MicroPython: the search for meters, routes, broadcasts, and what the API says."""

import http.client
import json
import struct

from host_tests.system.rig import ANSWER_S, HOST, METERS, wait_for, words

SCAN_S = 60


def command(rig, method, path, headers=None):
    """(status, document)."""
    connection = http.client.HTTPConnection(HOST, rig.http_port, timeout=ANSWER_S)
    try:
        connection.request(method, path, headers={"X-Meterport": "1"} if headers is None else headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_scan_finds_every_meter_and_says_what_it_is_and_polling_goes_on(make_rig):
    rig = make_rig(config={"http": {"commissioning": True}})
    rig.wait_polled()
    status, document = command(rig, "POST", "/api/scan?first=1&last=5&timeout_ms=300")
    assert status == 200
    assert (document["running"], document["total"]) == (True, 5)
    assert command(rig, "POST", "/api/scan")[0] == 409
    with rig.client() as client:
        assert client.exception(2, struct.pack(">BHH", 3, 0x51D, 1)) == 6, "the bus is taken"

    def found():
        document = rig.get("/api/scan")
        return None if document["running"] else document["found"]

    rows = wait_for(found, SCAN_S, "the end of the scan")
    assert [(row["unit"], row["baud"], row["framing"]) for row in rows] == [(k, 115200, "8N1") for k in (1, 2, 3)]
    for row, meter in zip(rows, METERS, strict=True):
        assert meter["profile"] in row["profiles"]
    rig.wait_polled()
    with rig.client() as client:
        assert client.read(2, 3, 0x51D, 1) == words(rig.meter(2).registers(3, 0x51D, 1))


def test_a_scan_can_be_stopped(make_rig):
    rig = make_rig(config={"http": {"commissioning": True}}, meters=())
    assert command(rig, "POST", "/api/scan?baud=9600,19200,115200")[0] == 200
    wait_for(lambda: rig.get("/api/scan")["done"] > 1, ANSWER_S, "some questions")
    assert command(rig, "DELETE", "/api/scan")[0] == 200
    document = wait_for(lambda: not rig.get("/api/scan")["running"] and rig.get("/api/scan"), ANSWER_S, "the end")
    assert 1 < document["done"] < 100 < document["total"]


def test_a_scan_is_started_by_nobody_whom_the_configuration_does_not_allow(make_rig):
    rig = make_rig()
    assert command(rig, "POST", "/api/scan")[0] == 403
    assert rig.get("/api/scan") == {"running": False, "done": 0, "total": 0, "error": None, "found": []}


def test_routes_lead_to_other_addresses_and_closed_ones_nowhere(make_rig):
    routes = [{"unit": 100, "address": 3}, {"unit": 1, "closed": True}]
    rig = make_rig(config={"routes": routes})
    rig.wait_polled()
    with rig.client() as client:
        polled = words(rig.meter(3).registers(4, 0, 10))
        assert client.read(100, 4, 0, 10) == client.read(3, 4, 0, 10) == polled
        assert client.exception(1, struct.pack(">BHH", 4, 0, 2)) == 0x0A


def test_a_broadcast_reaches_the_line_and_is_echoed_at_once(make_rig):
    rig = make_rig(config={
        "modbus": {"allow_writes": True, "writers": [HOST]},
        "buses": [{"uart": "bus0", "baud": 115200, "broadcast": True, "turnaround_ms": 50}],
    })  # fmt: skip
    rig.wait_polled()
    write = struct.pack(">BHH", 6, 0x1234, 7)
    with rig.client() as client:
        assert client.request(0, write) == write
        wait_for(lambda: rig.line.broadcasts == 1, ANSWER_S, "the broadcast on the line")
        assert client.read(255, 3, 0, 1) == b"MP"
    assert rig.get("/api/bus")["buses"][0]["timeouts"] == 0


def test_the_api_says_what_the_bus_and_its_meters_are_like(make_rig):
    absent = {"slot": 9, "name": "absent", "unit": 77, "profile": "pzem-004t-v3", "timeout_ms": 50, "retries": 0}
    rig = make_rig(meters=[*METERS, absent], virtual=None)
    rig.line.meter(77).silent = True
    wait_for(lambda: rig.state_of(77) == "quarantined", 20, "quarantine")
    document = rig.get("/api/bus")
    (bus,) = document["buses"]
    assert bus["timeouts"] >= 3
    assert bus["answer_ms"]["min"] <= bus["answer_ms"]["mean"] <= bus["answer_ms"]["max"]
    by_unit = {meter["unit"]: meter for meter in document["meters"]}
    assert by_unit[77]["reason"] == "silent"
    assert by_unit[77]["answer_ms"] is None
    for meter in METERS:
        told = by_unit[meter["unit"]]
        assert (told["state"], told["reason"], told["interval_ms"]) == ("online", "", 1000)
        assert all(function in (3, 4) and 1 <= count <= 125 for function, _, count in told["plan"])
    wait_for(lambda: rig.get("/api/bus")["meters"][0]["kept_ms"], 20, "an interval that was measured")
    assert 500 < rig.get("/api/bus")["meters"][0]["kept_ms"] < 2000
