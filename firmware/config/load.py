"""Configuration: one JSON file; every key has a type, a default and bounds; and how the device starts without it.

data/config.json is what the user wrote. When it is right the device runs by it and keeps a copy as the last good one
(store.py). When it is wrong in any place the device runs by the last good one, or by the defaults, and says what was
wrong: `meters[2].unit: 300 is not 1 to 247`. The file itself is never changed behind the user's back.
"""

import json
import os

import strict_json

from firmware.config import lists as config_lists
from firmware.config import rules as config_rules
from firmware.config import schema, store
from firmware.config import sections as config_sections
from firmware.meters import profile_loader as profile_load

PATH = "data/config.json"
LAST_GOOD = "data/config.good"
_ENOENT = 2
_NO_FILE = object()


class Loaded:
    """What load() found: `config` is complete and valid, `source` one of "file", "last good", "default", and `errors`
    says what is wrong with the file."""

    def __init__(self, config, source, errors):
        self.config = config
        self.source = source
        self.errors = errors


def load():
    """Reads the configuration, as far as it can be: never raises for what lies in the files."""
    raw, errors = _read()
    if raw is _NO_FILE:
        return Loaded(default(), "default", errors)  # a new device
    if not errors:
        config, errors = validate(raw)
        if not errors:
            _remember(errors)
            return Loaded(config, "file", errors)
    kept = store.load(LAST_GOOD)
    if kept is not None:
        config, kept_errors = validate(json.loads(kept))
        if not kept_errors:
            return Loaded(config, "last good", errors)
    return Loaded(default(), "default", errors)


def _read():
    """(parsed JSON, errors) of the user's file; (_NO_FILE, []) when there is none."""
    try:
        size = os.stat(PATH)[6]
        if size > config_rules.FILE_MAX:
            return None, ["%s: %d bytes are more than %d" % (PATH, size, config_rules.FILE_MAX)]
        return strict_json.load(PATH), []
    except OSError as error:
        if error.errno == _ENOENT:
            return _NO_FILE, []
        return None, ["%s: cannot be read: %r" % (PATH, error)]
    except (ValueError, RuntimeError, MemoryError) as error:  # the latter two: nested too deep, too much
        return None, ["%s: not JSON: %s" % (PATH, error)]


def _remember(errors):
    """Keeps the file as the user wrote it: the whole configuration would be several times as long."""
    try:
        store.save(LAST_GOOD, store.read(PATH))
    except (OSError, ValueError) as error:
        # The device runs all the same; it only could not fall back to this one later.
        errors.append("%s: not kept as last good: %s" % (PATH, error))


def default():
    """The configuration of a new device: all six services, no meters."""
    config, errors = validate({})
    assert not errors
    return config


def validate(raw):
    """(complete configuration, errors): defaults filled in, every wrong or unknown key named."""
    errors = []
    config = {}
    if not isinstance(raw, dict):
        errors.append("configuration: must be an object")
        raw = {}
    config_rules.check_keys(raw, schema.names(), "", errors)
    for name, spec in schema.parts():
        config[name] = config_rules.part(name, spec, name in raw, raw.get(name), errors)
    if not errors:
        config_sections.check(config, errors)
        cross = config_lists.Cross(len(config["buses"]), _profile_error)
        for k, route in enumerate(config["routes"]):
            cross.route(k, route, errors)
        for k, meter in enumerate(config["meters"]):
            cross.meter(k, meter, errors)
    return config, errors[: config_rules.ERRORS_MAX]


def _profile_error(name):
    try:
        profile_load.load(name)
    except profile_load.ProfileError as error:
        return str(error)
    return None
