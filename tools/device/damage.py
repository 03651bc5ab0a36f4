"""Whether an image is as it was made: by the .sha256 beside it, and by what an image of an ESP32 says of itself.

In:  an image's path and content.
Out: UsageError when it is damaged or cut.
Sources: ESP-IDF's image format (a checksum of the segments, then the SHA-256 of all before it) by esptool's reader, and
its partition table (the MD5 of its rows in a row of its own).
"""

import hashlib
import struct
from pathlib import Path

from tools import partition_table
from tools.device.port import UsageError

_MD5_MAGIC, _MD5_AT = b"\xeb\xeb", 16  # in a row of 32 bytes
_ROW = 32
_ERASED = 0xFF


def check_sum(path: "str | Path", content: bytes) -> None:
    """Compares an image with the .sha256 beside it, in the form of sha256sum; passes where there is none. Raises
    UsageError."""
    sums = Path(f"{path}.sha256")
    if not sums.exists():
        return
    try:
        wanted = sums.read_text(encoding="ascii").split()[:1]
    except (OSError, ValueError) as error:
        raise UsageError(f"{sums}: {error}") from None
    if wanted != [hashlib.sha256(content).hexdigest()]:
        raise UsageError(f"{path} is not as {sums.name} says: make or copy both again; nothing was written")


def check_esp_image(path: "str | Path", content: bytes, chip: str, offset: int) -> None:
    """Checks boot loader, partition table and applications of an image that is written at `offset`, then check_sum().
    Raises UsageError."""

    def refuse(what: str) -> None:
        raise UsageError(f"{path} is damaged or cut, {what}: make or copy it again; nothing was written")

    check_sum(path, content)
    at = partition_table.AT - offset
    table = content[at : at + partition_table.LENGTH]
    rows = list(partition_table.rows(table))
    digest = table[len(rows) * _ROW :][:_ROW]
    if not rows:
        refuse(f"it has no partition table at {partition_table.AT:#x}")
    if digest.startswith(_MD5_MAGIC) and digest[_MD5_AT:] != hashlib.md5(table[: len(rows) * _ROW]).digest():
        refuse("the MD5 of its partition table is wrong")
    parts = {"boot loader": content[:at]}
    for row in rows:
        begin = row.offset - offset
        if row.type == partition_table.APP and content[begin : begin + 1] not in (b"", bytes((_ERASED,))):
            parts[f"application in {row.label}"] = content[begin : begin + row.size]
    if len(parts) == 1:
        refuse("it ends before its application")
    for name, part in parts.items():
        fault = _fault(part, chip)
        if fault:
            refuse(f"the {name}: {fault}")


def _fault(part: bytes, chip: str) -> str:
    """What is wrong with a boot loader or an application, "" when nothing is."""
    from esptool.bin_image import LoadFirmwareImage  # slow to import

    try:
        image = LoadFirmwareImage(chip, part)
    except (RuntimeError, struct.error, TypeError) as error:  # FatalError is one; the others where it ends in a header
        return str(error)
    if image.checksum != image.calculate_checksum():
        return "its checksum is wrong"
    if image.append_digest and image.stored_digest != image.calc_digest:
        return "its SHA-256 is wrong"
    return ""
