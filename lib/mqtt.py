"""MQTT 3.1.1, the client's side (OASIS Standard, 29 October 2014): bytes in, bytes out.

What a client sends is written into a buffer of the caller's; what a broker sends is read by a Reader, which keeps the
first bytes of a packet and counts the rest, so that no packet is too long for it.
"""

from micropython import const

# Types of packets, 2.2.1
CONNACK = const(2)
PUBLISH = const(3)
PUBACK = const(4)
SUBACK = const(9)
PINGRESP = const(13)
PINGREQ = b"\xc0\x00"  # 3.12
DISCONNECT = b"\xe0\x00"  # 3.14
KEPT = const(192)  # bytes of a packet that a Reader keeps, unless it is told to keep more
_TEXT_MAX = const(65535)  # 1.5.3
_LENGTH_DIGITS = const(4)  # 2.2.3
_REFUSALS = (  # 3.2.2.3
    "", "another version of MQTT", "another client identifier", "not ready", "user or password", "not authorized",
)  # fmt: skip


class MqttError(ValueError):
    """What a broker has sent is no MQTT."""


def refusal(code: int) -> str:
    """Why a broker refuses a connection, by the return code of its CONNACK; "" for 0."""
    return _REFUSALS[code] if code < len(_REFUSALS) else "return code %d" % code


def connect(
    client: bytes, keep_alive_s: int, user: bytes, password: bytes, will_topic: bytes, will: bytes,
    is_clean: bool = True, is_retained: bool = True,
) -> bytes:  # fmt: skip
    """CONNECT with a will of QoS 1 (3.1), which is retained or not. `is_clean`: the session ends with the connection
    (3.1.2.4). Without a user there is no password either."""
    flags = (0x02 if is_clean else 0) | 0x04 | 1 << 3 | (0x20 if is_retained else 0)
    payload = _text(client) + _text(will_topic) + _text(will)
    if user:
        flags |= 0x80 | (0x40 if password else 0)
        payload += _text(user) + (_text(password) if password else b"")
    head = _text(b"MQTT") + bytes((4, flags, keep_alive_s >> 8, keep_alive_s & 0xFF))
    return b"\x10" + _length(len(head) + len(payload)) + head + payload


def publish(
    topic: bytes, payload: bytes, retain: bool = False, packet_id: int = 0, is_again: bool = False
) -> bytes:  # fmt: skip
    """PUBLISH (3.3): QoS 0, or QoS 1 with a `packet_id`. `is_again`: it was sent before (DUP)."""
    return publish_head(topic, len(payload), retain, packet_id, is_again) + payload


def publish_head(
    topic: bytes, size: int, retain: bool = False, packet_id: int = 0, is_again: bool = False
) -> bytes:  # fmt: skip
    """The same up to its payload, of which `size` bytes follow."""
    variable = _text(topic) + (bytes((packet_id >> 8, packet_id & 0xFF)) if packet_id else b"")
    first = 0x30 | (0x08 if is_again else 0) | (0x02 if packet_id else 0) | (0x01 if retain else 0)
    return bytes((first,)) + _length(len(variable) + size) + variable


def published(flags: int, body: bytes) -> "tuple[int, int]":
    """(packet identifier, where the payload begins) of a PUBLISH that was received; 0 where it has QoS 0. Raises
    MqttError where the body ends before its payload, or has QoS 2, which was not subscribed to."""
    at = 2 + (body[0] << 8 | body[1]) if len(body) > 1 else 2
    qos = flags >> 1 & 3
    end = at + 2 if qos else at
    if qos > 1 or len(body) < end:
        raise MqttError("no PUBLISH that was asked for")
    return (body[at] << 8 | body[at + 1] if qos else 0), end


def puback(packet_id: int) -> bytes:
    """PUBACK (3.4)."""
    return bytes((0x40, 2, packet_id >> 8, packet_id & 0xFF))


def subscribe(packet_id: int, topic: bytes, qos: int = 0) -> bytes:
    """SUBSCRIBE to a filter with at most this QoS (3.8)."""
    body = bytes((packet_id >> 8, packet_id & 0xFF)) + _text(topic) + bytes((qos,))
    return b"\x82" + _length(len(body)) + body


def _text(data: bytes) -> bytes:
    if len(data) > _TEXT_MAX:
        raise ValueError("a text of more than %d bytes" % _TEXT_MAX)
    return bytes((len(data) >> 8, len(data) & 0xFF)) + data


def _length(n: int) -> bytes:
    found = b""
    while True:
        digit = n & 0x7F
        n >>= 7
        found += bytes((digit | (0x80 if n else 0),))
        if not n:
            return found


class Reader:
    """Reads packets from a stream. After next() is True:

    kind    type of the packet, 1 to 14
    flags   its low four bits
    size    bytes behind its fixed header
    body    the first of them, at most `kept`"""

    def __init__(self, kept: int = KEPT) -> None:
        self._most = kept
        self.kind = 0
        self.flags = 0
        self.size = 0
        self.body = b""
        self._kept = bytearray()
        self._digits = 0  # of the length, -1 when it is known
        self._left = 0
        self._is_begun = False

    def next(self, data: memoryview) -> int:
        """Takes bytes of the stream, up to the end of the next packet: how many, negative when none has ended; the
        packet is that of the attributes otherwise. Raises MqttError."""
        at = 0
        while at < len(data):
            if not self._is_begun:
                self._begin(data[at])
                at += 1
            elif self._digits >= 0:
                self._take_digit(data[at])
                at += 1
            else:
                n = min(self._left, len(data) - at)
                self._kept.extend(data[at : at + min(n, self._most - len(self._kept))])
                self._left -= n
                at += n
            if self._is_begun and self._digits < 0 and not self._left:
                self._is_begun = False
                self.body = bytes(self._kept)
                return at
        return -at

    def _begin(self, first: int) -> None:
        self.kind = first >> 4
        self.flags = first & 0x0F
        if self.kind in (0, 15):
            raise MqttError("no packet: type %d" % self.kind)
        self._is_begun = True
        self._digits = 0
        self.size = 0
        self._kept = bytearray()

    def _take_digit(self, digit: int) -> None:
        self.size |= (digit & 0x7F) << 7 * self._digits
        self._digits += 1
        if digit & 0x80:
            if self._digits == _LENGTH_DIGITS:
                raise MqttError("no packet: its length has no end")
            return
        self._left = self.size
        self._digits = -1
