"""Payloads of Sparkplug B (Eclipse Sparkplug 3.0.0, 6.4), which are Protocol Buffers: bytes in, bytes out.

A payload is  begin(ms), metrics, end(seq).  A metric is written from parts that the caller has: what does not change
between two metrics (its time, its properties) is encoded once. metric_size() says how long metric() will be, so that a
message may be written piece by piece once its length is known.
"""

from struct import pack

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

# Data types, 6.4.16
INT32 = const(3)
INT64 = const(4)
FLOAT = const(9)
BOOLEAN = const(11)
STRING = const(12)
NULL = b"\x38\x01"  # in place of a value (6.4.6, is_null)
HISTORICAL = b"\x28\x01"  # before a value that is not the present one (6.4.6, is_historical)
BAD = const(0)  # quality codes, 6.4.9.1; a metric without one is good
STALE = const(500)
REBIRTH = b"Node Control/Rebirth"  # 6.4.19
_BITS_64 = const(0xFFFFFFFFFFFFFFFF)
_BITS_28 = const(0xFFFFFFF)
_BYTES_MAX = const(10)  # of a varint
_DIGITS_MAX = const(15)  # of a timestamp
# Types of fields
_VARINT = const(0)
_EIGHT = const(1)  # bytes
_LENGTH = const(2)  # bytes behind their number
_FOUR = const(5)  # bytes
# Tags: number << 3 | type
_METRIC = const(0x12)
_NAME = const(0x0A)
_BOOLEAN = const(0x70)


def varint(n: int) -> bytes:
    """A number of at most 64 bits, 0 or more."""
    if n < 0x80:
        return bytes((n,))
    found = bytearray(_BYTES_MAX)
    return bytes(found[: put_varint(found, 0, n)])


def put_varint(buf: bytearray, at: int, n: int) -> int:
    """Writes the same to buf[at:]; returns where it ends. Four bytes at a time, since a number beyond 30 bits is an
    object in the heap, and so is each that is made of it."""
    while n > _BITS_28:
        low = n & _BITS_28
        n >>= 28
        end = at + 4
        while at < end:
            buf[at] = low & 0x7F | 0x80
            low >>= 7
            at += 1
    while n > 0x7F:
        buf[at] = n & 0x7F | 0x80
        n >>= 7
        at += 1
    buf[at] = n
    return at + 1


def varint_size(n: int) -> int:
    """The length of varint(n), for fewer than 2**28."""
    return 1 if n < 0x80 else 2 if n < 0x4000 else 3 if n < 0x200000 else 4


def begin(unix_ms: int) -> bytes:
    """The beginning of a payload, with the time at which it is sent."""
    return b"\x08" + varint(unix_ms)


def end(seq: int) -> bytes:
    """The end of a payload: its sequence number, 0 to 255."""
    return b"\x18" + varint(seq)


def timestamp(unix_ms: int) -> bytes:
    """The time of a metric."""
    return b"\x18" + varint(unix_ms)


def integer(value: int, datatype: int = INT64) -> bytes:
    """The value of an INT64, in two's complement where it is negative, or of an INT32, which is not."""
    return (b"\x58" if datatype == INT64 else b"\x50") + varint(value & _BITS_64)


def put_integer(buf: bytearray, at: int, value: int) -> int:
    """Writes the value of an INT64 to buf[at:], at most 11 bytes; returns where it ends."""
    buf[at] = 0x58
    return put_varint(buf, at + 1, value if value >= 0 else value & _BITS_64)


def single(value: float) -> bytes:
    """The value of a FLOAT."""
    return b"\x65" + pack("<f", value)


def boolean(value: bool) -> bytes:
    """The value of a BOOLEAN."""
    return b"\x70\x01" if value else b"\x70\x00"


def text(value: bytes) -> bytes:
    """The value of a STRING."""
    return b"\x7a" + varint(len(value)) + value


