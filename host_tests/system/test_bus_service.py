"""Putting a bus into service, on real MicroPython: the search for meters, routes, broadcasts, and what the API says."""

import contextlib
import http.client
import json
import math
import struct
import time

from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusIOException

from host_tests.system.rig import ANSWER_S, HOST, METERS, wait_for, words
from tools import gateway
from tools.virtual_meters import ModbusException, VirtualMeter

SCAN_S = 60
WAIT_S = 20


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
    wait_for(lambda: rig.get("/api/scan")["done"] > 1, WAIT_S, "some questions")
    assert command(rig, "DELETE", "/api/scan")[0] == 200
    document = wait_for(lambda: not rig.get("/api/scan")["running"] and rig.get("/api/scan"), WAIT_S, "the end")
    assert 1 < document["done"] < 100 < document["total"]


def test_a_scan_needs_a_session_or_commissioning(make_rig):
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
        wait_for(lambda: rig.line.broadcasts == 1, WAIT_S, "the broadcast on the line")
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
    # Another one where this machine was busy with other things.
    wait_for(lambda: 500 < (rig.get("/api/bus")["meters"][0]["kept_ms"] or 0) < 2000, 60, "an interval that is kept")


class Lacking(VirtualMeter):
    """A meter without some of the registers of its profile, and that gives at most `most` at once."""

    def __init__(self, unit, profile, missing=(), most=125):
        super().__init__(unit, profile)
        self.missing = set(missing)
        self.most = most

    def registers(self, function, address, count, t=None):
        if self.missing & set(range(address, address + count)):
            raise ModbusException(2)
        if count > self.most:
            raise ModbusException(3)
        return super().registers(function, address, count, t)


def qualities(rig, unit):
    return {point["name"]: point["quality"] for point in rig.points(unit).values()}


def test_a_meter_that_refuses_registers_has_all_its_other_values(make_rig):
    virtual = [
        Lacking(1, "eastron-sdm630", missing=range(0x38, 0x3A)), Lacking(2, "elkor-wattson-mk2", most=20),
        VirtualMeter(3, "pzem-004t-v3"),
    ]  # fmt: skip
    rig = make_rig(virtual=virtual)

    def is_learnt():
        bad = [name for unit in (1, 2) for name, quality in qualities(rig, unit).items() if quality != "good"]
        return bad == ["apparent_power"]

    wait_for(is_learnt, 20, "every value that these meters have")
    assert qualities(rig, 1)["apparent_power"] == "no_value"
    by_unit = {meter["unit"]: meter for meter in rig.get("/api/bus")["meters"]}
    assert by_unit[1]["state"] == by_unit[2]["state"] == "online"
    assert by_unit[1]["reason"] == "refuses registers 56 to 57 of function 4"
    assert by_unit[1]["refused"] == [[4, 56, 2, 2]]
    assert by_unit[2]["reason"] == ""
    assert by_unit[2]["refused"] == []
    assert all(count <= 20 for _, _, count in by_unit[2]["plan"])
    assert rig.event_count("refuses") == 1
    with rig.client() as client:
        assert client.read(1, 4, 0x34, 2) == words(rig.meter(1).registers(4, 0x34, 2))
        assert client.exception(1, struct.pack(">BHH", 4, 0x38, 2)) == 2, "a client's read is passed on as ever"


def rtu_client(port):
    return ModbusTcpClient(HOST, port=port, framer=FramerType.RTU, timeout=ANSWER_S, retries=0)


def test_rtu_over_tcp_is_served_at_a_port_of_its_own_to_a_foreign_client(make_rig):
    (port,) = gateway.free_ports(1)
    rig = make_rig(config={"modbus": {"rtu_over_tcp": port}})
    rig.wait_polled()
    with rig.client() as other, rtu_client(port) as client:
        for unit, function, first, count in ((1, 4, 0, 20), (3, 4, 0, 10), (2, 3, 0x51D, 1)):
            read = client.read_input_registers if function == 4 else client.read_holding_registers
            for _ in range(3):
                reply = read(first, count=count, device_id=unit)
                assert reply.registers == rig.meter(unit).registers(function, first, count)
                assert words(reply.registers) == other.read(unit, function, first, count)
        assert client.read_holding_registers(0, count=1, device_id=255).registers == [0x4D50]
        assert client.read_holding_registers(0, count=1, device_id=250).exception_code == 0x0A
        assert client.write_register(0, 1, device_id=1).exception_code == 1
    slots = rig.sockets()["slots"]
    assert [slot["kind"] for slot in slots if slot["role"] == "service"].count("modbus") == 2
    assert rig.sockets()["general"] == 16 - 6


