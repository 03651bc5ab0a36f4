"""DNS look-up of an IPv4 address: a query into the caller's buffer, an answer out of it. No socket, no clock.
And answer(), for a server that has one address for all names.

query() writes one A question with recursion desired; parse() takes the first address out of the reply,
following CNAMEs within it. Buffers are the caller's: 271 bytes hold any query, 512 any reply over UDP without
EDNS (RFC 1035 2.3.4). Outside data cannot make it run long: names end at 255 bytes, compression only points
backwards, 8 CNAMEs at most.

RFC 1035 4 (messages, names, compression), RFC 1123 2.1 (host names), RFC 2181 (TTL, truncation).
"""

import struct

from micropython import const

_HEADER_SIZE = const(12)  # RFC 1035 4.1.1
_LABEL_MAX = const(63)  # RFC 1035 2.3.4
_NAME_MAX = const(253)  # RFC 1035 2.3.4: 255 on the wire with the first length byte and the root
_WIRE_MAX = const(255)
_CNAME_MAX = const(8)  # ours: chains of real names are 1 to 4 long
_TYPE_A = const(1)
_TYPE_CNAME = const(5)
_TYPE_ANY = const(255)
_CLASS_IN = const(1)
_FLAGS_QUERY = const(0x0100)  # RD

_RCODES = ("", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")  # RFC 1035 4.1.1


class DnsError(Exception):
    """A reply without an address for us. `reason` says why.

    foreign: True when it is no answer to our query at all (keep waiting for the real one), False when it is
    the server's answer.
    """

    def __init__(self, reason: str, foreign: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.foreign = foreign


def query(buf: bytearray, id: int, name: str) -> int:
    """Writes a query for the A records of host name `name` into buf and returns its length.

    id: 0..65535, random for each query. Raises ValueError, with a text for the user, on a name that is none.
    """
    if not 0 <= id <= 0xFFFF:
        raise ValueError("query id %d: not 0..65535" % id)
    wire = _wire(name)
    end = _HEADER_SIZE + len(wire)
    if len(buf) < end + 4:
        raise ValueError("buffer of %d bytes, %d needed" % (len(buf), end + 4))
    struct.pack_into(">HHHHHH", buf, 0, id, _FLAGS_QUERY, 1, 0, 0, 0)
    buf[_HEADER_SIZE:end] = wire
    struct.pack_into(">HH", buf, end, _TYPE_A, _CLASS_IN)
    return end + 4


def parse(buf: bytes, n: int, id: int, name: str) -> tuple[str, int]:
    """("a.b.c.d", seconds it may be kept) from the reply in buf[:n] to query(.., id, name). Raises DnsError.

    The time is the shortest of the CNAMEs and the address followed.
    """
    if n < _HEADER_SIZE:
        raise DnsError("short packet", True)
    reply_id, flags, questions, answers = struct.unpack_from(">HHHH", buf, 0)
    if reply_id != id:
        raise DnsError("wrong id", True)
    if flags & 0xF800 != 0x8000:  # QR set, opcode 0
        raise DnsError("not a response", True)
    rcode = flags & 15
    if questions == 0 and rcode:  # a server that could not read the question may leave it out
        raise DnsError(_rcode(rcode))
    wanted = _wire(name).lower()  # length bytes are below 64 and stay as they are
    end = _HEADER_SIZE + len(wanted)
    first = end + 4  # the answer records
    if (
        questions != 1
        or first > n
        or bytes(buf[_HEADER_SIZE:end]).lower() != wanted  # nothing stands before it that it could point to
        or struct.unpack_from(">HH", buf, end) != (_TYPE_A, _CLASS_IN)
    ):
        raise DnsError("not our question", True)
    if rcode:
        raise DnsError(_rcode(rcode))
    if flags & 0x0200:  # TC: RFC 2181 9, the rest is only to be had over TCP
        raise DnsError("truncated")

    ttl_s = 0x7FFFFFFF
    for _ in range(_CNAME_MAX + 1):
        # Nothing promises an order of the records, so each name is looked for among all of them.
        address, target, record_ttl_s = _find(buf, n, first, answers, wanted)
        ttl_s = min(ttl_s, record_ttl_s)
        if address:
            return address, ttl_s
        if not target:
            raise DnsError("no A record")
        wanted = target
    raise DnsError("more than 8 CNAMEs")


def answer(query: bytes, ip: str) -> bytes:
    """The answer that gives `ip`, to be used once, for the name in `query`, whatever it is; b"" when `query` is no
    query of one name. Of other records than A there are none (RFC 2308 2.2)."""
    n = len(query)
    if n < _HEADER_SIZE + 5:
        return b""
    id, flags, questions = struct.unpack_from(">HHH", query, 0)
    if flags & 0xF800 or questions != 1:  # a response, or another opcode
        return b""
    end = _HEADER_SIZE
    while query[end]:
        end += 1 + query[end]
        if query[_HEADER_SIZE] > _LABEL_MAX or end >= n or query[end] > _LABEL_MAX or end > _HEADER_SIZE + _WIRE_MAX:
            return b""
    end += 5
    if end > n:
        return b""
    kind, class_ = struct.unpack_from(">HH", query, end - 4)
    has_answer = class_ == _CLASS_IN and kind in (_TYPE_A, _TYPE_ANY)
    # QR, AA, RD as it came, RA
    head = struct.pack(">HHHHHH", id, 0x8480 | flags & _FLAGS_QUERY, 1, has_answer, 0, 0)
    if not has_answer:
        return head + query[_HEADER_SIZE:end]
    record = struct.pack(">HHHIH", 0xC000 | _HEADER_SIZE, _TYPE_A, _CLASS_IN, 0, 4)
    return head + query[_HEADER_SIZE:end] + record + bytes([int(part) for part in ip.split(".")])


def is_ipv4(text: str) -> bool:
    """Whether `text` is an IPv4 address: four decimal numbers 0..255 without leading zeros."""
    parts = text.split(".")
    if len(parts) != 4:
        return False
    for part in parts:
        if not 1 <= len(part) <= 3 or (part[0] == "0" and len(part) > 1):
            return False
        for c in part:
            if not "0" <= c <= "9":
                return False
        if int(part) > 255:
            return False
    return True


def _wire(name: str) -> bytes:
    """Host name as labels with their lengths and the root at the end (RFC 1035 3.1)."""
    if name.endswith("."):
        name = name[:-1]
    if not 1 <= len(name) <= _NAME_MAX:
        raise ValueError("host name: %d characters, not 1..253" % len(name))
    wire = bytearray()
    for label in name.split("."):
        if not 1 <= len(label) <= _LABEL_MAX:
            raise ValueError("host name: label '%s': %d characters, not 1..63" % (label, len(label)))
        for c in label:
            if not ("a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c == "-" or c == "_"):
                raise ValueError("host name: %r in '%s' is not a letter, digit, '-' or '_'" % (c, label))
        if label[0] == "-" or label[-1] == "-":
            raise ValueError("host name: label '%s' starts or ends with '-'" % label)
        wire.append(len(label))
        wire.extend(label.encode())
    wire.append(0)
    return bytes(wire)


def _rcode(rcode: int) -> str:
    return _RCODES[rcode] if rcode < len(_RCODES) else "rcode %d" % rcode


def _fields(form: str, size: int, buf: bytes, n: int, pos: int) -> tuple[int, ...]:
    """struct fields at buf[pos:pos + size], all of it below n."""
    if pos + size > n:
        raise DnsError("runs past the end")
    return struct.unpack_from(form, buf, pos)


def _name(buf: bytes, n: int, pos: int) -> tuple[bytes, int]:
    """(name at pos in lower case as labels without compression, index behind it) (RFC 1035 4.1.4)."""
    wire = bytearray()
    after = 0
    earliest = pos  # a pointer must lead before everything read so far, so that no chain of them can loop
    while True:
        if pos >= n:
            raise DnsError("runs past the end")
        size = buf[pos]
        if size >= 0xC0:
            target = _fields(">H", 2, buf, n, pos)[0] & 0x3FFF
            if not after:
                after = pos + 2
            if target >= earliest:
                raise DnsError("compression does not point backwards")
            earliest = pos = target
            continue
        if size > _LABEL_MAX:
            raise DnsError("unknown label type")
        wire.extend(buf[pos : pos + 1 + size])  # when that leads past n, the next turn sees it
        if len(wire) > _WIRE_MAX:
            raise DnsError("name longer than 255 bytes")
        pos += 1 + size
        if size == 0:
            return bytes(wire).lower(), after or pos


def _find(buf: bytes, n: int, pos: int, answers: int, wanted: bytes) -> "tuple[str | None, bytes | None, int]":
    """(address or None, CNAME target or None, TTL) of `wanted` among the answer records, which start at pos."""
    address = target = None
    ttl_s = 0
    for _ in range(answers):
        owner, pos = _name(buf, n, pos)
        kind, class_, ttl, size = _fields(">HHIH", 10, buf, n, pos)
        pos += 10
        if pos + size > n:
            raise DnsError("runs past the end")
        if owner == wanted and class_ == _CLASS_IN and not address:
            if kind == _TYPE_A:
                if size != 4:
                    raise DnsError("address is not 4 bytes")
                address = "%d.%d.%d.%d" % (buf[pos], buf[pos + 1], buf[pos + 2], buf[pos + 3])
            elif kind == _TYPE_CNAME and not target:
                target, end = _name(buf, n, pos)
                if end != pos + size:
                    raise DnsError("CNAME does not fill its record")
            if kind in (_TYPE_A, _TYPE_CNAME):
                ttl_s = 0 if ttl > 0x7FFFFFFF else ttl  # RFC 2181 8
        pos += size
    return address, target, ttl_s
