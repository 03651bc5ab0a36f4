"""Tagged values (ASHRAE 135-2012, 20.2): Reader takes them apart in a datagram, Writer puts them into a buffer.

A tag is named by its first byte without the length: an application tag by the constants below, context tag n by
n << 4 | CONTEXT, and n << 4 | OPENING, n << 4 | CLOSING for what encloses others.
"""

from struct import pack_into, unpack_from

from micropython import const

from bacnet.apdu import INVALID_TAG, MISSING_REQUIRED_PARAMETER, PARAMETER_OUT_OF_RANGE, TOO_MANY_ARGUMENTS

NULL = const(0x00)
BOOLEAN = const(0x10)
UNSIGNED = const(0x20)
SIGNED = const(0x30)
REAL = const(0x40)
DOUBLE = const(0x50)
OCTETS = const(0x60)
CHARACTERS = const(0x70)
BITS = const(0x80)
ENUMERATED = const(0x90)
DATE = const(0xA0)
TIME = const(0xB0)
OBJECT = const(0xC0)

CONTEXT = const(0x08)
OPENING = const(0x0E)
CLOSING = const(0x0F)
END = const(-1)  # no more tags

INSTANCE_MAX = const(0x3FFFFF)  # 12.1.2
_UTF8 = const(0)


class Malformed(ValueError):
    """Parameters that are no right ones of their service. `reason` is the one of the reject that answers them."""

    def __init__(self, reason: int):
        super().__init__("reject reason %d" % reason)
        self.reason = reason


class TooLong(Exception):
    """The answer is longer than Writer.most."""


class Reader:
    """The tags of data[at:], one after the other.

    begin, length     the content of the last tag is data[begin:begin + length]; of a boolean `length` is its value
    type, instance    of the last object identifier"""

    def __init__(self) -> None:
        self.data = b""
        self.at = 0
        self.begin = 0
        self.length = 0
        self.type = 0
        self.instance = 0

    def start(self, data: bytes, at: int) -> None:
        """Begins with the tag at data[at:]."""
        self.data = data
        self.at = at

    def next(self) -> int:
        """The next tag, END behind the last. Moves behind its content. Raises Malformed."""
        data = self.data
        at = self.at
        end = len(data)
        if at >= end:
            return END
        first = data[at]
        at += 1
        tag = first & 0xF8
        length = first & 7
        if first >= 0xF0:  # a number above 14 has a byte of its own
            if at >= end:
                raise Malformed(INVALID_TAG)
            tag |= data[at] << 8
            at += 1
        if first & CONTEXT and length > 5:
            tag |= length
            length = size = 0
        elif length > 5:
            raise Malformed(INVALID_TAG)
        elif tag == BOOLEAN:
            size = 0
        else:
            if length == 5:
                at = self._extended_length(data, at, end)
                length = self.length
            size = length
        if at + size > end:
            raise Malformed(INVALID_TAG)
        self.begin = at
        self.length = length
        self.at = at + size
        return tag

    def _extended_length(self, data: bytes, at: int, end: int) -> int:
        """Reads a length of one, two or four bytes; returns where the content begins."""
        size = 1
        length = data[at] if at < end else 0
        if length > 253:
            size = 3
            if at + 3 > end or length == 255:  # no datagram is so long that it needs four
                raise Malformed(INVALID_TAG)
            length = data[at + 1] << 8 | data[at + 2]
        self.length = length
        return at + size

    def take(self, tag: int) -> None:
        """Moves behind the next tag, which must be `tag`. Raises Malformed."""
        at = self.at
        if tag & 6 == 6 and at < len(self.data) and self.data[at] == tag:  # opening or closing: one byte alone
            self.at = at + 1
            return
        found = self.next()
        if found != tag:
            raise Malformed(MISSING_REQUIRED_PARAMETER if found == END else INVALID_TAG)

    def skips(self, tag: int) -> bool:
        """Moves behind the next tag when it is `tag`, and says whether it was. Raises Malformed."""
        at = self.at
        data = self.data
        if at >= len(data) or (data[at] ^ tag) & 0xF8:
            return False  # no need to take it apart: another number or class
        if self.next() == tag:
            return True
        self.at = at
        return False

    def finish(self) -> None:
        """Raises Malformed unless all tags have been read."""
        if self.at < len(self.data):
            raise Malformed(TOO_MANY_ARGUMENTS)

    # The content of the tag that was read last

    def unsigned(self) -> int:
        """As an unsigned or enumerated number of at most 32 bits. Raises Malformed."""
        if not 1 <= self.length <= 4:
            raise Malformed(PARAMETER_OUT_OF_RANGE)
        value = 0
        for at in range(self.begin, self.begin + self.length):
            value = value << 8 | self.data[at]
        return value

    def object(self) -> None:
        """As an object identifier: into `type` and `instance`. Raises Malformed."""
        if self.length != 4:
            raise Malformed(INVALID_TAG)
        data = self.data
        at = self.begin
        self.type = data[at] << 2 | data[at + 1] >> 6
        self.instance = (data[at + 1] & 0x3F) << 16 | data[at + 2] << 8 | data[at + 3]

    def number(self) -> float:
        """As a REAL or a Double. Raises Malformed."""
        if self.length not in (4, 8):
            raise Malformed(INVALID_TAG)
        number: float = unpack_from(">f" if self.length == 4 else ">d", self.data, self.begin)[0]
        return number

    def octets(self) -> bytes:
        """As it is."""
        return self.data[self.begin : self.begin + self.length]

    def text(self) -> "bytes | None":
        """As a character string: its UTF-8, None when it is in another character set. Raises Malformed."""
        if not self.length:
            raise Malformed(INVALID_TAG)
        if self.data[self.begin] != _UTF8:
            return None
        return self.data[self.begin + 1 : self.begin + self.length]


