"""Improv over serial: Wi-Fi settings by the console's own line. Bytes in, packets out. No I/O, no clock.

A packet is "IMPROV", version 1, kind, length, data, and the sum of all bytes before it modulo 256; a line feed follows.
The line carries other bytes too (log lines, REPL). A byte 0x03 is Ctrl-C outside a packet and an RPC command within
one: a Receiver tells them apart.

Improv Wi-Fi, Serial (improv-wifi.com/serial), version 1.
"""

from micropython import const

_HEADER = b"IMPROV\x01"
_DATA_MAX = const(255)

# Kinds of packets
STATE, ERROR, RPC, RESULT = const(1), const(2), const(3), const(4)
# States
READY, PROVISIONING, PROVISIONED = const(2), const(3), const(4)
# Errors
NO_ERROR, INVALID_PACKET, UNKNOWN_COMMAND, CANNOT_CONNECT, UNKNOWN_ERROR = (
    const(0), const(1), const(2), const(3), const(0xFF),
)  # fmt: skip
# Commands
WIFI, GET_STATE, GET_INFO, GET_NETWORKS = const(1), const(2), const(3), const(4)
# What Receiver.feed() returns
NOTHING, PACKET, BROKEN, CTRL_C = const(0), const(1), const(2), const(3)

_CTRL_C = const(3)


class Receiver:
    """Takes the bytes of the line. `kind` and `data` are those of the packet that has come last."""

    def __init__(self) -> None:
        self.kind = 0
        self.data = b""
        self._begun = bytearray()  # of the packet under way, at most 7 + 2 + 255 bytes

    def is_within(self) -> bool:
        """True while the rest of a packet is awaited."""
        return len(self._begun) >= len(_HEADER)

    def drop(self) -> None:
        """Gives up the packet under way: its rest does not come."""
        self._begun = bytearray()

    def feed(self, byte: int) -> int:
        """Takes the next byte. PACKET: one has come whole. BROKEN: its sum was wrong. CTRL_C: that was Ctrl-C."""
        begun = self._begun
        n = len(begun)
        if n < len(_HEADER):
            if byte == _HEADER[n]:
                begun.append(byte)
                return NOTHING
            self._begun = bytearray(b"I" if byte == _HEADER[0] else b"")
            return CTRL_C if byte == _CTRL_C else NOTHING
        if n < len(_HEADER) + 2 or n < len(_HEADER) + 2 + begun[len(_HEADER) + 1]:
            begun.append(byte)
            return NOTHING
        self.drop()
        if sum(begun) & 0xFF != byte:
            return BROKEN
        self.kind = begun[len(_HEADER)]
        self.data = bytes(begun[len(_HEADER) + 2 :])
        return PACKET


def packet(kind: int, data: bytes) -> bytes:
    """A packet with its line feed. Raises ValueError for more than 255 bytes of data."""
    if len(data) > _DATA_MAX:
        raise ValueError("%d bytes of data: more than 255" % len(data))
    text = _HEADER + bytes((kind, len(data))) + data
    return text + bytes((sum(text) & 0xFF, 10))


def result(command: int, texts: "tuple[str | bytes, ...]") -> bytes:
    """The packet that answers `command` with these texts (str or bytes). Raises ValueError when they are too long."""
    data = b""
    for text in texts:
        raw = text if isinstance(text, bytes) else text.encode()
        if len(raw) > _DATA_MAX:
            raise ValueError("a text of %d bytes: more than 255" % len(raw))
        data += bytes((len(raw),)) + raw
    if len(data) > _DATA_MAX - 2:
        raise ValueError("%d bytes of texts: more than 253" % len(data))
    return packet(RESULT, bytes((command, len(data))) + data)


def command(data: bytes) -> "tuple[int, bytes]":
    """(command, its own data) of an RPC packet's data. Raises ValueError."""
    if len(data) < 2 or data[1] != len(data) - 2:
        raise ValueError("no RPC command")
    return data[0], data[2:]


def credentials(data: bytes) -> "tuple[bytes, bytes]":
    """(SSID, password) of the command WIFI. Raises ValueError."""
    texts = []
    at = 0
    for _ in range(2):
        if at >= len(data) or at + 1 + data[at] > len(data):
            raise ValueError("no SSID and password")
        texts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return texts[0], texts[1]
