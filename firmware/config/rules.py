"""Checks each key and each section of a configuration by itself, by the rows of schema.py; checks.py compares them
with each other.

Errors are texts, "http.port: 70000 is not 1 to 65535": the place as the user writes it, and what would be right.
"""

import json
from collections import OrderedDict

from micropython import const

from firmware.config.schema import find

_TYPING = const(0)
if _TYPING:
    from typing import Any

ERRORS_MAX = const(12)
_SHOWN_MAX = const(40)
_SECRET = const("password")  # begins the keys whose values no error may show: errors are seen without a login
# Characters that no text may hold, since they change how a line of the page, the log or a file is shown: (first, last,
# what they are). Unicode Standard, 23.1, 23.2, 23.6.
_UNPRINTABLE = (
    (0x00, 0x1F, "a control character"), (0x7F, 0x9F, "a control character"), (0x061C, 0x061C, "a bidirectional mark"),
    (0x200E, 0x200F, "a bidirectional mark"), (0x2028, 0x2029, "a line separator"),
    (0x202A, 0x202E, "a bidirectional mark"), (0x2066, 0x2069, "a bidirectional mark"),
    (0xD800, 0xDFFF, "half of a character"),
)  # fmt: skip


def add_error(errors: list, text: str) -> None:
    """Appends to `errors`, which is bounded: a file that is wrong all over would fill the heap with texts."""
    if len(errors) < ERRORS_MAX:
        errors.append(text)


def part(row: tuple, document: dict, errors: list) -> "Any":
    """The value in `document` of a row at the top of the schema (key, section or list of sections), with defaults. None
    when anything in it is wrong, which is added to `errors`."""
    name, kind = row[0], row[1]
    if kind == "section":
        return section(document.get(name, {}), row[2], name, errors)
    if kind == "list":
        items = list_of(document.get(name, []), row, errors)
        if items is None:
            return None
        items = [section(item, row[2], "%s[%d]" % (name, k), errors) for k, item in enumerate(items)]
        return None if None in items else items
    if name not in document:
        return row[2]
    value = document[name]
    wanted = correction(value, row)
    if wanted:
        add_error(errors, "%s: %s is not %s" % (name, shortened(value), wanted))
    return None if wanted else value


def list_of(value: "Any", row: tuple, errors: list) -> "list | None":
    """`value` when it is a list that is not too long for the row of its kind, else None."""
    if isinstance(value, list) and len(value) <= row[3]:
        return value
    add_error(errors, "%s: must be a list of at most %d" % (row[0], row[3]))
    return None


def section(value: "Any", rows: tuple, path: str, errors: list) -> "dict | None":
    """The section `value`, of any type, with defaults; None when anything in it is wrong, which is added to `errors`.
    `path` is its place, as "http" or "meters[2]"."""
    is_right = isinstance(value, dict)
    if not is_right:
        add_error(errors, "%s: must be an object" % path)
        value = {}
    if not check_keys(value, rows, path + ".", errors):
        is_right = False
    config: dict = OrderedDict()
    for row in rows:
        key, kind, default = row[0], row[1], row[2]
        if key in value:
            config[key] = value[key]
            wanted = correction(value[key], row)
            if wanted:
                shown = "this" if key.startswith(_SECRET) else shortened(value[key])
                add_error(errors, "%s.%s: %s is not %s" % (path, key, shown, wanted))
                is_right = False
        else:
            config[key] = list(default) if isinstance(default, tuple) else default
            if default is None and kind != "pin":
                add_error(errors, "%s.%s: missing" % (path, key))
                is_right = False
    return config if is_right else None


def check_keys(document: dict, rows: tuple, path: str, errors: list) -> bool:
    """True when each key of `document` is the name of a row; others are added to `errors`."""
    is_right = True
    for key in document:
        if find(key, rows) is None:
            known = ", ".join(sorted([row[0] for row in rows]))
            add_error(errors, "%s%s: unknown key; known are %s" % (path, printable(key[:_SHOWN_MAX]), known))
            is_right = False
    return is_right


def shortened(value: "Any") -> str:
    """JSON of `value`, cut where it is long."""
    text = printable(json.dumps(value[:_SHOWN_MAX] if isinstance(value, str) else value))
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


