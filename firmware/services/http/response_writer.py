"""Makes blocks of bytes of one response at a time. No I/O, no clock.

In: a Response. Out: blocks in a buffer that all connections share; head and first part of the body are one block.
Bytes and files have a Content-Length; a document is chunked (HTTP/1.1) or ends with the connection (HTTP/1.0).

    writer.begin(response, ...)
    while writer.is_active:
        n = writer.fill()              makes writer.block[writer.at:n], perhaps empty; send it before the next call
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
ROOM = const(1017)  # bytes up to which it may fill the sink; it may yield FULL where its next piece would go beyond


class ResponseWriter:
    """`buffers`: the service's `block`, `view`, `file_block`, `out` and `document_heads`, which all connections share.
    `block`: what fill() has filled last, from `at` on. `keep_alive`: the connection may stay open behind the response;
    begin() may clear it. `is_active`: a part of the response is left."""

    def __init__(self, buffers: "HttpService") -> None:
        self.block: "Any" = buffers.block
        self.at = 0
        self.keep_alive = False
        self.is_active = False
        self._buffers = buffers
        self._body: "Any" = None  # of the present response
        self._head = b""
        self._blocks: "Any" = None  # of a document
        self._sent = 0  # bytes, if the body is bytes
        self._is_file = False

    def begin(self, response: "Response", keep_alive: bool, version: int = 11, is_head: bool = False) -> None:
        """Begins a response; with `is_head` only its head is sent. Raises ValueError (http1.response_head), OSError."""
        self._body = response.body  # close() closes it from now on
        self.is_active = True
        self.at = self._sent = 0
        self._is_file = hasattr(response.body, "readinto")
        is_open = not self._is_file and not isinstance(response.body, bytes)  # the length is not known before its end
        is_chunked = is_open and version == 11
        self.keep_alive = keep_alive and (is_chunked or not is_open)
        heads = response.heads
        if heads is None and is_chunked and response.status == 200 and response.type == JSON and not response.headers:
            heads = self._buffers.document_heads
        head = None if heads is None else heads.get(self.keep_alive)
        if head is None:
            length = None if is_open else _length(response.body)
            if is_chunked:
                length = http1.CHUNKED
            head = http1.response_head(response.status, response.type, length, self.keep_alive, response.headers)
            if heads is not None:
                heads[self.keep_alive] = head
        if is_head:
            self.close()
            self._body = b""
            self._is_file = False
            self.is_active = True
        elif is_open:
            self._blocks = self._make_blocks(head, response.body, is_chunked)
        self._head = head

    def fill(self) -> int:
        """Makes the next block; returns its end, 0 when nothing is left or a document has written nothing for long.
        Raises what a document or a file raises."""
        if self._blocks is not None:
            return next(self._blocks)
        body = self._body
        head = self._head
        self._head = b""
        if self._is_file:
            buffers = self._buffers
            if head:
                n = len(head)
                buffers.block[:n] = head
                return n + body.readinto(buffers.view[n:])
            self.block = buffers.file_block
            n = body.readinto(self.block)
            if not n:
                self.close()
            return n
        if head:
            return self._fill_first(head, body)
        if self.at:
            self.close()
            return 0
        self.block = body  # no copy, as far as the end: the socket takes what it has room for
        self.at = self._sent
        return len(body)

    def give_back(self, count: int) -> bool:
        """Returns the last `count` bytes of the block. True when fill() will make them again (of a file); False when
        they stay in the block."""
        if self.block is not self._buffers.file_block or not self.is_active:
            return False
        self._body.seek(-count, 1)
        return True

    def close(self) -> None:
        """Gives up the rest of the response. May be called twice."""
        body = self._body
        self._body = None
        self.is_active = False
        self.at = 0
        self.block = self._buffers.block
        self._head = b""
        self._blocks = None
        if hasattr(body, "close"):
            body.close()

    def _fill_first(self, head, body):
        """Head and first part of the body, copied into one block; the rest is a block without a copy."""
        block = self._buffers.block
        n = len(head)  # our own heads are shorter than 600 bytes
        end = min(n + len(body), BLOCK)
        block[:n] = head
        block[n:end] = memoryview(body)[: end - n]
        self._sent = end - n
        if self._sent == len(body):
            self.close()
        return end

    def _make_blocks(self, head, body, is_chunked):
        """Yields the end of each block of a document. Head, pieces of the document and what makes a chunk of them are
        put together in the sink. The document is complete when it has ended and nothing of it is left. A generator,
        since an attribute takes ten times as long as a local variable."""
        out = self._buffers.out
        block = self._buffers.block
        tell = out.tell
        seek = out.seek
        write = out.write
        end = BLOCK - _CHUNK_TAIL if is_chunked else BLOCK
        begin = len(head)
        seek(0)
        write(head)
        rest = b""
        has_ended = False
        while not has_ended:
            if is_chunked:
                begin += _CHUNK_HEAD
            seek(begin)
            made = begin
            if rest:
                made += write(rest)
                rest = b""
            silent = 0
            while made < end and silent < _SILENT_MAX:
                got = next(body, out)
                before = made
                made = tell()
                if got is not None:
                    has_ended = got is out  # behind its last piece it may have written more; else it is FULL
                    break
                silent = silent + 1 if made == before else 0
            if made > end:
                seek(end)
                rest = out.read(made - end)
                made = end
                seek(end)
                has_ended = False
            size = made - begin
            if is_chunked:
                if size:
                    made += write(http1.CHUNK_END)
                else:
                    made -= _CHUNK_HEAD
                    seek(made)
                if has_ended:
                    made += write(http1.LAST_CHUNK)
            seek(0)
            out.readinto(block)
            if size and is_chunked:
                http1.put_chunk_head(block, begin - _CHUNK_HEAD, size)
            begin = 0
            if has_ended:
                self.close()
            yield made


def _length(body):
    """Length of a body in bytes; a file is set to its beginning."""
    if isinstance(body, bytes):
        return len(body)
    size = body.seek(0, 2)
    body.seek(0)
    return size
