"""The upload of the Obvius AcquiSuite, as its receivers take it: log lines, gzip, multipart/form-data. Codec only.

Source: the sample receivers of the Obvius upload kit and AcquiSuite's manual. A log line is
'YYYY-MM-DD HH:MM:SS',error,low alarms,high alarms,value,value,...  in UTC; an empty value is invalid. Its time is the
key by which a receiver knows what it has already. The file is gzip; here of stored blocks only, for MicroPython has no
compressor everywhere: 5 bytes for each block (RFC 1951, 3.2.4; RFC 1952).
"""

from binascii import crc32
from struct import pack

import iso8601

BOUNDARY = b"----meterport-7d9f1c52e83b46a0"  # in no log line and in no name: these have no line breaks
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952, 2.3: deflate, no name, no time, unknown system
DELIVERED = b"SUCCESS"  # the line of an answer that says so
NO_ERROR = 0
NO_RESPONSE = 139  # the device failed to respond


def line_head(unix_s: int, error: int) -> bytes:
    """The beginning of a log line; values follow, each behind a comma."""
    text = iso8601.format(unix_s)
    return b"'%s %s',%d,0,0" % (text[:10], text[11:19], error)


def stored_block(data: "bytes | bytearray | memoryview", is_last: bool = False) -> bytes:
    """The head of a stored block of deflate; `data` (65535 bytes at most) comes behind it."""
    return pack("<BHH", int(is_last), len(data), 0xFFFF ^ len(data))


def gzip_tail(crc: int, size: int) -> bytes:
    """The last, empty block and what follows it. `crc`: crc32 of all that was stored, `size`: its bytes."""
    return stored_block(b"", True) + pack("<II", crc, size & 0xFFFFFFFF)


def update_crc(data: "bytes | bytearray | memoryview", crc: int) -> int:
    """The crc32 of what `crc` stands for and `data` behind it."""
    result: int = crc32(data, crc)
    return result


def form_head(fields: "list[tuple[bytes, bytes]]", file_name: bytes) -> bytes:
    """The form up to the bytes of the file (RFC 7578)."""
    parts = []
    for name, value in fields:
        parts.append(b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (BOUNDARY, name, value))
    parts.append(
        b'--%s\r\nContent-Disposition: form-data; name="LOGFILE"; filename="%s"\r\n'
        b"Content-Type: application/x-gzip\r\n\r\n" % (BOUNDARY, file_name)
    )
    return b"".join(parts)


def form_tail() -> bytes:
    """What comes behind the file."""
    return b"\r\n--%s--\r\n" % BOUNDARY
