"""A BACnet/IP client of our own for the tests of whole gateways: one UDP socket, ReadProperty and its like."""

import socket
import struct

from host_tests.unit.bacnet_bench import context, datagram, decoded, object_id, uint, unpacked

ANSWER_S = 5
ANALOG_INPUT, DEVICE = 0, 8
ANY_DEVICE = 4194303


class BacnetError(Exception):
    """An answer other than a ComplexACK; `args`: its APDU."""


class BacnetClient:
    """Asks host:port, which may be any socket's own. `sock`: a UDP socket of another network. A context manager."""

    def __init__(self, port, host="127.0.0.1", timeout=ANSWER_S, sock=None):
        self.address = host, port
        self.socket = sock
        if sock is None:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind((host, 0))
        self.socket.settimeout(timeout)
        self._invoke_id = 0

    def send(self, apdu):
        self.socket.sendto(datagram(apdu), self.address)

    def receive(self):
        """The next APDU that comes."""
        return unpacked(self.socket.recv(2000))

    def ask(self, apdu):
        """The APDU that answers."""
        self.send(apdu)
        return self.receive()

    def confirmed(self, service, parameters, most=5):
        """The content of the ComplexACK, b"" of a SimpleACK. Raises BacnetError. Answers to earlier tries that come
        late are passed over."""
        self._invoke_id = (self._invoke_id + 1) & 0xFF
        self.send(bytes([0x00, most, self._invoke_id, service]) + parameters)
        while True:
            answer = self.receive()
            if answer[1] == self._invoke_id and answer[0] in (0x20, 0x30, 0x50, 0x60, 0x71):
                break
        if answer[0] not in (0x20, 0x30):
            raise BacnetError(answer)
        return answer[3:]

    def read(self, kind, instance, number):
        """The values of a property."""
        content = self.confirmed(12, context(0, object_id(kind, instance)) + context(1, uint(number)))
        return decoded(content)[3:-1]

    def read_present_values(self, instances):
        """{instance: (value, status flags)} by one ReadPropertyMultiple."""
        request = b"".join(
            context(0, object_id(ANALOG_INPUT, instance)) + b"\x1e\x09\x55\x09\x6f\x1f" for instance in instances
        )
        items = decoded(self.confirmed(14, request))
        found, at = {}, 0
        while at < len(items):
            instance = struct.unpack(">I", items[at][2])[0] & 0x3FFFFF
            found[instance] = (items[at + 4], items[at + 8])
            at += 11
        return found

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