def properties(unit: bytes, quality: "int | None") -> bytes:
    """The properties of a metric (6.4.8): its unit (engUnit), b"" for none, and its quality; b"" where both are left
    out."""
    keys = values = b""
    if unit:
        keys = b"\x0a\x07engUnit"
        value = b"\x08\x0c\x42" + varint(len(unit)) + unit
        values = b"\x12" + varint(len(value)) + value
    if quality is not None:
        keys += b"\x0a\x07Quality"
        value = b"\x08\x03\x18" + varint(quality)
        values += b"\x12" + varint(len(value)) + value
    return keys and b"\x4a" + varint(len(keys) + len(values)) + keys + values


def metric_size(alias: int, others: int, name: int = 0) -> int:
    """The length of metric(): `others` are the lengths of its time, value and properties, `name` that of its name."""
    n = others + 2 + (1 + varint_size(alias) if alias else 0)
    if name:
        n += 1 + varint_size(name) + name
    return 1 + varint_size(n) + n


def metric(
    alias: int, time: bytes, datatype: int, value: bytes, properties: bytes = b"", name: bytes = b""
) -> bytes:  # fmt: skip
    """A metric, with `name` in a birth, without it in what follows; alias 0: without one. `value`: NULL, or of
    integer() and its like."""
    parts = b"\x10" + varint(alias) if alias else b""
    if name:
        parts = b"\x0a" + varint(len(name)) + name + parts
    parts += time + b"\x20" + varint(datatype)
    n = len(parts) + len(properties) + len(value)
    return b"".join((b"\x12", varint(n), parts, properties, value))


def asks_rebirth(payload: "bytes | memoryview") -> bool:
    """Whether a command (NCMD) has Node Control/Rebirth = true (6.4.19). False for what is no payload."""
    try:
        for tag, first, last in _fields(payload, 0, len(payload)):
            if tag == _METRIC:
                is_named = is_true = False
                for part, begin, end in _fields(payload, first, last):
                    if part == _NAME:
                        is_named = bytes(payload[begin:end]) == REBIRTH
                    elif part == _BOOLEAN:
                        is_true = payload[begin] != 0
                if is_named and is_true:
                    return True
    except (IndexError, ValueError):
        pass
    return False


def state(payload: "bytes | memoryview") -> "tuple[bool, int] | None":
    """(online, timestamp in ms) of a STATE of a host (6.4.26): JSON such as {"online":true,"timestamp":1749945600123}.
    None for what is none."""
    text = bytes(payload)
    for space in (b" ", b"\t", b"\r", b"\n"):
        text = text.replace(space, b"")
    online = text.partition(b'"online":')[2]
    timestamp = text.partition(b'"timestamp":')[2]
    digits = 0
    while digits < min(len(timestamp), _DIGITS_MAX) and 48 <= timestamp[digits] <= 57:
        digits += 1
    if not digits or not online.startswith((b"true", b"false")):
        return None
    return online.startswith(b"true"), int(timestamp[:digits])


def _fields(data: "bytes | memoryview", at: int, end: int) -> "Iterator[tuple[int, int, int]]":
    """Yields (tag, begin, end) of each field in data[at:end], and the place of its content. Raises IndexError or
    ValueError where it is no message."""
    while at < end:
        tag, at = _read_varint(data, at, end)
        kind = tag & 7
        size = 0
        begin = at
        if kind == _VARINT:
            _, at = _read_varint(data, at, end)
        elif kind == _LENGTH:
            size, begin = _read_varint(data, at, end)
            at = begin + size
        elif kind == _EIGHT or kind == _FOUR:
            at += 8 if kind == _EIGHT else 4
        else:
            raise ValueError("no type of a field")
        if at > end:
            raise ValueError("a field is cut off")
        yield tag, begin, at


def _read_varint(data: "bytes | memoryview", at: int, end: int) -> "tuple[int, int]":
    """(value, place behind it)"""
    value = shift = 0
    while True:
        if at >= end or shift >= 7 * _BYTES_MAX:
            raise ValueError("a number has no end")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
        shift += 7
