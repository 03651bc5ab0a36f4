"""Partition tables of an ESP32: rows of the binary table within an image, and of the CSV file that it is made of.

Source: ESP-IDF's partition tables (components/partition_table/gen_esp32part.py).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

AT = 0x8000  # in flash, the default of ESP-IDF
LENGTH = 0xC00
_ROW = struct.Struct("<HBBII16sI")  # magic, type, subtype, offset, size, label, flags
_MAGIC = 0x50AA
APP, DATA = 0, 1
_TYPES = {"app": APP, "data": DATA}
_SUBTYPES = {
    APP: {"factory": 0x00, "ota_0": 0x10, "ota_1": 0x11},
    DATA: {"ota": 0x00, "phy": 0x01, "nvs": 0x02, "fat": 0x81},
}


class Row(NamedTuple):
    """A partition. `offset` in flash and `size` in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int


def rows(table: bytes) -> Iterator[Row]:
    """The rows of a binary table, up to its end."""
    for at in range(0, len(table) - _ROW.size + 1, _ROW.size):
        magic, kind, subtype, offset, size, label, _ = _ROW.unpack_from(table, at)
        if magic != _MAGIC:
            return
        yield Row(label.rstrip(b"\0").decode("ascii", "replace"), kind, subtype, offset, size)


def pack(row: Row) -> bytes:
    """A row of a binary table."""
    return _ROW.pack(_MAGIC, row.type, row.subtype, row.offset, row.size, row.label.encode(), 0)


def rows_of_csv(text: str) -> Iterator[Row]:
    """The rows of a CSV file that names offset and size of each. Raises ValueError."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            label, kind, subtype, offset, size = (field.strip() for field in line.split(",")[:5])
            number = _TYPES[kind]
            yield Row(label, number, _SUBTYPES[number][subtype], int(offset, 0), int(size, 0))
