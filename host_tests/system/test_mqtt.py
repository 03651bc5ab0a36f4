"""MQTT on real MicroPython with a broker that others wrote: mosquitto."""

import json
import subprocess

import pytest

from host_tests.mosquitto import Listener, Mosquitto
from host_tests.system.rig import HOST, quick_to_fail, wait_for
from tools import debian

ROOT = "meterport/test"
CONNECTED_S = 30
BACK_S = 60
USER = {"user": "gate", "password": "geheim"}


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path / "mosquitto", **USER) as broker:
        yield broker


@pytest.fixture
def listener(broker):
    with Listener(broker, **USER) as listener:
        yield listener


def settings(broker, **more):
    return {"mqtt": {"enabled": True, "host": HOST, "port": broker.port, "interval_s": 1, **USER, **more}}


def send(broker, topic, payload):
    program = debian.unpack("mosquitto-clients") / "usr" / "bin" / "mosquitto_pub"
    login = ["-u", USER["user"], "-P", USER["password"]]
    command = [program, "-h", HOST, "-p", str(broker.port), "-t", topic, "-m", payload, *login]
    subprocess.run(command, check=True, env=broker.environment, timeout=20)


def test_the_broker_is_told_of_gateway_meters_and_values(make_rig, broker, listener):
    rig = make_rig(config=settings(broker), meters=quick_to_fail(3))
    rig.wait_polled()
    wait_for(lambda: f"{ROOT}/socket/active_power" in listener.seen, CONNECTED_S, "values")
    assert listener.seen[f"{ROOT}/status"] == "online"
    for number, name in ((1, "main"), (3, "socket")):
        wait_for(lambda name=name: listener.seen[f"{ROOT}/{name}/status"] == "online", CONNECTED_S, "a state")
        for point in rig.get("/api/readings")["meters"][number - 1]["points"]:
            text = listener.seen[f"{ROOT}/{name}/{point['name']}"]
            assert float(text) == pytest.approx(point["value"], rel=1e-6)
    rig.meter(3).silent = True
    wait_for(lambda: listener.seen[f"{ROOT}/socket/status"] == "offline", CONNECTED_S, "a meter that is offline")
    count = len([1 for topic, _, _ in listener.all if topic == f"{ROOT}/socket/active_power"])
    before = len([1 for topic, _, _ in listener.all if topic == f"{ROOT}/main/active_power"])
    wait_for(
        lambda: len([1 for topic, _, _ in listener.all if topic == f"{ROOT}/main/active_power"]) > before + 6,
        CONNECTED_S, "more of the others",
    )  # fmt: skip
    after = len([1 for topic, _, _ in listener.all if topic == f"{ROOT}/socket/active_power"])
    assert after <= count + 4  # while its last value was fresh
    status = rig.status()["mqtt"]
    assert (status["state"], status["error"], status["connections"]) == ("connected", None, 1)
    assert [slot["kind"] for slot in rig.sockets()["slots"]].count("mqtt") == 1


def test_meters_of_one_name_have_topics_of_their_own(make_rig, broker, listener):
    rig = make_rig(config=settings(broker), meters=[meter | {"name": "a/b"} for meter in quick_to_fail()])
    rig.wait_polled()
    for k in range(3):
        wait_for(lambda k=k: f"{ROOT}/a_b {k}/active_power" in listener.seen, CONNECTED_S, "values")
    assert not [topic for topic in listener.seen if topic.startswith(f"{ROOT}/a_b/")]
    assert [meter["name"] for meter in rig.status()["meters"]] == ["a/b 0", "a/b 1", "a/b 2"]


def test_states_are_retained_and_values_are_not(make_rig, broker, listener):
    rig = make_rig(config=settings(broker))
    rig.wait_polled()
    wait_for(lambda: f"{ROOT}/socket/active_power" in listener.seen, CONNECTED_S, "values")
    with Listener(broker, **USER) as later:
        wait_for(lambda: f"{ROOT}/main/status" in later.seen, CONNECTED_S, "what is retained")
        assert {topic for topic, _, retained in later.all if retained} == {
            f"{ROOT}/status", f"{ROOT}/main/status", f"{ROOT}/feeder/status", f"{ROOT}/socket/status",
        }  # fmt: skip


def test_the_will_says_that_it_is_gone_and_a_new_start_that_it_is_back(make_rig, broker, listener):
    rig = make_rig(config=settings(broker))
    wait_for(lambda: listener.seen.get(f"{ROOT}/status") == "online", CONNECTED_S, "it")
    rig.gateway.kill()
    wait_for(lambda: listener.seen[f"{ROOT}/status"] == "offline", CONNECTED_S, "the will")
    rig.gateway.start()
    wait_for(lambda: listener.seen[f"{ROOT}/status"] == "online", CONNECTED_S, "it again")


