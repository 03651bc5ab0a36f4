"""What is right in a configuration, of each key and each section by itself (schema.py). What they cannot know of each
other is in checks.py.

Errors are texts, "http.port: 70000 is not 1 to 65535": the place as the user writes it, and what would be right.
"""

import json
from collections import OrderedDict

ERRORS_MAX = 12
_SHOWN_MAX = 40
_SECRET = ("password",)  # keys whose values no error may show: errors are seen without a login


def tell(errors, text):
    """Adds to `errors`, which is bounded: a file that is wrong all over would fill the heap with texts."""
    if len(errors) < ERRORS_MAX:
        errors.append(text)


def part(name, spec, document, errors):
    """What stands in `document` under `name` (a key, a section or a list of sections: schema.py), with its defaults.
    None when anything in it is wrong, which is told in `errors`."""
    is_given = name in document
    raw = document.get(name)
    if isinstance(spec, dict):
        return section(raw if is_given else {}, spec, name, errors)
    if isinstance(spec[0], dict):
        items = list_of(raw if is_given else [], spec, name, errors)
        if items is None:
            return None
        items = [section(item, spec[0], "%s[%d]" % (name, k), errors) for k, item in enumerate(items)]
        return None if None in items else items
    if not is_given:
        return spec[1]
    wanted = wrong(raw, spec)
    if wanted:
        tell(errors, "%s: %s is not %s" % (name, short(raw), wanted))
    return None if wanted else raw


def list_of(raw, spec, name, errors):
    """`raw` when it is a list that is not too long, else None."""
    if isinstance(raw, list) and len(raw) <= spec[1]:
        return raw
    tell(errors, "%s: must be a list of at most %d" % (name, spec[1]))
    return None


def section(raw, spec, path, errors):
    """The section that `raw`, of any type, stands for, with its defaults; None when anything in it is wrong."""
    is_right = isinstance(raw, dict)
    if not is_right:
        tell(errors, "%s: must be an object" % path)
        raw = {}
    if not check_keys(raw, spec, path + ".", errors):
        is_right = False
    config = OrderedDict()
    for key, key_spec in spec.items():
        if key in raw:
            config[key] = raw[key]
            wanted = wrong(raw[key], key_spec)
            if wanted:
                shown = "this" if key in _SECRET else short(raw[key])
                tell(errors, "%s.%s: %s is not %s" % (path, key, shown, wanted))
                is_right = False
        else:
            config[key] = key_spec[1]
            if key_spec[1] is None and key_spec[0] != "pin":
                tell(errors, "%s.%s: missing" % (path, key))
                is_right = False
    return config if is_right else None


def check_keys(raw, spec, path, errors):
    """Whether all keys of `raw` are known."""
    is_right = True
    for key in raw:
        if key not in spec:
            tell(errors, "%s%s: unknown key; known are %s" % (path, key[:_SHOWN_MAX], ", ".join(sorted(spec))))
            is_right = False
    return is_right


def short(value):
    """JSON of `value`, cut where it is long."""
    text = json.dumps(value[:_SHOWN_MAX] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


def wrong(value, spec):
    """What would be right, when `value` is not; else None."""
    kind = spec[0]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if kind == "bool":
        return None if isinstance(value, bool) else "true or false"
    if kind == "int":
        return None if is_number and spec[2] <= value <= spec[3] else "%d to %d" % (spec[2], spec[3])
    if kind == "text":
        if isinstance(value, str) and spec[2] <= len(value) <= spec[3] and _is_printable(value):
            return None
        return "a text of %d to %d printable characters" % (spec[2], spec[3])
    if kind == "choice":
        is_right = isinstance(value, type(spec[2][0])) and value in spec[2]
        return None if is_right else "one of %s" % ", ".join([str(choice) for choice in spec[2]])
    if kind == "pin":
        return None if value is None or (is_number and 0 <= value <= 48) else "a GPIO number (0 to 48) or null"
    if kind == "ip":
        is_right = is_ip(value) or (value == spec[1] and isinstance(value, str))
        return None if is_right else 'an IPv4 address such as "192.0.2.1"'
    if kind == "ips":
        is_right = isinstance(value, list) and len(value) <= spec[2] and all([is_ip(one) for one in value])
        return None if is_right else 'a list of at most %d IPv4 addresses such as "192.0.2.1"' % spec[2]
    is_right = (is_number and 0 <= value <= 2) or (isinstance(value, str) and 0 < len(value) <= 80)
    return None if is_right else "a UART number (0 to 2) or the path of a serial device"


# Texts are looked at as bytes: MicroPython keeps each text of one letter for good.


def _is_printable(text):
    raw = text.encode()
    return not raw or (min(raw) >= 0x20 and 0x7F not in raw)


def is_ip(text):
    """Whether `text`, of any type, is a dotted quad."""
    if not isinstance(text, str):
        return False
    parts = text.encode().split(b".")
    return len(parts) == 4 and all([len(part) < 4 and part.isdigit() and int(part) < 256 for part in parts])


def has_only(text, allowed):
    """Whether all letters of `text` are letters (ASCII), digits, or bytes of `allowed`."""
    return all([one in allowed or 48 <= one <= 57 or 65 <= one <= 90 or 97 <= one <= 122 for one in text.encode()])
