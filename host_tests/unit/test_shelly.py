"""A meter as Shelly Pro 3EM, with a fake socket: what is answered, what is not, and never an old value."""

import json
import random
from types import SimpleNamespace

import pytest

from firmware.config import load as config
from firmware.meters.readings import GOOD, QUALITIES
from firmware.net import seam
from firmware.net.budget import SERVICES, Budget
from firmware.services.shelly.service import Shelly
from host_tests.unit.fakes import Log, Uptime

ASKER = ("192.168.1.7", 40000)
THREE_PHASES = {
    1: 230.1, 2: 231.2, 3: 229.9, 9: 4.5, 10: 0.25, 11: 10, 15: 49.98, 16: 1234.5, 17: 1000, 18: -50.5, 19: 285,
    24: 1300, 25: 1035.4, 26: 57.8, 27: 2299, 29: 0.97, 30: -0.87, 31: 0.12,
}  # fmt: skip
EM_KEYS = {
    f"{phase}_{key}" for phase in "abc" for key in ("current", "voltage", "act_power", "aprt_power", "pf", "freq")
}


class FakeReadings:
    def __init__(self):
        self.points = dict(THREE_PHASES)
        self.quality = GOOD
        self.qualities = {}  # of point numbers that have another

    def read(self, meter, i):
        number, value = list(self.points.items())[i]
        return value, 1, self.qualities.get(number, self.quality)

    def index_of(self, number):
        return list(self.points).index(number) if number in self.points else -1


class Bench:
    def __init__(self, monkeypatch, **section):
        self.queue, self.sent = [], []
        stream = SimpleNamespace(recvfrom=self._receive, sendto=lambda data, address: self.sent.append((data, address)))
        monkeypatch.setattr(seam, "udp", lambda bind, port: stream)
        for name in ("watch", "unwatch", "close", "interest"):
            monkeypatch.setattr(seam, name, lambda *arguments: None)
        uptime = Uptime()
        self.events = Log(uptime)
        self.readings = FakeReadings()
        meter = SimpleNamespace(profile=self.readings)
        meters = SimpleNamespace(in_slot=lambda slot: meter if slot == 3 else None)
        link = SimpleNamespace(details=lambda: ("192.168.1.50", "255.255.255.0", None, None, "28:cd:c1:01:23:45", -60))
        budget = Budget(16, 16, 16, list(SERVICES), {}, uptime, self.events)
        values = config.default()["shelly"] | {"slot": 3} | section
        self.shelly = Shelly(values, "switchroom", budget, self.events, link, meters, self.readings)
        self.shelly.start()

    def _receive(self, most):
        data, sender = self.queue.pop(0)
        return data[:most], sender

    def tell(self, data, sender=ASKER):
        """The datagrams that answer this one."""
        before = len(self.sent)
        self.queue.append((data, sender))
        self.shelly.on_ready(seam.READ)
        return self.sent[before:]

    def ask(self, method, **fields):
        request = {"id": 1, "src": "battery", "method": method, "params": {"id": 0}} | fields
        ((data, address),) = self.tell(json.dumps(request).encode())
        assert address == ASKER
        return json.loads(data), data


@pytest.fixture
def make(monkeypatch):
    return lambda **section: Bench(monkeypatch, **section)


def test_three_phases_are_three_phases(make):
    answer, data = make().ask("EM.GetStatus", id=77)
    result = answer.pop("result")
    assert answer == {"id": 77, "src": "shellypro3em-28cdc1012345", "dst": "battery"}
    assert {key for key in result if key[1] == "_" and key[0] in "abc"} == EM_KEYS
    assert (result["a_voltage"], result["b_act_power"], result["c_current"]) == (230.1, -50.5, 10)
    assert (result["b_pf"], result["a_aprt_power"], result["c_freq"]) == (-0.87, 1035.4, 50.0)
    assert (result["total_act_power"], result["total_aprt_power"], result["total_current"]) == (1234.5, 1300, 14.75)
    assert len(data) > 250  # what some batteries want


def test_every_measured_number_has_a_decimal_point(make):
    bench = make()
    bench.readings.points = dict.fromkeys(THREE_PHASES, 3)
    for method in ("EM.GetStatus", "EM1.GetStatus"):
        _, data = bench.ask(method)
        result = data.split(b'"result":')[1]
        for pair in result.strip(b"{}").split(b","):
            key, _, value = pair.partition(b":")
            assert b"." in value or value in (b"null", b'"factory"') or key == b'"id"', pair


def test_a_meter_of_one_phase_is_phase_a(make):
    bench = make()
    bench.readings.points = {1: 230, 9: 5, 15: 50.02, 16: -1100}
    result = bench.ask("EM.GetStatus")[0]["result"]
    assert (result["a_act_power"], result["a_aprt_power"], result["a_pf"]) == (-1100, 1150, -0.96)
    assert (result["b_act_power"], result["c_voltage"]) == (0, 0)
    assert result["total_act_power"] == -1100


