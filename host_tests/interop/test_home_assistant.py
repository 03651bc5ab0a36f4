"""Discovery documents as Home Assistant's own integration of MQTT takes them, its release 2024.3: those of every point
of every profile, and what a running gateway has told mosquitto."""

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware.meters import profile_loader
from firmware.services.mqtt import discovery
from host_tests.mosquitto import Listener, Mosquitto
from host_tests.system.rig import HOST, Rig, wait_for
from tools import build

VENV = build.ROOT / "build" / "home-assistant"
SCRIPT = Path(__file__).resolve().with_name("home_assistant_schema.py")
ROOT = b"meterport/hall"
PROFILES = sorted(path.stem for path in (build.ROOT / "firmware" / "meters" / "profiles").glob("*.json"))
NEWER = "reactive_energy"  # a device class that this release does not have yet
INSTALL_S, RUN_S, HEARD_S = 600, 120, 60


@pytest.fixture(scope="module")
def check():
    """check([[component, document, payload], ...]): what the script says of each."""
    command = ["sh", "tools/bootstrap.sh", "tools/home-assistant.lock", str(VENV.relative_to(build.ROOT))]
    environment = {**os.environ, "PIP_NO_DEPS": "1"}
    subprocess.run(command, cwd=build.ROOT, env=environment, check=True, timeout=INSTALL_S)

    def run(rows):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        program = [VENV / "bin" / "python", "-I", SCRIPT]
        done = subprocess.run(program, input=lines, capture_output=True, text=True, timeout=RUN_S, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def documents(name, is_json):
    """Of each point of a profile."""
    profile = profile_loader.load(name)
    meter = SimpleNamespace(slot=2, name="main", profile=profile, profile_name=name)
    for i in range(len(profile)):
        text = discovery.document("e661", ROOT, ROOT + b"/main", meter, i, 90, "http://192.0.2.9/", is_json)
        found = json.loads(text)
        if found.get("dev_cla") == NEWER:
            del found["dev_cla"]
        yield profile.name_of(i), found


def test_home_assistant_takes_the_document_of_every_point_of_every_profile(check):
    points = [(is_json, *point) for is_json in (False, True) for name in PROFILES for point in documents(name, is_json)]
    rows = [
        ["sensor", document, json.dumps({name: 230.5}) if is_json else "230.5"] for is_json, name, document in points
    ]
    _, name, document = points[-1]
    *answers, of_null = check([*rows, ["sensor", document, json.dumps({name: None})]])
    assert len(answers) > 1000
    for (is_json, name, document), answer in zip(points, answers, strict=True):
        assert "error" not in answer, (name, document, answer)
        assert answer["state"] == "230.5"
        assert ("value_template" in answer["config"]) == is_json
    assert of_null["state"] == "None"  # its PAYLOAD_NONE: the entity is unknown


def test_the_schema_refuses_what_is_wrong(check):
    """So that the tests above can fail."""
    cases = (
        ({"dev_cla": "elektrizität"}, "device_class"), ({"stat_cla": "rising"}, "state_class"),
        ({"stat_t": "a/#/b"}, "state_topic"), ({"exp_aft": -1}, "expire_after"), ({"wat": 1}, "does not know"),
        ({"unit_of_meas": "V"}, "none of its units"),
        ({"stat_cla": "measurement", "dev_cla": "energy", "unit_of_meas": "Wh"}, "none of its state classes"),
    )  # fmt: skip
    document = next(document for _, document in documents("eastron-sdm630", False) if document["unit_of_meas"] == "W")
    answers = check([["sensor", document | change, "1"] for change, _ in cases])
    for (_, said), answer in zip(cases, answers, strict=True):
        assert said in answer["error"]


@pytest.mark.parametrize("payload", ["plain", "json"])
def test_home_assistant_takes_what_a_gateway_tells_the_broker(check, tmp_path, payload):
    with Mosquitto(tmp_path / "mosquitto") as broker, Listener(broker) as listener:
        settings = {"enabled": True, "host": HOST, "port": broker.port, "interval_s": 1, "homeassistant": True}
        with Rig(tmp_path, config={"mqtt": {**settings, "payload": payload}}) as rig:
            rig.wait_polled()
            meters = rig.get("/api/readings")["meters"]
            count = 1 + sum(len(meter["points"]) for meter in meters)

            def told():
                return {t: p for t, p in list(listener.seen.items()) if t.startswith("homeassistant/") and p}

            def have_states():
                return all(json.loads(document)["stat_t"] in listener.seen for document in told().values())

            wait_for(lambda: len(told()) == count and have_states(), HEARD_S, "documents and values")
            readings = {(meter["name"], point["name"]): point["value"] for meter in meters for point in meter["points"]}
            seen = dict(listener.seen)
    rows, wanted = [], []
    for topic, text in told().items():
        document = json.loads(text)
        if document.get("dev_cla") == NEWER:
            del document["dev_cla"]
        rows.append([topic.split("/")[1], document, seen[document["stat_t"]]])
        point = document["dev"]["name"], document["name"].replace(" ", "_")
        wanted.append("online" if "ent_cat" in document else readings[point])
    for answer, value in zip(check(rows), wanted, strict=True):
        assert "error" not in answer
        assert answer["state"] == value or float(answer["state"]) == pytest.approx(value, rel=1e-5)