def test_rtu_frames_at_the_port_of_modbus_tcp_are_named_in_log_and_advice(make_rig):
    rig = make_rig()
    with rtu_client(rig.modbus_port) as client, contextlib.suppress(ModbusIOException, ConnectionException):
        assert client.read_input_registers(0, count=2, device_id=1).isError()
    rig.wait_event(f"{HOST} sends RTU frames: set it to Modbus TCP, or see modbus.rtu_over_tcp")
    assert rig.status()["modbus"]["rtu_frames"] == 1
    assert any("modbus.rtu_over_tcp" in text for text in rig.sockets()["advice"])
    with rig.client() as client:
        assert client.read(255, 3, 134, 2) == words([0, 1])


def test_a_reserved_address_is_reached_by_a_route(make_rig):
    rig = make_rig(config={"routes": [{"unit": 248}]}, virtual=[VirtualMeter(248, "pzem-004t-v3")], meters=())
    with rig.client() as client:
        assert client.read(248, 4, 0, 10) == words(rig.meter(248).registers(4, 0, 10))
        assert client.exception(249, struct.pack(">BHH", 4, 0, 10)) == 0x0A


def test_no_meter_is_online_while_the_serial_device_is_gone(make_rig):
    rig = make_rig()
    rig.wait_polled()
    rig.line.stop()
    wait_for(lambda: {rig.state_of(unit) for unit in (1, 2, 3)} == {"failing"}, WAIT_S, "the states to follow")
    assert {meter["reason"] for meter in rig.get("/api/readings")["meters"]} == {"serial line gone"}
    rig.line.start()
    wait_for(lambda: {rig.state_of(unit) for unit in (1, 2, 3)} == {"online"}, WAIT_S, "the meters to come back")


def point(rig, unit, name):
    return next(point for point in rig.points(unit).values() if point["name"] == name)


def shows(rig, unit, name, value, quality):
    """Waits until a point of a meter has this value and quality."""
    expected = {"value": value, "quality": quality}
    wait_for(lambda: point(rig, unit, name).items() >= expected.items(), 20, f"{name} {value} {quality}")


def test_a_total_that_falls_is_held_and_taken_when_it_stays(make_rig):
    rig = make_rig(meters=[METERS[0] | {"interval_s": 2}])  # three polls: time enough to look on any machine
    meter = rig.meter(1)
    meter.set("energy_import", 5_000_000)
    shows(rig, 1, "energy_import", 5_000_000, "good")

    meter.set("energy_import", 0)  # as a meter says that is just starting
    shows(rig, 1, "energy_import", 5_000_000, "held")
    meter.set("energy_import", 5_001_000)
    shows(rig, 1, "energy_import", 5_001_000, "good")
    assert rig.event_count("counter reset") == 0

    meter.set("energy_import", 2_000)  # another meter hangs there now
    shows(rig, 1, "energy_import", 5_001_000, "held")
    shows(rig, 1, "energy_import", 2_000, "good")
    rig.wait_event("meter main: energy_import: counter reset: 2000 after 5001000")
    with rig.client() as client:
        value, _, quality = struct.unpack(">fHH", client.read(255, 4, 4 * point(rig, 1, "energy_import")["id"], 4))
    assert (value, quality) == (2000, 0)


def test_what_nothing_measures_is_no_value_and_a_frequency_of_500_is_50(make_rig):
    rig = make_rig()
    meter = rig.meter(1)
    for value in (3.4028234663852886e38, -3.4028234663852886e38, math.inf, math.nan):
        meter.set("voltage_l1", value)
        shows(rig, 1, "voltage_l1", None, "no_value")
        meter.set("voltage_l1", 231.5)
        shows(rig, 1, "voltage_l1", 231.5, "good")
    meter.set("frequency", 499.5)
    shows(rig, 1, "frequency", 49.95, "good")


class Stopwatch(VirtualMeter):
    """Notes the shortest time between the end of an answer, as the meter gave it, and the next request."""

    def __init__(self, unit, profile):
        super().__init__(unit, profile)
        self.least_s = math.inf
        self._answered_s = None

    def answer(self, pdu):
        now_s = time.monotonic()
        if self._answered_s is not None:
            self.least_s = min(self.least_s, now_s - self._answered_s)
        reply = super().answer(pdu)
        self._answered_s = now_s
        return reply


def test_an_eastron_has_its_hundred_milliseconds_between_two_requests(make_rig):
    meter = Stopwatch(1, "eastron-sdm630")
    rig = make_rig(meters=METERS[:1], virtual=[meter])
    rig.wait_polled()
    with rig.client() as client:
        for _ in range(4):
            assert client.exception(1, struct.pack(">BHH", 3, 0, 2)) == 1
    assert meter.requests > 6
    assert meter.least_s >= 0.1
