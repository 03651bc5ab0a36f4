"""Who was connected: a row for each client and service whose connections have ended.

In:  the end of each connection. Out: rows, for GET /api/sockets.
One buffer holds all of it, 552 bytes for 24 rows, made with the first connection. A client more takes the place of the
one that was gone for the longest time; how many had to give way is counted in `lost`. Counts stop at what their bytes
hold.
"""

import struct

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

ROWS = const(24)
# 1 + number of the service, 0 in a free row; address; seconds of the first opening and of the last end; requests;
# connections, closed before their time; most at once; why the last one ended
_ROW = "<B4sIIIHHBB"
_ROW_BYTES = const(23)
_KEY = const(5)
_LAST_S = const(9)  # where it stands in a row
_MOST_REQUESTS = const(0x3FFFFFFF)


class PastClients:
    """The rows; numbers of services are 0 to 254."""

    def __init__(self) -> None:
        self._rows = bytearray(ROWS * _ROW_BYTES)
        self.lost = 0

    def note(self, kind: int, ip: str, opened_s: int, now_s: int, requests: int, most: int, reason: int) -> None:
        """A connection of the client `ip` to the service `kind` has ended, which was one of `most`. `reason`: 0 when it
        ended by itself, else why it was closed before its time. An address that is not of IPv4 counts as 0.0.0.0."""
        try:
            address = bytes([int(part) for part in ip.split(".")])
        except ValueError:
            address = b""
        if len(address) != 4:
            address = bytes(4)
        row = self._find(bytes((kind + 1,)) + address)
        connections = closed = 0
        if row >= 0:
            _, _, first_s, _, before, connections, closed, most_before, _ = struct.unpack_from(_ROW, self._rows, row)
            opened_s = min(first_s, opened_s)
            requests += before
            most = max(most_before, most)
        else:
            row = self._find(bytes(_KEY))
            if row < 0:
                row = self._longest_gone()
                self.lost += 1
        struct.pack_into(
            _ROW, self._rows, row, kind + 1, address, opened_s, now_s, min(requests, _MOST_REQUESTS),
            min(connections + 1, 0xFFFF), min(closed + (1 if reason else 0), 0xFFFF), min(most, 255), reason,
        )  # fmt: skip

    def _find(self, key):
        """Where the row begins that begins with `key`, or -1."""
        at = self._rows.find(key)
        while at >= 0 and at % _ROW_BYTES:
            at = self._rows.find(key, at + 1)
        return at

    def _longest_gone(self):
        oldest = oldest_s = None
        for row in range(0, ROWS * _ROW_BYTES, _ROW_BYTES):
            last_s = struct.unpack_from("<I", self._rows, row + _LAST_S)[0]
            if oldest_s is None or last_s < oldest_s:
                oldest, oldest_s = row, last_s
        return oldest

    def rows(self) -> "Iterator[tuple]":
        """Yields (number of the service, address as a text, second of the first opening, of the last end, requests,
        connections, how many of them were closed before their time, most at once, reason of the last end)."""
        for row in range(0, ROWS * _ROW_BYTES, _ROW_BYTES):
            found = struct.unpack_from(_ROW, self._rows, row)
            if not found[0]:
                return
            yield (found[0] - 1, "%d.%d.%d.%d" % tuple(found[1])) + found[2:]