def test_a_meter_without_a_sum_has_that_of_its_phases(make):
    bench = make()
    for number in (16, 24):
        del bench.readings.points[number]
    result = bench.ask("EM.GetStatus")[0]["result"]
    assert (result["total_act_power"], result["total_aprt_power"]) == (1234.5, 3392.2)


def test_the_sums_are_also_a_meter_of_one_channel(make):
    result = make().ask("EM1.GetStatus")[0]["result"]
    assert (result["act_power"], result["aprt_power"], result["voltage"], result["current"]) == (
        1234.5,
        1300,
        230.1,
        14.75,
    )
    assert result["pf"] == 0.95


def test_it_says_what_it_claims_to_be(make):
    result = make().ask("Shelly.GetDeviceInfo")[0]["result"]
    assert (result["name"], result["app"], result["gen"], result["mac"]) == ("switchroom", "Pro3EM", 2, "28CDC1012345")


@pytest.mark.parametrize("quality", range(1, 6))
def test_without_a_fresh_reading_there_is_no_answer(make, quality):
    bench = make()
    bench.readings.quality = quality
    for method in (b"EM.GetStatus", b"EM1.GetStatus"):
        assert bench.tell(b'{"id":1,"method":"%s"}' % method) == []
    assert bench.shelly.status() == {"answered": 0, "refused": 0, "not_fresh": 2}


@pytest.mark.parametrize("quality", ["stale", "failed", "never"])
@pytest.mark.parametrize("number", [17, 18, 19])
def test_without_a_fresh_power_of_each_measured_phase_there_is_no_answer(make, number, quality):
    bench = make()
    bench.readings.qualities = {number: QUALITIES.index(quality)}
    for method in (b"EM.GetStatus", b"EM1.GetStatus"):
        assert bench.tell(b'{"id":1,"method":"%s"}' % method) == []
    assert bench.shelly.status()["not_fresh"] == 2
    bench.readings.qualities = {}
    assert bench.ask("EM.GetStatus")[0]["result"]["total_act_power"] == 1234.5


@pytest.mark.parametrize("k", range(3))
def test_a_phase_that_the_meter_has_no_value_for_is_zero(make, k):
    bench = make()
    bench.readings.qualities = {17 + k: QUALITIES.index("no_value")}
    result = bench.ask("EM.GetStatus")[0]["result"]
    powers = [result[f"{phase}_act_power"] for phase in "abc"]
    assert powers == [0 if phase == k else THREE_PHASES[17 + phase] for phase in range(3)]


def test_a_sum_that_is_not_fresh_is_that_of_the_phases(make):
    bench = make()
    bench.readings.points[16] = 9999
    bench.readings.qualities = {16: QUALITIES.index("stale")}
    assert bench.ask("EM1.GetStatus")[0]["result"]["act_power"] == 1234.5


def test_without_a_meter_there_is_no_answer_and_the_log_says_so(make):
    bench = make(slot=4)
    assert bench.tell(b'{"id":1,"method":"EM.GetStatus"}') == []
    assert bench.events.texts() == ["there is no meter in slot 4: nothing is answered"]


def test_another_method_is_an_error(make):
    answer, _ = make().ask("Switch.Set")
    assert answer["error"]["code"] == 404
    assert "result" not in answer


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"{}", b"[]", b'{"id":1}', b'{"id":true,"method":"EM.GetStatus"}',
        b'{"id":-1,"method":"EM.GetStatus"}',
        b'{"id":1.5,"method":"EM.GetStatus"}', b'{"id":99999999999,"method":"EM.GetStatus"}', b'{"id":1,"method":7}',
        b'{"id":1,"method":"EM.GetStatus"', b'{"id":1,"method":"EM.GetStatus"}' + 300 * b" ",
    ],
)  # fmt: skip
def test_what_is_no_request_has_no_answer(make, data):
    bench = make()
    assert bench.tell(data) == []
    assert bench.shelly.status()["answered"] == 0
    assert bench.shelly.status()["refused"] == 1


def test_only_the_own_network_is_answered_unless_it_is_said(make):
    request = b'{"id":1,"method":"EM.GetStatus"}'
    assert make().tell(request, ("10.0.0.9", 1)) == []
    assert len(make(anywhere=True).tell(request, ("10.0.0.9", 1))) == 1


def test_a_source_that_is_long_or_no_text_does_not_come_back(make):
    bench = make()
    assert bench.ask("EM.GetStatus", src="x" * 49)[0]["dst"] == "unknown"
    assert bench.ask("EM.GetStatus", src=7)[0]["dst"] == "unknown"
    assert bench.ask("EM.GetStatus", src='a"b\u00e4')[0]["dst"] == 'a"b\u00e4'


def test_nothing_escapes_whatever_comes(make):
    bench = make()
    rng = random.Random(7)
    good = b'{"id":1,"src":"battery","method":"EM.GetStatus","params":{"id":0}}'
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        for answer, _ in bench.tell(bytes(data[: rng.randrange(1, len(data) + 1)])):
            json.loads(answer)
