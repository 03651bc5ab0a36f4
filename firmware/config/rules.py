"""What is right in a configuration, of each key by itself (schema.py). What one key cannot know of another is in
config_sections.py and config_lists.py.

The same rules hold at boot, for the whole file at once (config.py), and when somebody saves, for one section or meter
at a time (config_check.py).
"""

import gc
import json

# What hardly any meter needs is not filled in: 64 meters would carry it through the heap and into the last good copy.
# profile_load knows the defaults as well.
SPARSE = ()
ERRORS_MAX = 12
FILE_MAX = 12288


def part(name, spec, given, raw, errors):
    """What stands at the top of the configuration under `name`: a key, a section or a list of sections (schema.py).
    `given`: whether it stands there. Returns it with its defaults; adds to `errors`."""
    if isinstance(spec, dict):
        return section(raw if given else {}, spec, name, errors)
    if isinstance(spec[0], dict):
        return list_of(raw if given else [], spec[0], spec[1], name, errors)
    if given:
        check_value(raw, spec, name, errors)
    return raw if given else spec[1]


def section(raw, schema, path, errors):
    """The section that `raw`, of any type, stands for, with its defaults; adds to `errors`."""
    config = {}
    if not isinstance(raw, dict):
        errors.append("%s: must be an object" % path)
        raw = {}
    check_keys(raw, schema, path + ".", errors)
    for key, spec in schema.items():
        where = path + "." + key
        if key in raw:
            check_value(raw[key], spec, where, errors)
            config[key] = raw[key]
        elif key not in SPARSE:
            if spec[1] is None and spec[0] != "pin":
                errors.append("%s: missing" % where)
            config[key] = spec[1]
    return config


def check_keys(keys, known, path, errors):
    for key in keys:
        if key not in known:
            errors.append("%s%s: unknown key; known are %s" % (path, key, ", ".join(sorted(known))))


def check_value(value, spec, where, errors):
    wanted = wrong(value, spec)
    if wanted:
        errors.append("%s: %s is not %s" % (where, short(value), wanted))


def list_of(raw, schema, most, where, errors):
    """The same of a list of sections."""
    if not isinstance(raw, list) or len(raw) > most:
        errors.append("%s: must be a list of at most %d" % (where, most))
        return []
    items = []
    for k, item in enumerate(raw):
        items.append(section(item, schema, "%s[%d]" % (where, k), errors))
        gc.collect()  # or each stands alone amid a kilobyte of garbage, and no large piece of heap is left
    return items


def short(value):
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def wrong(value, spec):
    """What would be right, when `value` is not; else None."""
    kind = spec[0]
    number = isinstance(value, int) and not isinstance(value, bool)
    if kind == "bool":
        return None if isinstance(value, bool) else "true or false"
    if kind == "int":
        return None if number and spec[2] <= value <= spec[3] else "%d to %d" % (spec[2], spec[3])
    if kind == "text":
        if isinstance(value, str) and spec[2] <= len(value) <= spec[3] and _printable(value):
            return None
        return "a text of %d to %d printable characters" % (spec[2], spec[3])
    if kind == "choice":
        good = isinstance(value, type(spec[2][0])) and value in spec[2]
        return None if good else "one of %s" % ", ".join([str(choice) for choice in spec[2]])
    if kind == "pin":
        return None if value is None or (number and 0 <= value <= 48) else "a GPIO number (0 to 48) or null"
    if kind == "ip":
        good = is_ip(value) or (value == spec[1] and isinstance(value, str))
        return None if good else 'an IPv4 address such as "192.0.2.1"'
    if kind == "ips":
        good = isinstance(value, list) and len(value) <= spec[2] and all([is_ip(one) for one in value])
        return None if good else 'a list of at most %d IPv4 addresses such as "192.0.2.1"' % spec[2]
    good = (number and 0 <= value <= 2) or (isinstance(value, str) and 0 < len(value) <= 80)
    return None if good else "a UART number (0 to 2) or the path of a serial device"


def _printable(text):
    return all([" " <= letter != "\x7f" for letter in text])


def is_ip(text):
    if not isinstance(text, str):
        return False
    parts = text.split(".")
    digits = all([letter in "0123456789" for letter in "".join(parts)])
    return digits and len(parts) == 4 and all([0 < len(part) < 4 and int(part) < 256 for part in parts])
