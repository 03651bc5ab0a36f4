"""The files in examples/ are what the firmware takes."""

import json

import pytest

from firmware.config import load
from host_tests.documents import ROOT
from tools import profiles, sim

EXAMPLES = ROOT / "examples"
CONFIGS = sorted(path.name for path in EXAMPLES.glob("config-*.json"))


def document_of(name):
    """The configuration that an example makes: that for the simulator is merged over its own."""
    document = load.parse((EXAMPLES / name).read_bytes())
    return sim.merge(sim.DEFAULT_CONFIG, document) if name.startswith("config-sim-") else document


def of_the_firmware_or_an_example(name):
    """What the check asks for each profile that a configuration names."""
    if (EXAMPLES / f"{name}.json").exists():
        return None
    return load.profile_error(name)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_example_of_a_configuration_is_valid(name):
    _, errors = load.validate(document_of(name), of_the_firmware_or_an_example)
    assert errors == []


@pytest.mark.parametrize("name", CONFIGS)
def test_a_wrong_key_in_an_example_would_be_named(name):
    document = document_of(name)
    document["meters"][0]["bauds"] = 9600
    _, errors = load.validate(document, of_the_firmware_or_an_example)
    assert [error.partition(":")[0] for error in errors] == ["meters[0].bauds"]


def test_an_example_of_a_profile_is_valid():
    profile = profiles.load(EXAMPLES / "profile-minimal.json")
    assert [point.name for point in profile.points] == ["voltage_l1", "active_power", "energy_total"]


def test_every_example_is_in_the_list():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.name != "README.md":
            assert f"]({path.name})" in listed


def test_the_example_for_the_simulator_adds_the_example_profile():
    (_, added) = json.loads((EXAMPLES / "config-sim-example-meter.json").read_text())["meters"]
    assert (EXAMPLES / f"{added['profile']}.json").exists()
