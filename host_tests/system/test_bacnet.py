"""The BACnet server of the whole firmware on real MicroPython: what it says is what the meters have."""

import struct

import pytest

from host_tests.system.bacnet_client import ANALOG_INPUT, ANY_DEVICE, DEVICE, BacnetClient, BacnetError
from host_tests.system.rig import ALL_SIX, Rig, quick_to_fail, wait_for
from host_tests.unit.bacnet_bench import context, object_id, uint
from tools import gateway

SMALL = {"frozen": True, "heap": gateway.FROZEN_HEAP}
FILES = {"frozen": False, "heap": "384K"}


@pytest.fixture(scope="module", params=["files", "frozen"])
def rig(request, tmp_path_factory):
    form = FILES if request.param == "files" else SMALL
    with Rig(tmp_path_factory.mktemp("bacnet"), **ALL_SIX, **form) as rig:
        rig.wait_polled()
        yield rig


@pytest.fixture
def client(rig):
    with BacnetClient(rig.bacnet_port) as client:
        yield client


def test_it_is_found_and_lists_its_objects(rig, client):
    assert client.ask(b"\x10\x08")[:2] == b"\x10\x00"
    objects = client.read(DEVICE, ANY_DEVICE, 76)
    assert (
        len(objects)
        == rig.status()["bacnet"]["objects"]
        == 1 + sum(min(len(meter["points"]), 8) for meter in rig.get("/api/readings")["meters"])
    )
    assert objects[0][0] == DEVICE
    names = [client.read(kind, instance, 77)[0] for kind, instance in objects]
    assert names[0] == "test"
    assert names[1].startswith("main.")
    assert len(set(names)) == len(names)


def test_the_values_are_those_of_the_readings(rig, client):
    points = {point["id"]: point for meter in rig.get("/api/readings")["meters"] for point in meter["points"]}
    shown = [instance for kind, instance in client.read(DEVICE, ANY_DEVICE, 76) if kind == ANALOG_INPUT]
    values = client.read_present_values(shown)
    assert list(values) == shown
    for instance, (value, flags) in values.items():
        point = points[instance]
        expected = point["value"] / 1000 if point["unit"].endswith("h") else point["value"]
        assert value == pytest.approx(expected, rel=1e-6)
        assert flags == "0000"
        assert client.read(ANALOG_INPUT, instance, 77) == [f"{names_of(rig)[instance >> 8]}.{point['name']}"]


def names_of(rig):
    return {meter["slot"]: meter["name"] for meter in rig.status()["meters"]}


def test_every_property_of_every_object_is_read(client):
    for kind, instance in client.read(DEVICE, ANY_DEVICE, 76):
        for number in client.read(kind, instance, 371):
            client.read(kind, instance, number)


def test_an_error_does_not_end_it(client):
    with pytest.raises(BacnetError) as error:
        client.read(ANALOG_INPUT, 9999, 85)
    assert error.value.args[0][3:] == bytes.fromhex("9101 911f")
    client.socket.sendto(b"nonsense", client.address)
    client.read(DEVICE, ANY_DEVICE, 77)


def test_a_change_is_told(rig, client):
    number = 16
    assert client.confirmed(5, b"\x09\x07" + context(1, object_id(ANALOG_INPUT, number)) + b"\x29\x00\x39\x3c") == b""
    first = client.receive()
    assert first[:2] == b"\x10\x02"
    value = struct.unpack(">f", first[first.index(b"\x2e\x44") + 2 :][:4])[0]
    rig.meter(1).set("active_power", value + 100)
    second = client.receive()
    changed = struct.unpack(">f", second[second.index(b"\x2e\x44") + 2 :][:4])[0]
    assert changed == pytest.approx(value + 100)
    assert client.confirmed(5, b"\x09\x07" + context(1, object_id(ANALOG_INPUT, number))) == b""


def test_a_silent_meter_has_a_fault_and_keeps_its_value(make_rig):
    rig = make_rig(**ALL_SIX, **SMALL, meters=quick_to_fail(1))
    rig.wait_polled()
    with BacnetClient(rig.bacnet_port) as client:
        (before,) = client.read(ANALOG_INPUT, 16, 85)
        rig.meter(1).silent = True
        wait_for(lambda: client.read(ANALOG_INPUT, 16, 111) == ["0100"], 20, "a fault")
        assert client.read(ANALOG_INPUT, 16, 85) == [before]
        assert client.read(ANALOG_INPUT, 16, 103) == [12]


def test_each_gateway_of_a_machine_has_an_instance_number_of_its_own(make_rig):
    config = {"bacnet": {"enabled": True}}
    instances = {make_rig(config=config, **SMALL).status()["bacnet"]["instance"] for _ in range(2)}
    assert len(instances) == 2
    assert all(1_000_000 < instance < 3_097_152 for instance in instances)


def test_two_gateways_with_one_instance_number_name_each_other(make_rig):
    """Both bound to one port of the same machine cannot be: so the other one is played here."""
    rig = make_rig(config={"bacnet": {"enabled": True, "instance": 7}}, **SMALL)
    with BacnetClient(rig.bacnet_port) as other:
        other.send(bytes.fromhex("1000 c402000007 2205c4 9103 2163"))
        wait_for(lambda: rig.status()["bacnet"]["conflict"], 15, "the conflict")
        port = other.socket.getsockname()[1]
        conflict = f"instance 7 is also that of the BACnet device at 127.0.0.1:{port}"
        assert rig.status()["bacnet"]["conflict"] == conflict
        assert any(conflict in line for line in rig.events())


def test_what_a_client_has_written_outlasts_a_restart(make_rig):
    config = {"bacnet": {"enabled": True, "allow_writes": True}}
    rig = make_rig(config=config, **SMALL)
    with BacnetClient(rig.bacnet_port) as client:
        text = b"\0switch room"
        written = context(0, object_id(DEVICE, ANY_DEVICE)) + context(1, uint(58)) + b"\x3e\x75\x0c" + text + b"\x3f"
        assert client.confirmed(15, written) == b""
    kept = rig.folder / "data"
    wait_for(lambda: any(b"switch room" in path.read_bytes() for path in kept.glob("bacnet.[ab]")), 20, "the save")
    rig.stop()
    rig.start()
    with BacnetClient(rig.bacnet_port) as client:
        assert client.read(DEVICE, ANY_DEVICE, 58) == ["switch room"]


def test_requests_leave_nothing_behind_in_the_heap(make_rig):
    """A thousand of each kind, with names and numbers that were never seen before."""
    rig = make_rig(**ALL_SIX, **SMALL)
    rig.wait_polled()
    with BacnetClient(rig.bacnet_port) as client:

        def some(begin):
            for k in range(begin, begin + 500):
                client.send(b"\x10\x07" + context(3, b"\0name %d" % k))
                client.read(DEVICE, ANY_DEVICE, 76)
                for answered in (ANALOG_INPUT, DEVICE):
                    try:
                        client.read(answered, k, 85)
                    except BacnetError:
                        continue

        some(0)
        used = [rig.status()["heap"]["used"] for _ in range(5)]
        some(1000)
        assert min(rig.status()["heap"]["used"] for _ in range(5)) < min(used) + 1500