def correction(value: "Any", row: tuple) -> "str | None":
    """None when `value`, of any type, is right for the row of a key; else a text that says what would be right."""
    kind = row[1]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if kind == "bool":
        return None if isinstance(value, bool) else "true or false"
    if kind == "int":
        return None if is_number and row[3] <= value <= row[4] else "%d to %d" % (row[3], row[4])
    if kind == "text" or kind == "lines":
        wanted = "a text of %d to %d printable characters" % (row[3], row[4])
        if not isinstance(value, str) or not row[3] <= len(value) <= row[4]:
            return wanted
        code, what = _first_unprintable(value.replace("\n", "") if kind == "lines" else value)
        return None if code < 0 else "%s: U+%04X is %s" % (wanted, code, what)
    if kind == "choice":
        is_right = isinstance(value, type(row[3][0])) and value in row[3]
        return None if is_right else "one of %s" % ", ".join([str(choice) for choice in row[3]])
    if kind == "pin":
        return None if value is None or _is_pin(value) else "a GPIO number (0 to 48) or null"
    if kind == "ip":
        is_right = is_ip(value) or (value == row[2] and isinstance(value, str))
        return None if is_right else 'an IPv4 address such as "192.0.2.1"'
    if kind == "ips":
        is_right = isinstance(value, list) and len(value) <= row[3] and all([is_ip(address) for address in value])
        return None if is_right else 'a list of at most %d IPv4 addresses such as "192.0.2.1"' % row[3]
    if kind == "names":
        is_right = isinstance(value, list) and len(value) <= row[3] and all([_is_host_name(name) for name in value])
        return None if is_right else 'a list of at most %d host names such as "meters.example.org"' % row[3]
    if kind == "pins":
        is_right = isinstance(value, list) and len(value) <= row[3] and all([_is_pin(pin) for pin in value])
        return None if is_right else "a list of at most %d GPIO numbers (0 to 48)" % row[3]
    if kind == "drawing":
        is_right = isinstance(value, list) and len(value) <= row[3] and all([_is_line(line, row[4]) for line in value])
        return None if is_right else "a list of at most %d texts of at most %d printable characters" % row[3:5]
    is_path = isinstance(value, str) and 0 < len(value) <= 80 and _first_unprintable(value)[0] < 0
    return (
        None
        if is_path or (is_number and 0 <= value <= 2)
        else "a UART number (0 to 2), a line of the board, or the path of a serial device"
    )


# Texts are looked at as bytes: MicroPython keeps each text of one letter for good.


def _first_unprintable(text):
    """(code point, what it is) of the first character of _UNPRINTABLE in `text`; (-1, "") without any."""
    code = more = 0
    for byte in _utf8(text):
        if more:
            code = code << 6 | byte & 0x3F
            more -= 1
        elif byte < 0x80:
            code = byte
        else:
            more = 1 + (byte >= 0xE0) + (byte >= 0xF0)
            code = byte & 0x3F >> more
        if not more:
            for first, last, what in _UNPRINTABLE:
                if first <= code <= last:
                    return code, what
    return -1, ""


def printable(text: str) -> str:
    """`text` itself, or where it holds a character of _UNPRINTABLE its ASCII with "?" for each other byte."""
    if _first_unprintable(text)[0] < 0:
        return text
    return bytes([byte if 0x20 <= byte < 0x7F else 0x3F for byte in _utf8(text)]).decode()


def _utf8(text):
    return text.encode("utf-8", "surrogatepass")  # CPython refuses halves of characters otherwise


def is_ip(text: "Any") -> bool:
    """True when `text`, of any type, is a dotted quad."""
    if not isinstance(text, str):
        return False
    parts = _utf8(text).split(b".")
    return len(parts) == 4 and all([len(part) < 4 and part.isdigit() and int(part) < 256 for part in parts])


def _is_host_name(text: "Any") -> bool:
    return isinstance(text, str) and 0 < len(text) <= 64 and has_only(text, b"-.")


def _is_pin(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 48


def _is_line(text, longest):
    return isinstance(text, str) and len(text) <= longest and _first_unprintable(text)[0] < 0


def has_only(text: str, allowed: bytes) -> bool:
    """True when all of `text` is letters (ASCII), digits, or bytes of `allowed`."""
    return all([one in allowed or 48 <= one <= 57 or 65 <= one <= 90 or 97 <= one <= 122 for one in _utf8(text)])
