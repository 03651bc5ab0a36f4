"""The check of a configuration file that is to be saved: by the rules of the boot, and one section or meter at a time,
for beside a running firmware the heap has no room for all of it.

In two turns, for the code of both does not fit either: first the sections, then the lists, which need to know how many
buses there are.
"""

from firmware.config import json_file, schema
from firmware.config import rules as config_rules

LISTS = ("routes", "meters")


def sections(path, errors):
    """Everything but routes and meters in the JSON file `path`, which strict_json has passed: complete, as far as it is
    right. Adds what is wrong to `errors`. Raises ValueError where it is no JSON after all."""
    places = {}
    config = {}
    with open(path, "rb") as f:
        if json_file.is_list(f, 0, 128):
            raise ValueError("must be an object")
        for key, begin, end in json_file.members(f):
            if key in places:
                errors.append("%s: stands there twice" % key)
            places[key] = begin, end
        config_rules.check_keys(places, schema.names(), "", errors)
        for name, spec in schema.parts():
            if name not in LISTS:
                given = name in places
                raw = json_file.value(f, *places[name]) if given else None
                config[name] = config_rules.part(name, spec, given, raw, errors)
    return config


def lists(path, check, errors):
    """Routes and meters: `check(name)` gives what each item is told to, with its number and `errors`."""
    specs = {name: spec for name, spec in schema.parts() if name in LISTS}
    with open(path, "rb") as f:
        for name, begin, end in json_file.members(f):
            if name in specs:
                spec, most = specs[name]
                if not json_file.is_list(f, begin, end):
                    errors.append("%s: must be a list of at most %d" % (name, most))
                    continue
                _items(f, begin, name, spec, most, check(name), errors)


def _items(f, begin, name, spec, most, check, errors):
    k = 0
    for _, first, last in json_file.members(f, begin):
        if k == most:
            errors.append("%s: must be a list of at most %d" % (name, most))
        if k == most or len(errors) > config_rules.ERRORS_MAX:
            return
        wrong = []
        item = config_rules.section(json_file.value(f, first, last), spec, "%s[%d]" % (name, k), wrong)
        if not wrong:
            check(k, item, wrong)
        errors.extend(wrong)
        k += 1