class Writer:
    """Values for an answer, written into a buffer through a window: of all that is written only the bytes `first` to
    `first + room` land in the buffer, from `at` on. So an answer that is longer than a buffer is written again for each
    segment.

    buf     the buffer, for what is put straight into it: see room()
    length  bytes that were written, in the window or not"""

    def __init__(self, buf: bytearray):
        self.buf = self._buf = buf
        self._value = bytearray(9)  # tag and content of most values
        self._at = 0
        self._room = 0
        self.first = 0
        self.most = 0
        self.length = 0

    def start(self, at: int, first: int, room: int, most: int) -> None:
        """Begins anew. TooLong is raised once `length` exceeds `most`."""
        self._at = at
        self._room = room
        self.first = first
        self.most = most
        self.length = 0

    def put(self, data: "bytes | bytearray", size: int) -> None:
        """Writes data[:size]. Raises TooLong."""
        k = self.length - self.first
        self.length += size
        if self.length > self.most:
            raise TooLong
        room = self._room
        if k >= room or k + size <= 0:
            return
        buf = self._buf
        at = self._at + k
        if k < 0 or size > room - k:  # partly in the window
            for byte in range(max(0, -k), min(size, room - k)):
                buf[at + byte] = data[byte]
            return
        for byte in range(size):
            buf[at + byte] = data[byte]

    def is_before(self, size: int) -> bool:
        """Whether the next `size` bytes lie before the window; they count as written then."""
        if self.length + size > self.first:
            return False
        self.length += size
        return True

    def room(self) -> int:
        """How many bytes may be put straight into the buffer, from buf[next_at()] on: written() counts them."""
        k = self.length - self.first
        return 0 if k < 0 else min(self._room - k, self.most - self.length)

    def next_at(self) -> int:
        """Where in the buffer the next byte goes."""
        return self._at + self.length - self.first

    def written(self, size: int) -> None:
        """`size` bytes have been put into the buffer, no more than there was room() for."""
        self.length += size

    def mark(self, tag: int) -> None:
        """Writes a tag of one byte alone: opening or closing, or a boolean with its value."""
        k = self.length - self.first
        self.length += 1
        if self.length > self.most:
            raise TooLong
        if 0 <= k < self._room:
            self._buf[self._at + k] = tag

    def unsigned(self, tag: int, number: int) -> None:
        """Writes an unsigned or enumerated number below 2^32."""
        value = self._value
        if number < 0x100:
            value[0] = tag | 1
            value[1] = number
            self.put(value, 2)
            return
        size = 2 if number < 0x10000 else 3 if number < 0x1000000 else 4
        value[0] = tag | size
        for k in range(size, 0, -1):
            value[k] = number & 0xFF
            number >>= 8
        self.put(value, size + 1)

    def object(self, tag: int, kind: int, instance: int) -> None:
        """Writes an object identifier."""
        value = self._value
        value[0] = tag | 4
        value[1] = kind >> 2
        value[2] = (kind & 3) << 6 | instance >> 16
        value[3] = instance >> 8 & 0xFF
        value[4] = instance & 0xFF
        self.put(value, 5)

    def real(self, tag: int, number: float) -> None:
        """Writes a REAL: 32 bits."""
        self._value[0] = tag | 4
        pack_into(">f", self._value, 1, number)
        self.put(self._value, 5)

    def double(self, tag: int, number: "int | None") -> None:
        """Writes an integer of less than 2^53 as a Double, exactly; None as NaN. In integers, for floats have 24 bits
        on the chips."""
        value = self._value
        value[0] = tag | 5
        value[1] = 8
        for k in range(2, 9):
            value[k] = 0
        self.put(value, 2)
        if number is None:
            value[0] = 0x7F
            value[1] = 0xF8
        else:
            _write_double(value, number)
        self.put(value, 8)

    def text(self, tag: int, text: bytes) -> None:
        """Writes a character string in UTF-8."""
        self.octets(tag, b"\x00", text)

    def octets(self, tag: int, head: bytes, data: bytes) -> None:
        """Writes a string of `head` and `data`: octets, or bits with the number of unused ones as head."""
        value = self._value
        size = len(head) + len(data)
        if size > 253:
            value[0] = tag | 5
            value[1] = 254
            value[2] = size >> 8
            value[3] = size & 0xFF
            self.put(value, 4)
        elif size > 4:
            value[0] = tag | 5
            value[1] = size
            self.put(value, 2)
        else:
            self.mark(tag | size)
        self.put(head, len(head))
        self.put(data, len(data))

    def four(self, tag: int, one: int, two: int, three: int, four: int) -> None:
        """Writes a date (year - 1900, month, day, day of the week from Monday = 1) or a time (hour, minute, second,
        hundredths); 255 where a part is not known."""
        value = self._value
        value[0] = tag | 4
        value[1] = one
        value[2] = two
        value[3] = three
        value[4] = four
        self.put(value, 5)

    def error(self, number: int) -> None:
        """Writes class and code of an error."""
        self.unsigned(ENUMERATED, number >> 8)
        self.unsigned(ENUMERATED, number & 0xFF)


def _write_double(buf: bytearray, number: int) -> None:
    """An integer of less than 2^53 as IEEE 754 binary64 at buf[0:8], which is 0 from byte 2 on."""
    buf[0] = buf[1] = 0
    if not number:
        return
    sign = 0x80 if number < 0 else 0
    number = abs(number)
    exponent = 52
    while number >> 53:  # what has more bits loses its last
        number >>= 1
        exponent += 1
    while not number >> 52:
        number <<= 1
        exponent -= 1
    exponent += 1023
    for k in range(7, 0, -1):
        buf[k] = number & 0xFF
        number >>= 8
    buf[1] = (buf[1] & 0x0F) | (exponent & 0x0F) << 4
    buf[0] = sign | exponent >> 4
