"""Reads that clients repeat, with their replies made: what polling costs a client's request most of the time.

A client polls: it asks for the same registers again and again, and only the transaction id differs. So the reply to a
read that was answered from memory is kept, and filled again when its block has been read again; in between a request
costs the comparison of ten bytes and the copying of two (server.py, ModbusConnection.on_ready). The replies belong to
the server and not to a connection: clients that ask the same share them.

Bounded by number and by bytes; who finds no room has all of them forgotten, once a minute, so that those that nobody
asks for any more are gone and a client with more reads than fit costs hardly any heap. A read gets here when it comes
for the second time in a short while, so that a client that goes through all registers once leaves nothing.
"""

from micropython import const

# A read has 12 bytes: MBAP header, function, first register, quantity. Its first two are the transaction id, the others
# what makes two requests the same.
_KEY = const(2)
_END = const(12)
_REPLIES_MAX = const(12)
_BYTES_MAX = const(2048)
_SEEN = const(32)
_KEEP_S = const(60)
_NEVER = (-1,)


class Reply:
    """The reply `adu` to the request whose bytes from the protocol id on are `key`: registers of a meter, from byte
    `skip` of its data on. words[mark] are the ticks until which they may answer; they are others with each read of the
    meter, and `until_ms` are those of what `adu` holds."""

    def __init__(self, key, size):
        self.key = key
        self.adu = bytearray(size)
        self.size = size
        self.data = b""
        self.words = _NEVER
        self.mark = 0
        self.skip = 0
        self.until_ms = -1

    def fill(self):
        """Takes what the meter's registers are now."""
        skip = self.skip
        self.adu[9:] = memoryview(self.data)[skip : skip + self.size - 9]
        self.until_ms = self.words[self.mark]


NONE = Reply(b"", 0)  # of a connection that has not repeated anything: equals no request


class Replies:
    """Of one server. `rx` is its buffer for input."""

    def __init__(self, rx):
        self.front = memoryview(rx)[:_END]
        self.key = self.front[_KEY:]  # of the request at the front of the buffer
        self._keys = []
        self._replies = []
        self._bytes = 0
        self._seen = [0] * _SEEN
        self._at = 0
        self._refused = False  # somebody found no room
        self._seconds = 0

    def sweep(self):
        """Once a second."""
        self._seconds += 1
        if self._seconds >= _KEEP_S:
            self._seconds = 0
            if self._refused:
                self._refused = False
                self._keys.clear()
                self._replies.clear()
                self._bytes = 0

    def find(self):
        """The reply to the request at the front of rx, or NONE."""
        key = self.key
        return self._replies[self._keys.index(key)] if key in self._keys else NONE

    def keep(self, out, length, meter, at):
        """The request at the front of rx was answered from `at` (Meter.holds) of the meter by the ADU out[:length].
        Keeps the reply if it may well be wanted again."""
        key = self.key
        # Function, unit, first register and quantity, as a small integer.
        mark = (key[6] << 22 | key[7] << 14 | key[9] << 7) ^ key[4] << 2 ^ key[5]
        if mark not in self._seen:
            self._seen[self._at] = mark
            self._at = (self._at + 1) % _SEEN
            return
        if len(self._replies) >= _REPLIES_MAX or self._bytes + length > _BYTES_MAX:
            self._refused = True
            return
        reply = Reply(bytes(key), length)
        reply.adu[:] = memoryview(out)[:length]
        reply.data = meter.data
        reply.words = meter.words
        reply.mark = at >> 16
        reply.skip = at & 0xFFFF
        reply.until_ms = meter.words[reply.mark]
        self._keys.append(reply.key)
        self._replies.append(reply)
        self._bytes += length