def test_a_broker_that_goes_is_found_again_and_other_services_go_on(make_rig, tmp_path):
    broker = Mosquitto(tmp_path / "mosquitto", **USER)
    rig = make_rig(config=settings(broker))  # it is not there yet
    wait_for(lambda: rig.status()["mqtt"]["state"] == "retrying", CONNECTED_S, "the first failure")
    assert rig.status()["mqtt"]["error"] == "refused"
    with broker:
        wait_for(lambda: rig.status()["mqtt"]["state"] == "connected", BACK_S, "a connection")
    wait_for(lambda: rig.status()["mqtt"]["state"] != "connected", CONNECTED_S, "the end")
    rig.wait_polled()
    with broker, Listener(broker, **USER) as listener:
        wait_for(lambda: f"{ROOT}/main/active_power" in listener.seen, BACK_S, "values again")
    assert rig.status()["mqtt"]["connections"] == 2
    assert "mqtt" not in str([event for event in rig.status()["events"] if "Traceback" in event["text"]])


def test_a_wrong_password_is_said_and_tried_again(make_rig, broker):
    rig = make_rig(config=settings(broker, password="another"))
    wait_for(lambda: rig.status()["mqtt"]["error"], CONNECTED_S, "an error")
    assert rig.status()["mqtt"]["error"] == "refused: not authorized"


def test_home_assistant_is_told_what_each_value_is(make_rig, broker, listener):
    rig = make_rig(config=settings(broker, homeassistant=True))
    rig.wait_polled()
    points = {meter["name"]: meter for meter in rig.get("/api/readings")["meters"]}
    count = sum(len(meter["points"]) for meter in points.values())

    def documents():
        return {
            t: p for t, p in list(listener.seen.items()) if t.startswith("homeassistant/") and t.endswith("/config")
        }

    wait_for(lambda: len(documents()) == count + 1, CONNECTED_S, "all documents")
    found = [json.loads(text) for text in documents().values()]
    assert len({one["uniq_id"] for one in found}) == count + 1
    by_topic = {one["stat_t"]: one for one in found}
    energy = by_topic[f"{ROOT}/main/energy_import"]
    assert (energy["dev_cla"], energy["stat_cla"], energy["unit_of_meas"]) == ("energy", "total_increasing", "Wh")
    power = by_topic[f"{ROOT}/main/active_power"]
    assert (power["dev_cla"], power["stat_cla"], power["unit_of_meas"]) == ("power", "measurement", "W")
    assert power["avty"] == [{"t": f"{ROOT}/status"}, {"t": f"{ROOT}/main/status"}]
    assert power["dev"]["via_device"] == by_topic[f"{ROOT}/status"]["dev"]["ids"][0]
    for name, meter in points.items():
        for point in meter["points"]:
            assert by_topic[f"{ROOT}/{name}/{point['name']}"]["dev"]["name"] == name
    wait_for(lambda: all(topic in listener.seen for topic in by_topic), CONNECTED_S, "a value of each")

    before = len(listener.all)
    send(broker, "homeassistant/status", "online")
    wait_for(
        lambda: len([1 for topic, _, _ in listener.all[before:] if topic.endswith("/config")]) == count + 1,
        CONNECTED_S, "all of them once more",
    )  # fmt: skip


def test_a_meter_that_has_gone_leaves_no_entity_and_no_state_behind(make_rig, broker, listener):
    rig = make_rig(config=settings(broker, homeassistant=True))

    def documents(name):
        texts = [text for topic, text in list(listener.seen.items()) if topic.endswith("/config") and text]
        return [text for text in texts if json.loads(text)["dev"]["name"] == name]

    points = {meter["name"]: len(meter["points"]) for meter in rig.get("/api/readings")["meters"]}
    wait_for(lambda: all(len(documents(name)) == points[name] for name in points), CONNECTED_S, "all documents")
    folder = rig.folder / "data"
    for name in ("mqtt", "mqtt_states"):
        wait_for(lambda name=name: list(folder.glob(name + ".[ab]")), CONNECTED_S, "what is kept")  # once it is whole
    rig.gateway.kill()
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["meters"] = [meter for meter in config["meters"] if meter["name"] != "socket"]
    path.write_text(json.dumps(config))
    rig.gateway.start()
    wait_for(lambda: not documents("socket"), CONNECTED_S, "their removal")
    wait_for(lambda: listener.seen[f"{ROOT}/socket/status"] == "", CONNECTED_S, "the end of its state")
    for name in points:
        assert len(documents(name)) == (0 if name == "socket" else points[name])
