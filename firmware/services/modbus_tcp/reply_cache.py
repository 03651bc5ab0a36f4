"""Keeps the replies to reads that clients repeat.

A client polls: it asks for the same registers again and again, and only the transaction id differs. So the reply to a
read that was answered from memory is kept, and filled again when its block has been read again; in between a request
costs the comparison of ten bytes and the copying of two (server.py, ModbusConnection.on_ready). The replies belong to
the server and not to a connection: clients that ask the same share them.

A read is kept when it comes for the second time in a short while, so that a client that goes through all registers once
leaves nothing. Bounded by number and by bytes; when a reply has found no room, all are dropped at the end of the
minute, and those that are still asked for come back.
"""

from micropython import const

from firmware.meters.block import NOT_FRESH, Block

_TYPING = const(0)
if _TYPING:
    from modbus.pdu import Buffer

# A read has 12 bytes: MBAP header, function, first register, quantity. Its first two are the transaction id, the others
# what makes two requests the same.
_KEY = const(2)
_END = const(12)
_REPLIES_MAX = const(12)
_BYTES_MAX = const(2048)
_SEEN = const(32)
_KEEP_S = const(60)
_REGISTERS = const(9)  # where they begin in a reply: MBAP header, function, number of bytes


class Reply:
    """The reply `adu` to the request whose bytes from the protocol id on are `key`: `count` registers of a block from
    address `first` on. block.fresh_until_ms is another with each read of the block; `until_ms` is that of what `adu`
    holds."""

    def __init__(self, key: bytes, size: int, block: Block, first: int, count: int):
        self.key = key
        self.adu = bytearray(size)
        self.size = size
        self.block = block
        self.until_ms = NOT_FRESH
        self._first = first
        self._count = count

    def fill(self) -> None:
        """Copies the registers of the block into `adu`."""
        self.block.copy_to(self.adu, _REGISTERS, self._first, self._count)
        self.until_ms = self.block.fresh_until_ms


# Of a connection that has repeated nothing: equals no request.
NO_REPLY = Reply(b"", 0, Block((0, 0, 0)), 0, 0)


class ReplyCache:
    """The kept replies of one server. `rx` is its buffer for input."""

    def __init__(self, rx: bytearray):
        self.first_bytes = memoryview(rx)[:_END]
        self.key = self.first_bytes[_KEY:]  # of the request at the front of the buffer
        self._keys = []
        self._replies = []
        self._bytes = 0
        self._seen = [0] * _SEEN
        self._seen_next = 0
        self._was_full = False  # a reply found no room
        self._seconds = 0

    def tick(self) -> None:
        """Once a second."""
        self._seconds += 1
        if self._seconds >= _KEEP_S:
            self._seconds = 0
            if self._was_full:
                self._was_full = False
                self._keys.clear()
                self._replies.clear()
                self._bytes = 0

    def find(self) -> Reply:
        """Returns the reply to the request at the front of rx, or NO_REPLY. Allocates nothing."""
        key = self.key
        return self._replies[self._keys.index(key)] if key in self._keys else NO_REPLY

    def keep(self, out: "Buffer", length: int, block: Block, first: int, count: int) -> None:
        """Keeps out[:length], the reply to the request at the front of rx, if that has come before. The reply holds
        `count` registers of `block` from address `first` on."""
        key = self.key
        # Function, unit, first register and quantity, as a small integer.
        fingerprint = (key[6] << 22 | key[7] << 14 | key[9] << 7) ^ key[4] << 2 ^ key[5]
        if fingerprint not in self._seen:
            self._seen[self._seen_next] = fingerprint
            self._seen_next = (self._seen_next + 1) % _SEEN
            return
        if len(self._replies) >= _REPLIES_MAX or self._bytes + length > _BYTES_MAX:
            self._was_full = True
            return
        reply = Reply(bytes(key), length, block, first, count)
        reply.adu[:] = memoryview(out)[:length]
        reply.until_ms = block.fresh_until_ms
        self._keys.append(reply.key)
        self._replies.append(reply)
        self._bytes += length
