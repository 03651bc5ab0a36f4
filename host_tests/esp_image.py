"""An image of an ESP32 as MicroPython's makeimg.py writes it: boot loader, partition table, application, FF between."""

import hashlib
import struct
from functools import reduce

from tools import partition_table
from tools.partition_table import APP, DATA, Row

OFFSET = 0x1000  # in flash, of an ESP32
VFS_AT, VFS_SIZE = 0x100000, 0x40000


def make(chip_id=0, rows=None, vfs_size=VFS_SIZE, version="0.1.0", offset=OFFSET, frozen=b"\0firmware/app.py\0"):
    """With something incompressible for an application, and `frozen` in it. `rows`: of its partition table; one slot
    and a file system without. `version`: of the firmware within."""
    boot = part(chip_id, bytes(16)).ljust(partition_table.AT - offset, b"\xff")
    if rows is None:
        rows = [Row("nvs", DATA, 0x02, 0x9000, 0x6000), Row("factory", APP, 0x00, 0x10000, 0xF0000),
                Row("vfs", DATA, 0x81, VFS_AT, vfs_size)]  # fmt: skip
    packed = b"".join(map(partition_table.pack, rows))
    packed += b"\xeb\xeb".ljust(16, b"\xff") + hashlib.md5(packed).digest()
    table = packed.ljust(0x10000 - partition_table.AT, b"\xff")
    noise = b"".join((k * 2654435761 & 0xFFFFFFFF).to_bytes(4, "little") for k in range(8192))
    return boot + table + part(chip_id, noise + frozen + f"meterport {version}\0".encode() + bytes(100))


def part(chip_id, data):
    """An image of one segment, with checksum and SHA-256 (ESP-IDF, esp_app_format.h): a boot loader, an application."""
    data += bytes(-len(data) % 4)
    header = bytes((0xE9, 1, 2, 0x20)) + bytes(8) + chip_id.to_bytes(2, "little") + bytes(9) + b"\1"
    image = header + struct.pack("<II", 0x3FFF0000, len(data)) + data
    image += bytes(15 - len(image) % 16) + bytes((reduce(lambda x, y: x ^ y, data, 0xEF),))
    return image + hashlib.sha256(image).digest()
