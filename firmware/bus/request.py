"""One Modbus request on its way to a meter, as a serial frame in a buffer of its own."""

from micropython import const

from modbus.pdu import is_read
from modbus.rtu import append_crc, build

_TYPING = const(0)
if _TYPING:
    from typing import Protocol, Union

    Buffer = Union[bytes, bytearray, memoryview]

    class Owner(Protocol):
        """Submits a Request and takes its end."""

        def on_answer(self, code: int, frame: Buffer, at: int, n: int) -> None:
            """Takes the end: code OK and the answer's frame, or an exception code."""

        def fail(self, error: Exception) -> None:
            """Takes what on_answer() has raised."""


OK = const(0)
_AROUND = const(3)  # unit and CRC
_READ_FRAME = const(8)


class Request:
    """A request from submit() to owner.on_answer(code, frame, at, n), which is called once: with the code OK and the
    answer in frame[at:at+n] (unit, PDU, CRC; valid during the call only), or with an exception code and no frame.
    `owner` None: nothing is called. `has_priority`: goes before requests without. May be filled again when it
    has ended."""

    def __init__(self, owner: "Owner | None"):
        self.owner = owner
        self.frame = bytearray(_READ_FRAME)  # as long as the longest that it has had
        self.length = 0
        self.unit = 0  # 0: a broadcast
        self.has_priority = False
        self.only_reads = False  # may be repeated, and its answer shared with an equal request

    def fill(self, unit: int, buf: "Buffer", at: int, n: int) -> None:
        """Takes the PDU buf[at:at+n] for `unit`; n is at most 253."""
        self.unit = unit
        self.only_reads = is_read(buf, at, n)
        if len(self.frame) < n + _AROUND:
            self.frame = bytearray(n + _AROUND)
        self.length = build(self.frame, unit, buf, at, n)

    def fill_read(self, unit: int, function: int, first: int, count: int) -> None:
        """Becomes a read of `count` registers or bits from address `first` on (functions 1 to 4)."""
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

    def equals(self, other: "Request") -> bool:
        """Returns whether both frames are the same."""
        n = self.length
        if n != other.length or self.unit != other.unit:
            return False
        frame = other.frame
        # The CRCs differ nearly always when the frames do: looked at first.
        for i in range(n - 1, -1, -1):
            if self.frame[i] != frame[i]:
                return False
        return True

    def finish(self, code: int, frame: "Buffer" = b"", at: int = 0, n: int = 0) -> None:
        """Tells the owner the end. What the owner raises goes to its fail(), so that the bus goes on."""
        owner = self.owner
        if owner is None:
            return
        try:
            owner.on_answer(code, frame, at, n)
        except Exception as error:
            owner.fail(error)
