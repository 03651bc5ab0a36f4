"""A subscriber of MQTT 3.1.1 that gives what it gets to a Ledger: the history with QoS 1, values with QoS 0. Its reader
is not the firmware's.

Its session is kept at the broker, so that nothing is missed when it comes back after the connection has ended.
"""

import asyncio
from collections.abc import Callable

_AGAIN_S = 1.0
_CONNACK, _PUBLISH, _SUBACK = 2, 3, 9
_QOS = 1
_REFUSALS = {4: "user or password", 5: "not authorized"}  # 3.2.2.3


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _packet(first: int, body: bytes) -> bytes:
    size = len(body)
    assert size < 1 << 14
    return bytes((first, size) if size < 128 else (first, size & 127 | 128, size >> 7)) + body


def _connect(client: bytes, is_clean: bool, user: bytes, password: bytes) -> bytes:
    flags = (2 if is_clean else 0) | (0xC0 if user else 0)
    login = _text(user) + _text(password) if user else b""
    return _packet(0x10, _text(b"MQTT") + bytes((4, flags, 0, 0)) + _text(client) + login)


class ReceiverError(RuntimeError):
    """The broker does not do as one."""


class Receiver(asyncio.Protocol):
    """`addresses`: of the broker, tried in turn; `user`: "" without one. `take(payload)`: for each message of QoS 1 of
    `topic_filter`; `take_value(topic, payload)`: for each of QoS 0 of `values_filter`.

    messages: of QoS 1 that have come; again: those with DUP; connections."""

    def __init__(
        self, addresses: list[tuple[str, int]], client: bytes, topic_filter: bytes, take: Callable[[bytes], None],
        values_filter: bytes, take_value: Callable[[bytes, bytes], None], user: str = "", password: str = "",
    ) -> None:  # fmt: skip
        self.messages = self.again = self.connections = 0
        self.ready = asyncio.Event()  # subscribed, in this connection
        self.error: str | None = None
        self._addresses = addresses
        self._client = client
        self._login = user.encode(), password.encode()
        self._filters = _text(topic_filter) + bytes((_QOS,)) + _text(values_filter) + bytes((0,))
        self._take = take
        self._take_value = take_value
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None
        self._is_over = False
        self._has_cleaned = False  # of what an earlier run has left in the session
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Keeps a connection until close()."""
        loop = asyncio.get_running_loop()
        turn = 0
        while not self._is_over:
            host, port = self._addresses[turn % len(self._addresses)]
            turn += 1
            self._ended.clear()
            try:
                await loop.create_connection(lambda: self, host, port)
            except OSError as error:
                self.error = str(error)
            else:
                await self._ended.wait()
                turn -= self._has_cleaned and self.ready.is_set()
            self.ready.clear()
            if not self._is_over:
                await asyncio.sleep(_AGAIN_S)

    def close(self) -> None:
        self._is_over = True
        if self._transport is not None:
            self._transport.close()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data.clear()
        transport.write(_connect(self._client, not self._has_cleaned, *self._login))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._ended.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._take_data(data)
        except ReceiverError as error:
            self.error = str(error)
            if self._transport is not None:
                self._transport.abort()

    def _take_data(self, data: bytes) -> None:
        self._data += data
        at = 0
        while (found := _head(self._data, at)) is not None:
            begin, end = found
            if end > len(self._data):
                break
            self._take_packet(self._data[at], bytes(self._data[begin:end]))
            at = end
        del self._data[:at]

    def _take_packet(self, first: int, body: bytes) -> None:
        assert self._transport is not None
        kind = first >> 4
        if kind == _CONNACK:
            if body[1]:
                raise ReceiverError(f"it refuses: {_REFUSALS.get(body[1], f'return code {body[1]}')}")
            if not self._has_cleaned:
                self._has_cleaned = True
                self._transport.write(b"\xe0\x00")
                self._transport.close()
                return
            self.connections += 1
            self._transport.write(_packet(0x82, b"\x00\x01" + self._filters))
        elif kind == _SUBACK:
            if body[2] != _QOS:
                raise ReceiverError(f"it does not let subscribe: {body[2]}")
            self.ready.set()
        elif kind == _PUBLISH:
            at = 2 + int.from_bytes(body[:2], "big")
            if not first & 0x06:
                self._take_value(body[2:at], body[at:])
                return
            self.messages += 1
            self.again += first >> 3 & 1
            self._transport.write(_packet(0x40, body[at : at + 2]))
            self._take(body[at + 2 :])


def _head(data: bytearray, at: int) -> tuple[int, int] | None:
    """(begin, end) of the body of the packet at `at`; None while its head is not whole. 2.2.3"""
    size = 0
    for k in range(1, 5):
        if at + k >= len(data):
            return None
        size |= (data[at + k] & 0x7F) << 7 * (k - 1)
        if not data[at + k] & 0x80:
            return at + k + 1, at + k + 1 + size
    raise ReceiverError("a length without an end")
