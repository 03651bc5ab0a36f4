"""The registers by which SunSpec masters find a meter: at 40000 the common model (1), then 213 (floats) and 203
(integers with scale factors). Source: SunSpec Alliance, information models 1, 203 and 213.

The scale factors never change: masters may read them once. Powers come in steps of 10 W, so that 327 kW fit 16 bits;
what does not fit is "not implemented" in model 203, and right in 213.
"""

import struct

from micropython import const

from firmware import VERSION
from firmware.meters import profile_loader

_TYPING = const(0)
if _TYPING:
    from firmware.meters.profile import Profile

_BASE = const(40000)
_COMMON_WORDS = const(65)
_FLOATS = const(40069)
_FLOAT_WORDS = const(124)
_INTEGERS = const(40195)
_INTEGER_WORDS = const(105)
_END = const(40302)
_HEAD = const(2)  # registers of a model's id and length
# Both models have these groups in this order: (numbers of the points, unit, scale of the integers, its exponent as
# SunSpec counts it: a power factor is in percent there). An integer model has the exponent behind each group.
_GROUPS = (
    (b"\x0e\x09\x0a\x0b", "A", 0.1, -1), (b"\x04\x01\x02\x03\x08\x05\x06\x07", "V", 0.1, -1),
    (b"\x0f", "Hz", 0.01, -2), (b"\x10\x11\x12\x13", "W", 10, 1), (b"\x18\x19\x1a\x1b", "VA", 10, 1),
    (b"\x14\x15\x16\x17", "var", 10, 1), (b"\x1c\x1d\x1e\x1f", "", 0.0001, -2),
    (b"\x24\x25\x26\x27\x20\x21\x22\x23", "Wh", 1, 0),
)  # fmt: skip
_NAN = b"\x7f\xc0\x00\x00"
_NOT_FLOATS = const(24)  # apparent and reactive energies, which come last


def floats() -> "Profile":
    """The points of model 213, where they are."""
    rows = []
    address = _FLOATS + _HEAD
    for numbers, unit, _, _ in _GROUPS:
        for number in numbers:
            rows.append(_row(number, address, "float32", 1, unit))
            address += 2
    return _parsed(rows)


def integers() -> "Profile":
    """The points of model 203, where they are."""
    rows = []
    address = _INTEGERS + _HEAD
    for numbers, unit, scale, _ in _GROUPS:
        kind = "uint32" if unit == "Wh" else "int16"
        for number in numbers:
            rows.append(_row(number, address, kind, scale, unit))
            address += 2 if unit == "Wh" else 1
        address += 1
    return _parsed(rows)


def _row(number, address, kind, scale, unit):
    return [number, "p%d" % number, 3, address, kind, scale, unit, "net" if unit == "Wh" else "instantaneous"]


def _parsed(rows):
    return profile_loader.parse("SunSpec", {
        "columns": profile_loader.COLUMNS, "points": rows, "no_value": "sunspec", "gap": 3,
    })  # fmt: skip


def fixed(name: str, serial: str) -> "list[tuple[int, int, bytes]]":
    """[(function, first register, bytes)] of all that does not change: identity, ids and lengths of the models, scale
    factors, and what the gateway has no points for. `name`, `serial`: of the gateway, ASCII."""
    common = struct.pack(">4sHH", b"SunS", 1, _COMMON_WORDS)
    for text, words in (("meterport", 16), (name, 16), ("", 8), ("%d.%d.%d" % VERSION, 8), (serial, 16)):
        data = text.encode()[: 2 * words]
        common += data + bytes(2 * words - len(data))
    common += b"\xff\xff"  # address of the device: not implemented
    places = [
        (3, _BASE, common),
        (3, _FLOATS, struct.pack(">HH", 213, _FLOAT_WORDS)),
        (3, _INTEGERS - 2 * _NOT_FLOATS - 2, _NAN * _NOT_FLOATS),  # the last two are events: none
        (3, _INTEGERS, struct.pack(">HH", 203, _INTEGER_WORDS)),
        (3, _END, b"\xff\xff\x00\x00"),
    ]
    address = _INTEGERS + _HEAD
    for numbers, unit, _, exponent in _GROUPS:
        address += len(numbers) * (2 if unit == "Wh" else 1) + 1
        places.append((3, address - 1, struct.pack(">h", exponent)))
    return places
