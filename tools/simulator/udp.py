"""Servers that answer datagrams: a time server (RFC 5905) in the seed's own time, and a name server."""

import struct

from tools.simulator.profiles import HOST
from tools.simulator.stack import Stack

NTP = 123
DNS = 53
_UNIX_AT_START = 1_760_000_000  # what the time is when the simulation starts
_NTP_TO_UNIX = 2_208_988_800  # seconds from 1900 to 1970


class TimeServer(Stack):
    """`answers`: False lets it fall silent; `offset_ms`: how far its clock was stepped; `kiss`: the code of a
    kiss-o'-death in place of an answer, b"" for none; `asked` counts questions."""

    def __init__(self, network, ip):
        super().__init__(network, ip, HOST)
        self.answers = True
        self.offset_ms = 0
        self.kiss = b""
        self.asked = 0
        self._port = self.bind_udp(NTP)
        self._port.app = self

    def unix_ms(self):
        timeline = self.timeline
        return _UNIX_AT_START * 1000 + self.offset_ms + (timeline.now_us - timeline.start_us) // 1000

    def changed(self):
        while self._port.queue:
            data, (ip, port) = self._port.queue.popleft()
            self.asked += 1
            if self.answers and len(data) == 48 and data[0] & 7 == 3:
                self.network.datagram(self, NTP, ip, port, self._reply(data))

    def _reply(self, request):
        """Stratum 2, no leap second; the nonce of the request comes back as the origin timestamp."""
        seconds, ms = divmod(self.unix_ms(), 1000)
        stamp = struct.pack(">II", (seconds + _NTP_TO_UNIX) & 0xFFFFFFFF, (ms << 32) // 1000)
        stratum = 0 if self.kiss else 2
        head = struct.pack(">BBbbII4s", 4 << 3 | 4, stratum, 6, -20, 0, 0, self.kiss or b"\xc0\x00\x02\x03")
        return head + stamp + request[40:48] + stamp + stamp


class NameServer(Stack):
    """Answers questions for addresses (RFC 1035, 4.1) from `addresses`, {name: IPv4 address}; what is not there with
    "no such name". `answers`: False lets it fall silent; `asked` lists the names."""

    def __init__(self, network, ip, addresses):
        super().__init__(network, ip, HOST)
        self.addresses = addresses
        self.answers = True
        self.asked = []
        self._port = self.bind_udp(DNS)
        self._port.app = self

    def changed(self):
        while self._port.queue:
            data, (ip, port) = self._port.queue.popleft()
            labels = []
            at = 12
            while data[at]:
                labels.append(data[at + 1 : at + 1 + data[at]].decode())
                at += 1 + data[at]
            name = ".".join(labels)
            self.asked.append(name)
            if self.answers:
                self.network.datagram(self, DNS, ip, port, self._reply(data[:2], data[12 : at + 5], name))

    def _reply(self, query_id, question, name):
        address = self.addresses.get(name)
        if address is None:
            return query_id + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + question
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 300, 4) + bytes(map(int, address.split(".")))
        return query_id + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question + record
