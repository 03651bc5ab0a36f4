"""One body, its request and the answer to it, through one buffer.

A body is made twice: first to know its size, then to send it. Nothing of it is kept. What makes it takes turns with
everything else of the gateway: it waits after each record.
"""

import acquisuite
import http_client
from micropython import const

from firmware.history.records import Batch
from firmware.net import seam
from firmware.services.posting.formats import PIECE

_TYPING = const(0)
if _TYPING:
    from firmware.net.tcp_client import TcpClient
    from firmware.net.tls import Tls
    from firmware.services.posting.formats import Format, Records

_BLOCK = const(1024)  # bytes that are sent at once
_BLOCK_HEAD = const(5)  # of a stored block of gzip
_BODY_MAX = const(32768)  # bytes that a body may have before another record is added
_DAY_S = const(86400)
_ANSWER_MS = const(30000)
_CONNECT_MS = const(30000)


class BodyChanged(Exception):
    """The records have changed while they were sent: the oldest ones were removed."""


class Exchange:
    """`url` is what http_client.parse_url() gives; `fields`: of every request, pairs (name, value); `tls`:
    firmware.net.tls.Tls or None. response: the last one."""

    def __init__(
        self, client: "TcpClient", url: tuple, fields: "list[tuple[str, str]]", tls: "Tls | None",
        records: "Records", format: "Format",
    ) -> None:  # fmt: skip
        self.response = http_client.Response()
        self.host = url[1]
        self._client = client
        self._port = url[2]
        self._is_usual_port = url[2] == (443 if url[0] else 80)
        self._target = url[3]
        self._fields = fields
        self._tls = tls
        self._records = records
        self._format = format
        self._buf = bytearray(_BLOCK_HEAD + _BLOCK + PIECE)
        self._view = memoryview(self._buf)
        self._end = _BLOCK_HEAD  # of what is in the buffer
        self._size = 0  # of the body so far
        self._stored = 0  # bytes within gzip
        self._crc = 0

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    # -- the body

    def write(self, data: bytes) -> None:
        """Adds to the body. Formats let the buffer be emptied after each PIECE bytes."""
        end = self._end + len(data)
        if end > len(self._buf):
            raise ValueError("a piece of the body is too long")
        self._buf[self._end : end] = data
        self._end = end

    async def measure(self, batch: Batch, rows: int) -> None:
        """Finds the size of the body for a batch. An empty batch gets the next records that make one body: `rows` at
        most, those that have waited longest; it stays empty when there are none."""
        await self._make(batch, rows, False)
        batch.size = self._size

    async def _make(self, batch: Batch, rows: int, is_sent: bool) -> None:
        records, format = self._records, self._format
        self._end = _BLOCK_HEAD
        self._size = self._stored = self._crc = number = 0
        is_open = not batch.count  # records are added to it
        self._open(batch)
        if format.is_gzip:
            await self._give(acquisuite.GZIP_HEAD, len(acquisuite.GZIP_HEAD), is_sent)
        for _ in format.begin(self.write):
            await self._flush(is_sent, _BLOCK)
        while records.next() and (is_open or records.record < batch.end):
            if is_open and not format.is_daily and number and (number >= rows or self._size >= _BODY_MAX):
                break
            for _ in format.record(records, self.write, number):
                await self._flush(is_sent, _BLOCK)
            await self._flush(is_sent, _BLOCK)
            number += 1
            if is_open and records.record >= batch.begin:
                batch.add(records)
            await seam.sleep_ms(0)
        for _ in format.end(self.write):
            await self._flush(is_sent, _BLOCK)
        await self._flush(is_sent, 1)
        if format.is_gzip:
            tail = acquisuite.gzip_tail(self._crc, self._stored)
            await self._give(tail, len(tail), is_sent)

    def _open(self, batch: Batch) -> None:
        """Goes to the first record of the body: of a day all are in it, those that were delivered already, too."""
        records = self._records
        records.open(batch.begin)
        if self._format.is_daily and records.next():
            begin_s = records.time_s - records.time_s % _DAY_S
            records.open_day(begin_s, begin_s + _DAY_S)

    async def _flush(self, is_sent: bool, least: int) -> None:
        """Empties the buffer when it has at least that many bytes."""
        n = self._end - _BLOCK_HEAD
        if n < least:
            return
        begin = _BLOCK_HEAD
        if self._format.is_gzip:
            data = self._view[begin : self._end]
            self._buf[:_BLOCK_HEAD] = acquisuite.stored_block(data)
            self._crc = acquisuite.update_crc(data, self._crc)
            self._stored += n
            begin = 0
        await self._give(self._view[begin : self._end], self._end - begin, is_sent)
        self._end = _BLOCK_HEAD

    async def _give(self, data: "bytes | memoryview", n: int, is_sent: bool) -> None:
        self._size += n
        if is_sent:
            await self._client.send(data, n)

    # -- request and answer

    async def post(self, batch: Batch) -> None:
        """Sends what measure() has given, and takes the answer: `response`. Raises OSError (of which ConnectionFailed
        is one), http_client.ResponseError, BodyChanged; the connection is closed then."""
        client = self._client
        is_kept = client.is_open
        try:
            if not is_kept:
                await client.connect(self.host, self._port, _CONNECT_MS, self._tls)
            try:
                await self._send_and_receive(batch)
            except OSError:
                if not is_kept or self.response.status:
                    raise
                # The server has closed a connection that was kept for another request (RFC 9112, 9.3.1).
                client.close()
                await client.connect(self.host, self._port, _CONNECT_MS, self._tls)
                await self._send_and_receive(batch)
        except Exception:
            client.close()
            raise
        if not self.response.can_persist:
            client.close()

    async def _send_and_receive(self, batch: Batch) -> None:
        client, format = self._client, self._format
        self.response = response = http_client.Response(format.line)
        before = after = b""
        if format.is_gzip:
            before = format.form_head(batch.size)
            after = acquisuite.form_tail()
        fields = self._fields
        if not any([name.lower() == "content-type" for name, _ in fields]):
            fields = fields + [("Content-Type", format.content_type)]
        port = None if self._is_usual_port else self._port
        target = format.target(self._target, batch.time_s)
        length = len(before) + batch.size + len(after)
        head = http_client.request_head(format.method, target, self.host, port, length, fields)
        await client.send(head, len(head))
        if before:
            await client.send(before, len(before))
        await self._make(batch, 0, True)
        if self._size != batch.size:
            raise BodyChanged
        if after:
            await client.send(after, len(after))
        buf = self._view[:_BLOCK]
        while not response.is_complete:
            n = await client.receive(buf, _ANSWER_MS)
            if n:
                response.feed(buf, n)
            else:
                response.end()
