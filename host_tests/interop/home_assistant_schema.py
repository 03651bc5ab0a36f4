"""Runs in a venv of Home Assistant: says of each discovery document what its integration of MQTT makes of it.

Reads lines of JSON, [component, document, payload], and writes one for each: {"error": text}, or {"config": the keys
that the schema has taken, in full, "state": what the value template makes of the payload}.
"""

import json
import sys

import jinja2
import voluptuous
from homeassistant.components.mqtt import binary_sensor, sensor
from homeassistant.components.mqtt.abbreviations import ABBREVIATIONS, DEVICE_ABBREVIATIONS, ORIGIN_ABBREVIATIONS
from homeassistant.components.sensor.const import DEVICE_CLASS_STATE_CLASSES, DEVICE_CLASS_UNITS

SCHEMAS = {"sensor": sensor.DISCOVERY_SCHEMA, "binary_sensor": binary_sensor.DISCOVERY_SCHEMA}


def in_full(found, names):
    return {names.get(key, key): value for key, value in found.items()}


def expand(document):
    """As async_discovery_message_received() of its discovery.py."""
    found = in_full(document, ABBREVIATIONS)
    found["device"] = in_full(found["device"], DEVICE_ABBREVIATIONS)
    found["origin"] = in_full(found["origin"], ORIGIN_ABBREVIATIONS)
    if "availability" in found:
        found["availability"] = [in_full(one, ABBREVIATIONS) for one in found["availability"]]
    return found


def check(component, document, payload):
    given = expand(document)
    taken = SCHEMAS[component]({**given, "platform": "mqtt"})
    for part, keys in (("config", given), ("device", given["device"]), ("origin", given["origin"])):
        found = taken if part == "config" else taken[part]
        if left := set(keys) - set(found):
            raise ValueError(f"{part}: Home Assistant does not know {sorted(left)}")
    kind = taken.get("device_class")
    if component == "sensor" and kind is not None:  # it only warns of these, when there is a value
        if taken.get("unit_of_measurement") not in DEVICE_CLASS_UNITS.get(kind, {taken.get("unit_of_measurement")}):
            raise ValueError(f"{kind}: {taken.get('unit_of_measurement')} is none of its units")
        if taken["state_class"] not in DEVICE_CLASS_STATE_CLASSES.get(kind, {taken["state_class"]}):
            raise ValueError(f"{kind}: {taken['state_class']} is none of its state classes")
    state = payload
    if "value_template" in document or "val_tpl" in document:
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
        state = environment.from_string(given["value_template"]).render(value_json=json.loads(payload))
    return {"config": sorted(given), "state": state}


for line in sys.stdin:
    try:
        answer = check(*json.loads(line))
    except (voluptuous.Invalid, ValueError, jinja2.TemplateError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
