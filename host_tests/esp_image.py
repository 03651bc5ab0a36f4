"""An image of an ESP32 as MicroPython's makeimg.py writes it: boot loader, partition table, application, FF between."""

import struct

from tools import partition_table
from tools.partition_table import APP, DATA, Row

OFFSET = 0x1000  # in flash, of an ESP32
VFS_AT, VFS_SIZE = 0x100000, 0x40000


def make(chip_id=0, rows=None, vfs_size=VFS_SIZE, version="0.1.0"):
    """With something incompressible for an application. `rows`: of its partition table; one slot and a file system
    without. `version`: of the firmware within."""
    header = bytes((0xE9, 1, 2, 0x20)) + bytes(8) + chip_id.to_bytes(2, "little") + bytes(9) + b"\1"
    segment = struct.pack("<II", 0x3FFF0000, 16) + bytes(16)
    boot = (header + segment).ljust(partition_table.AT - OFFSET, b"\xff")
    if rows is None:
        rows = [Row("nvs", DATA, 0x02, 0x9000, 0x6000), Row("factory", APP, 0x00, 0x10000, 0xF0000),
                Row("vfs", DATA, 0x81, VFS_AT, vfs_size)]  # fmt: skip
    table = b"".join(map(partition_table.pack, rows)).ljust(0x10000 - partition_table.AT, b"\xff")
    noise = b"".join((k * 2654435761 & 0xFFFFFFFF).to_bytes(4, "little") for k in range(8192))
    return boot + table + noise + b"\0firmware/app.py\0" + f"meterport {version}\0".encode() + bytes(100)
