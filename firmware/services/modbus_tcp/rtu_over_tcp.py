"""RTU over TCP: connections of clients that send serial frames (unit, PDU, CRC) where Modbus TCP has its own header.

Each frame is turned into the request of Modbus TCP that means the same, so that everything else is one. A frame with a
wrong CRC, or longer than a frame can be, closes the connection: there is no silence by which to find the next one. A
frame of a function whose length is not known ends with what has come.
"""

from micropython import const

from firmware.services.modbus_tcp.server import ModbusConnection
from modbus import rtu, tcp
from modbus.crc import crc16

_TYPING = const(0)
if _TYPING:
    from modbus.pdu import Buffer


class RtuConnection(ModbusConnection):
    """One client of modbus.rtu_over_tcp."""

    def on_ready(self, events: int) -> None:
        """Without the hot path of Modbus TCP: a frame has another form."""
        self._on_ready(events)

    def _serve_requests(self, at: int, have: int) -> None:
        """Answers the whole frames in rx[0:have] until one has to wait, and keeps what is left. `at` is 0."""
        server = self.server
        rx = server.rx
        while have:
            length = rtu.request_length(rx, 0, have)
            if length == rtu.SILENCE:
                length = have
            if length > rtu.ADU_MAX or 0 < length <= have and (length < 4 or crc16(rx, length, 0)):
                self._close_wrong(length)
                return
            if length == rtu.MORE or length > have:
                break
            self._keep_input(length, have)
            # Unit and PDU behind a header of Modbus TCP, without transaction id
            rx[tcp.HEADER - 1 : tcp.HEADER + length - 3] = bytes(server.rx_view[: length - 2])
            rx[:6] = bytes((0, 0, 0, 0, 0, length - 2))
            if not self._handle_request(0, tcp.HEADER + length - 3):
                return
            have = self._restore_input()
        self._keep_input(0, have)

    def _reply(self, source: "Buffer", at: int, length: int) -> bool:
        """Sends the PDU of that length in out[7:] as the answer to the request at source[at:], which has a header of
        Modbus TCP."""
        out = self.server.out
        if out[7] & 0x80:
            self._counters.exceptions += 1
        self.budget.served(self.slot)
        frame = bytearray(rtu.ADU_MAX)
        return self.send(frame, rtu.build(frame, source[at + 6], out, 7, length))

    def _pass_back(self, frame: "Buffer", at: int, n: int) -> bool:
        return self._reply(self._pending, 0, tcp.put_pdu(self.server.out, frame, at, n))

    def _close_wrong(self, length):
        self.server.counters.malformed += 1
        self.events.add("modbus", "RTU over TCP: connection closed: no frame, or a wrong CRC, in %d bytes" % length)
        self.close()
