"""Multicast DNS with DNS-SD for one host: what a packet asks of its names, and the answer. No socket, no clock.

RFC 6762 (mDNS), RFC 6763 (DNS-SD), RFC 1035 4 (messages). The records of a host, its instance and its services:

    HOST.local                      A     the address
    _services._dns-sd._udp.local    PTR   TYPE.local, of each service
    TYPE.local                      PTR   INSTANCE.TYPE.local
    INSTANCE.TYPE.local             SRV   port, HOST.local
    INSTANCE.TYPE.local             TXT   what is told of it

Records are named by bits: ADDRESS, TYPES, and for service k those that of_service(kind, k) gives. Packets come as bytes
and go into the caller's buffer. Outside data cannot make it run long: names end at 255 bytes, compression only points
backwards, 64 records of a packet at most are looked at.
"""

from struct import pack_into, unpack_from

from micropython import const

PORT = const(5353)  # RFC 6762 3
GROUP = "224.0.0.251"
ADDRESS = const(1)
TYPES = const(2)
POINTER = const(0)  # kinds of records of a service
SERVER = const(1)
TEXT = const(2)

_HEADER = const(12)
_RESPONSE = const(0x8400)  # QR, AA: RFC 6762 18.2 and 18.4
_RECORDS_MAX = const(64)
_NAME_MAX = const(255)
_LABEL_MAX = const(63)
_A = const(1)
_PTR = const(12)
_TXT = const(16)
_SRV = const(33)
_ANY = const(255)
_IN = const(1)
_TOP = const(0x8000)  # of a class: in a question the answer may be unicast, in a record it replaces others
_HOST_TTL_S = const(120)  # RFC 6762 10: of records with a host's name,
_OTHER_TTL_S = const(4500)  # and of others
_LEGACY_TTL_S = const(10)  # RFC 6762 6.7
_LOCAL = b"\x05local\x00"
_ENUMERATION = b"\x09_services\x07_dns-sd\x04_udp\x05local\x00"


def of_service(kind: int, k: int) -> int:
    """The bit of a record of service k: POINTER, SERVER or TEXT."""
    return 4 << (3 * k + kind)


def label(text: bytes) -> bytes:
    """A label of at most 63 bytes, cut at a whole UTF-8 character."""
    if len(text) > _LABEL_MAX:
        end = _LABEL_MAX
        while text[end] & 0xC0 == 0x80:
            end -= 1
        text = text[:end]
    return bytes((len(text),)) + text


def _read_name(data: bytes, at: int) -> "tuple[bytes, int]":
    """(the name at data[at:] in lower case, without compression; where it ends). Raises ValueError."""
    wire = bytearray()
    after = 0
    earliest = at
    while True:
        if at >= len(data):
            raise ValueError
        size = data[at]
        if size >= 0xC0:
            if at + 1 >= len(data):
                raise ValueError
            after = after or at + 2
            at = (size & 0x3F) << 8 | data[at + 1]
            if at >= earliest:
                raise ValueError
            earliest = at
            continue
        if size > _LABEL_MAX or at + 1 + size > len(data):
            raise ValueError
        wire.extend(data[at : at + 1 + size])
        if len(wire) > _NAME_MAX:
            raise ValueError
        at += 1 + size
        if not size:
            return bytes(wire).lower(), after or at


