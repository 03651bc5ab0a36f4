"""One response at a time into blocks of bytes. No I/O, no clock.

In: a Response. Out: blocks, each in a buffer that all connections share: head and first part of the body are one block.
A body whose length is known is counted, a document is chunked (HTTP/1.1) or ends with the connection (HTTP/1.0).

    writer.begin(response, ...)
    while writer.is_active:
        n = writer.fill()              the next block is writer.block[:n]; it must be sent, or copied, before the next
        writer.give_back(k)            when its last k bytes could not be sent and are wanted again: see there
"""

from micropython import const

import http1

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.services.http.response import Response
    from firmware.services.http.service import HttpService

BLOCK = const(1024)
_FILE_BLOCK = const(3072)  # of a file in one write: each takes a call of the port, and a turn of the network
_CHUNK_HEAD = const(6)  # bytes
_CHUNK_TAIL = const(7)  # CR LF, and the last chunk: 0 CR LF CR LF
PIECE = const(256)  # that a document writes at a time, or somewhat more


class ResponseWriter:
    """`buffers` are those of the service, that all connections share: `block`, `view`, `file_block`, `out`, and heads
    that were made already, `document_heads`.
    `block` is what fill() has filled last. `keep_alive`: whether the connection may stay open behind the response;
    begin() may have taken it back. `is_active`: whether there is more of a response."""

    def __init__(self, buffers: "HttpService") -> None:
        self.block: "Any" = buffers.block
        self.keep_alive = False
        self.is_active = False
        self._buffers = buffers
        self._body: "Any" = None  # of the response under way
        self._head = b""
        self._rest = b""  # that a document has written and that did not fit into the block
        self._sent = 0  # of a body of bytes
        self._is_file = self._is_chunked = False

    def begin(self, response: "Response", keep_alive: bool, version: int = 11, is_head: bool = False) -> None:
        """`is_head`: only the head that the response would have. Raises ValueError (http1.response_head), OSError."""
        self._body = response.body  # closed by close() from here on
        self.is_active = True
        self._rest = b""
        self._sent = 0
        self._is_file = hasattr(response.body, "readinto")
        is_open = not self._is_file and not isinstance(response.body, bytes)  # its length shows at its end
        self._is_chunked = is_open and version == 11
        self.keep_alive = keep_alive and (self._is_chunked or not is_open)
        heads = response.heads
        if heads is None and self._is_chunked and response.status == 200 and not response.headers:
            heads = self._buffers.document_heads
        head = None if heads is None else heads.get(self.keep_alive)
        if head is None:
            length = None if is_open else _length(response.body)
            if self._is_chunked:
                length = http1.CHUNKED
            head = http1.response_head(response.status, response.type, length, self.keep_alive, response.headers)
            if heads is not None:
                heads[self.keep_alive] = head
        if is_head:
            self.close()
            self._body = b""
            self._is_file = False
            self.is_active = True
        self._head = head

    def fill(self) -> int:
        """The length of the next block; 0 when there is nothing left. Raises what a document or a file raises."""
        buffers = self._buffers
        body = self._body
        n = len(self._head)
        if self._is_file and not n:
            if not buffers.file_block:
                buffers.file_block = bytearray(_FILE_BLOCK)
            self.block = buffers.file_block
            n = body.readinto(self.block)
            if not n:
                self.close()
            return n
        self.block = buffers.block
        if n:  # our own heads are shorter than 600 bytes
            buffers.block[:n] = self._head
            self._head = b""
        if self._is_file:
            return n + body.readinto(buffers.view[n:])
        if isinstance(body, bytes):
            return self._fill_bytes(n)
        return self._fill_chunk(n) if self._is_chunked else self._fill_plain(n)

    def give_back(self, count: int) -> bool:
        """The last `count` bytes of the block were not sent. True when fill() will give them again (of a file, or
        bytes); False when the caller must keep them."""
        if self.block is self._buffers.block or not self.is_active:
            return False
        if self._is_file:
            self._body.seek(-count, 1)
        else:
            self._sent -= count
        return True

    def close(self) -> None:
        """Gives up what is left. Safe to call twice."""
        body = self._body
        self._body = None
        self.is_active = False
        self._head = self._rest = b""
        if hasattr(body, "close"):
            body.close()

    def _fill_bytes(self, n):
        """With the head of n bytes as much as fits behind it; then all the rest, where it lies."""
        body = self._body
        sent = self._sent
        size = len(body)
        if n:
            sent = min(size, BLOCK - n)
            self._buffers.block[n : n + sent] = memoryview(body)[:sent]
            self._sent = sent
            if sent == size:
                self.close()
            return n + sent
        if sent == size:
            self.close()
            return 0
        self.block = memoryview(body)[sent:]
        self._sent = size
        return size - sent

    def _fill_plain(self, start):
        n = self._write_pieces(start, BLOCK)
        if n < BLOCK:
            self.close()
        return n

    def _fill_chunk(self, start):
        block = self._buffers.block
        begin = start + _CHUNK_HEAD
        n = self._write_pieces(begin, BLOCK - _CHUNK_TAIL)
        is_last = n < BLOCK - _CHUNK_TAIL
        if n > begin:
            block[start:begin] = http1.chunk_head(n - begin)
            block[n : n + 2] = http1.CHUNK_END
            n += 2
        else:
            n = start
        if is_last:
            block[n : n + 5] = http1.LAST_CHUNK
            n += 5
            self.close()
        return n

    def _write_pieces(self, begin, end):
        """The next pieces of the document into the block from `begin` to `end`; where they end: before `end` only with
        the document."""
        out = self._buffers.out
        size = end - begin
        out.seek(0)
        if self._rest:
            out.write(self._rest)
            self._rest = b""
        body = self._body
        while out.tell() < size:
            if next(body, out) is out:
                break
        made = out.tell()
        out.seek(0)
        if made <= size:
            out.readinto(self._buffers.view[begin : begin + made])
            # Full by chance: whether the document has ended shows the next time.
            return begin + made
        out.readinto(self._buffers.view[begin:end])
        self._rest = out.read(made - size)
        return end


def _length(body):
    """Bytes of a body of bytes, or of a file, which is at its beginning then."""
    if isinstance(body, bytes):
        return len(body)
    size = body.seek(0, 2)
    body.seek(0)
    return size
