"""One Modbus request on its way to a meter, as a serial frame in a buffer of its own."""

from micropython import const

from modbus.pdu import is_read
from modbus.rtu import append_crc, build

OK = const(0)
_AROUND = const(3)  # unit and CRC
_READ_FRAME = const(8)


class Request:
    """`owner.on_answer(code, frame, at, n)` is called once: code OK and the answer's frame in frame[at:at+n] (unit,
    PDU, CRC; valid only during the call), or an exception code and no frame. No owner: nobody wants to know.
    `has_priority`: goes before requests that are not. May be filled again when it has ended."""

    def __init__(self, owner):
        self.owner = owner
        self.frame = bytearray(_READ_FRAME)  # as long as the longest that it has had
        self.length = 0
        self.unit = 0  # 0: a broadcast
        self.has_priority = False
        self.only_reads = False  # whether it only reads: may be repeated, and shared with an equal one

    def fill(self, unit, buf, at, n):
        """Takes the PDU buf[at:at+n] for `unit`; n is at most 253."""
        self.unit = unit
        self.only_reads = is_read(buf, at, n)
        if len(self.frame) < n + _AROUND:
            self.frame = bytearray(n + _AROUND)
        self.length = build(self.frame, unit, buf, at, n)

    def fill_read(self, unit, function, first, count):
        """A read of registers or bits (functions 1 to 4)."""
        self.unit = unit
        self.only_reads = True
        frame = self.frame
        frame[0] = unit
        frame[1] = function
        frame[2] = first >> 8
        frame[3] = first & 0xFF
        frame[4] = count >> 8
        frame[5] = count & 0xFF
        self.length = append_crc(frame, 6)

    def equals(self, other):
        """Whether both ask the very same."""
        n = self.length
        if n != other.length or self.unit != other.unit:
            return False
        frame = other.frame
        # The CRCs differ nearly always when the frames do: looked at first.
        for i in range(n - 1, -1, -1):
            if self.frame[i] != frame[i]:
                return False
        return True

    def finish(self, code, frame=b"", at=0, n=0):
        """The end of it to its owner. An owner that cannot take it closes; nobody else suffers."""
        owner = self.owner
        if owner is None:
            return
        try:
            owner.on_answer(code, frame, at, n)
        except Exception as error:
            owner.fail(error)