class Names:
    """The names of a host and its services. `host` and `instance`: one label each, as bytes; services: [(type, port)],
    as (b"_http._tcp", 80); told: the strings of the TXT record, as b"key=value"."""

    def __init__(self, host: bytes, instance: bytes, services: "list[tuple[bytes, int]]", told: "list[bytes]") -> None:
        self.host = label(host) + _LOCAL
        self.types = [b"".join([label(part) for part in kind.split(b".")]) + _LOCAL for kind, _ in services]
        self.instances = [label(instance) + kind for kind in self.types]
        self.ports = [port for _, port in services]
        self.text = b"".join([label(one) for one in told]) or b"\0"
        self.all = 4 << 3 * len(services)
        self.all -= 1
        # Of the query that wanted() has read last:
        self.id = 0
        self.may_be_unicast = False  # each of its questions asks for that

    def wanted(self, data: bytes) -> int:
        """The records that a query asks for and does not know; 0 for a response, or when there is none of ours.
        Raises ValueError for what is no message."""
        if len(data) < _HEADER:
            raise ValueError
        self.id, flags, questions, answers = unpack_from(">HHHH", data, 0)
        if flags & 0xF800:  # a response, or another operation
            return 0
        if questions > _RECORDS_MAX or answers > _RECORDS_MAX:
            raise ValueError
        found = 0
        self.may_be_unicast = questions > 0
        at = _HEADER
        for _ in range(questions):
            name, at = _read_name(data, at)
            if at + 4 > len(data):
                raise ValueError
            kind, class_ = unpack_from(">HH", data, at)
            at += 4
            if not class_ & _TOP:
                self.may_be_unicast = False
            if class_ & ~_TOP in (_IN, _ANY):
                found |= self._records(name, kind)
        for _ in range(answers if found else 0):
            found &= ~self._known(data, at)
            at = self._next
        return found

    def _records(self, name: bytes, kind: int) -> int:
        """The records of that name and type."""
        found = 0
        if name == self.host.lower() and kind in (_A, _ANY):
            found |= ADDRESS
        if name == _ENUMERATION and kind in (_PTR, _ANY):
            found |= TYPES
        for k in range(len(self.types)):
            if name == self.types[k] and kind in (_PTR, _ANY):
                found |= of_service(POINTER, k)
            if name == self.instances[k].lower():
                if kind in (_SRV, _ANY):
                    found |= of_service(SERVER, k)
                if kind in (_TXT, _ANY):
                    found |= of_service(TEXT, k)
        return found

    def _read_record(self, data: bytes, at: int) -> "tuple[bytes, int, int, int, int]":
        """(name, type, time to live, begin, end of the data) of a record. Raises ValueError."""
        name, at = _read_name(data, at)
        if at + 10 > len(data):
            raise ValueError
        kind, _, ttl_s, size = unpack_from(">HHIH", data, at)
        at += 10
        if at + size > len(data):
            raise ValueError
        self._next = at + size
        return name, kind, ttl_s, at, at + size

    def _known(self, data: bytes, at: int) -> int:
        """The pointer of ours that the asker knows by this record of its query for at least half of its time: RFC 6762
        7.1. The others are sent again."""
        name, kind, ttl_s, begin, _ = self._read_record(data, at)
        if kind == _PTR and ttl_s >= _OTHER_TTL_S // 2:
            for k in range(len(self.types)):
                if name == self.types[k] and _read_name(data, begin)[0] == self.instances[k].lower():
                    return of_service(POINTER, k)
        return 0

    def is_contradicted(self, data: bytes, address: bytes) -> bool:
        """Whether a response says that another host has our host's name or our instance's: RFC 6762 9. `address`: ours,
        four bytes. Raises ValueError for what is no message."""
        if len(data) < _HEADER:
            raise ValueError
        flags, questions, answers = unpack_from(">HHH", data, 2)
        if flags & 0xF800 != 0x8000 or questions or answers > _RECORDS_MAX:
            return False
        at = _HEADER
        for _ in range(answers):
            name, kind, ttl_s, begin, end = self._read_record(data, at)
            at = self._next
            if not ttl_s:
                continue  # a goodbye
            if kind == _A and name == self.host.lower() and data[begin:end] != address:
                return True
            if kind == _SRV and end - begin > 6 and name in [one.lower() for one in self.instances]:
                if _read_name(data, begin + 6)[0] != self.host.lower():
                    return True
        return False

    # -- packets of ours

    def write_probe(self, buf: bytearray) -> int:
        """A query for all records of the names that must be ours alone: RFC 6762 8.1. Returns its length."""
        names = [self.host] + self.instances
        pack_into(">HHHHHH", buf, 0, 0, 0, len(names), 0, 0, 0)
        at = _HEADER
        for name in names:
            buf[at : at + len(name)] = name
            at += len(name)
            pack_into(">HH", buf, at, _ANY, _IN)
            at += 4
        return at

    def write(
        self, buf: bytearray, records: int, address: bytes, is_goodbye: bool = False, question: bytes = b""
    ) -> int:
        """A response with these records into buf, which 1400 bytes are enough for. `question`: a query
        from a port other than 5353, whose first question is repeated, and times are short. Returns the length."""
        at = self._write_question(buf, question)
        self._at = at
        self._buf = buf
        self._legacy = bool(question)
        self._goodbye = is_goodbye
        self._places: "list[tuple[bytes, int]]" = []
        count = 0
        for k in range(len(self.types)):
            if records & TYPES:
                self._record(_ENUMERATION, _PTR, self.types[k])
                count += 1
            if records & of_service(POINTER, k):
                self._record(self.types[k], _PTR, self.instances[k])
                count += 1
            if records & of_service(SERVER, k):
                port = self.ports[k]
                self._record(self.instances[k], _SRV, b"\0\0\0\0" + bytes((port >> 8, port & 0xFF)) + self.host)
                count += 1
            if records & of_service(TEXT, k):
                self._record(self.instances[k], _TXT, self.text)
                count += 1
        if records & ADDRESS:
            self._record(self.host, _A, address)
            count += 1
        pack_into(">HHHHHH", buf, 0, self.id if question else 0, _RESPONSE, 1 if question else 0, count, 0, 0)
        self._places = []
        self._buf = bytearray(0)
        return self._at

    def _write_question(self, buf: bytearray, question: bytes) -> int:
        if not question:
            return _HEADER
        _, end = _read_name(question, _HEADER)
        name, _ = _read_name(question, _HEADER)
        buf[_HEADER : _HEADER + len(name)] = name
        at = _HEADER + len(name)
        buf[at : at + 4] = question[end : end + 4]
        buf[at + 2] &= 0x7F
        return at + 4

    def _record(self, name: bytes, kind: int, data: bytes) -> None:
        """Writes a record. A name that stands in the packet already is pointed to: as its own name, and as the only
        content of a pointer."""
        self._name(name)
        is_shared = kind == _PTR
        ttl_s = _HOST_TTL_S if kind in (_A, _SRV) else _OTHER_TTL_S
        if self._legacy:
            ttl_s = _LEGACY_TTL_S
        if self._goodbye:
            ttl_s = 0
        class_ = _IN if is_shared or self._legacy else _IN | _TOP
        size_at = self._at + 8
        pack_into(">HHI", self._buf, self._at, kind, class_, ttl_s)
        self._at += 10
        if is_shared:
            self._name(data)
        else:
            self._buf[self._at : self._at + len(data)] = data
            self._at += len(data)
        pack_into(">H", self._buf, size_at, self._at - size_at - 2)

    def _name(self, name: bytes) -> None:
        for other, place in self._places:
            if other == name:
                pack_into(">H", self._buf, self._at, 0xC000 | place)
                self._at += 2
                return
        self._places.append((name, self._at))
        self._buf[self._at : self._at + len(name)] = name
        self._at += len(name)
