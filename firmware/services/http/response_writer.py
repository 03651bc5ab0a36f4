"""Makes blocks of bytes of one response at a time. No I/O, no clock.

In: a Response. Out: blocks in a buffer that all connections share; head and first part of the body are one block.
Bytes and files have a Content-Length; a document is chunked (HTTP/1.1) or ends with the connection (HTTP/1.0).

    writer.begin(response, ...)
    while writer.is_active:
        n = writer.fill()              makes writer.block[:n], which may be empty; send or copy it before the next call
        writer.give_back(k)            returns its last k bytes, which the socket did not take
"""

from micropython import const

import http1
from firmware.services.http.response import JSON

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.services.http.response import Response
    from firmware.services.http.service import HttpService

BLOCK = const(1024)
FILE_BLOCK = const(3072)  # bytes of a file in one write: each write takes a call of the port and of the network
_CHUNK_HEAD = const(6)  # bytes
_CHUNK_TAIL = const(7)  # CR LF, and the last chunk: 0 CR LF CR LF
_SILENT_MAX = const(8)  # times in a row that a document may write nothing, before the caller looks at the clock
PIECE = const(256)  # about the bytes that a document writes at a time


class ResponseWriter:
    """`buffers`: the service's `block`, `view`, `file_block`, `out` and `document_heads`, which all connections share.
    `block`: what fill() has filled last. `keep_alive`: the connection may stay open behind the response; begin() may
    clear it. `is_active`: a part of the response is left."""

    def __init__(self, buffers: "HttpService") -> None:
        self.block: "Any" = buffers.block
        self.keep_alive = False
        self.is_active = False
        self._buffers = buffers
        self._body: "Any" = None  # of the present response
        self._head = b""
        self._rest = b""  # written by a document, and more than fits into the block
        self._sent = 0  # bytes, if the body is bytes
        self._is_file = self._is_chunked = self._is_complete = False

    def begin(self, response: "Response", keep_alive: bool, version: int = 11, is_head: bool = False) -> None:
        """Begins a response; with `is_head` only its head is sent. Raises ValueError (http1.response_head), OSError."""
        self._body = response.body  # close() closes it from now on
        self.is_active = True
        self._rest = b""
        self._sent = 0
        self._is_complete = False
        self._is_file = hasattr(response.body, "readinto")
        is_open = not self._is_file and not isinstance(response.body, bytes)  # the length is not known before its end
        self._is_chunked = is_open and version == 11
        self.keep_alive = keep_alive and (self._is_chunked or not is_open)
        heads = response.heads
        if (
            heads is None
            and self._is_chunked
            and response.status == 200
            and response.type == JSON
            and not response.headers
        ):
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
        """Makes the next block; returns its length, 0 when nothing is left or a document has written nothing for long.
        Raises what a document or a file raises."""
        buffers = self._buffers
        body = self._body
        n = len(self._head)
        if self._is_file and not n:
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
        """Returns the last `count` bytes of the block. True when fill() will make them again (of a file, or bytes);
        False when the caller must keep them."""
        if self.block is self._buffers.block or not self.is_active:
            return False
        if self._is_file:
            self._body.seek(-count, 1)
        else:
            self._sent -= count
        return True

    def close(self) -> None:
        """Gives up the rest of the response. May be called twice."""
        body = self._body
        self._body = None
        self.is_active = False
        self._head = self._rest = b""
        if hasattr(body, "close"):
            body.close()

    def _fill_bytes(self, n):
        """Copies the first part of the body behind the head of n bytes; the rest is a block without a copy."""
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
        if self._is_complete:
            self.close()
        return n

    def _fill_chunk(self, start):
        block = self._buffers.block
        begin = start + _CHUNK_HEAD
        n = self._write_pieces(begin, BLOCK - _CHUNK_TAIL)
        if n > begin:
            block[start:begin] = http1.chunk_head(n - begin)
            block[n : n + 2] = http1.CHUNK_END
            n += 2
        else:
            n = start
        if self._is_complete:
            block[n : n + 5] = http1.LAST_CHUNK
            n += 5
            self.close()
        return n

    def _write_pieces(self, begin, end):
        """Writes pieces of the document into block[begin:end]; returns their end. It is complete when the document has
        ended and nothing of it is left."""
        out = self._buffers.out
        size = end - begin
        out.seek(0)
        if self._rest:
            out.write(self._rest)
            self._rest = b""
        body = self._body
        made = out.tell()
        silent = 0
        has_ended = False
        while made < size and silent < _SILENT_MAX:
            got = next(body, out)
            before = made
            made = out.tell()
            if got is not None:
                has_ended = got is out  # behind its last piece it may have written more; else it is FULL
                break
            silent = silent + 1 if made == before else 0
        out.seek(0)
        if made <= size:
            self._is_complete = has_ended
            out.readinto(self._buffers.view[begin : begin + made])
            return begin + made
        out.readinto(self._buffers.view[begin:end])
        self._rest = out.read(made - size)
        return end


def _length(body):
    """Length of a body in bytes; a file is set to its beginning."""
    if isinstance(body, bytes):
        return len(body)
    size = body.seek(0, 2)
    body.seek(0)
    return size
