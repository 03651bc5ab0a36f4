"""HTTP/1.1 for a small client: addresses and request heads out, responses in. No I/O, no clock.

In:  parse_url() takes an address apart; a Response is fed what the server sends, in pieces of any size.
Out: request_head(), of a request whose body has a known length; basic() for its Authorization.

RFC 9110 (semantics), RFC 9112 (syntax and framing), RFC 3986 (addresses), RFC 7617 (Basic). What a server sends is
bytes and stays bytes; of its body the first bytes are kept to be shown, and all of it is searched for one line.
"""

from binascii import b2a_base64

from micropython import const

KEPT_MAX = const(200)  # bytes of a body that are kept
_LINE_KEPT = const(128)  # bytes of a line of the head that are looked at; of longer ones (cookies) the rest is dropped
_HEAD_MAX = const(16384)
_BODY_MAX = const(65536)  # more is not read: the connection has to be closed
_SIZE_DIGITS = const(7)  # of a chunk
_LENGTH_DIGITS = const(9)
_RETRY_MAX_S = const(86400)
# What a Response waits for
_STATUS_LINE = const(0)
_FIELDS = const(1)
_COUNTED = const(2)  # a body of known length,
_TO_THE_END = const(3)  # one that ends with the connection,
_CHUNK_HEAD = const(4)  # or chunks
_CHUNK = const(5)
_CHUNK_END = const(6)
_TRAILER = const(7)
_COMPLETE = const(8)


class ResponseError(ValueError):
    """What came is no response of HTTP/1."""


def parse_url(url: str) -> "tuple[bool, str, int, str]":
    """(whether it is https, host, port, target) of an address such as "http://192.0.2.1:8086/write?db=energy". Raises
    ValueError."""
    raw = url.encode()
    scheme, colon, rest = raw.partition(b"://")
    if not colon or scheme not in (b"http", b"https"):
        raise ValueError("an address begins with http:// or https://")
    if any([byte <= 0x20 or byte >= 0x7F for byte in rest]):
        raise ValueError("a space or a letter outside ASCII has to be written as %20 and the like")
    authority = rest
    for mark in (b"/", b"?", b"#"):
        authority = authority.partition(mark)[0]
    target = rest[len(authority) :].partition(b"#")[0]
    host, colon, digits = authority.partition(b":")
    if b"@" in host + digits:
        raise ValueError("name and password have keys of their own")
    if not host or any([not _is_of_host(byte) for byte in host]):
        raise ValueError("the host is a name or an IPv4 address")
    port = 443 if scheme == b"https" else 80
    if colon:
        port = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        if not 0 < port < 65536:
            raise ValueError("the port is 1 to 65535")
    if not target.startswith(b"/"):
        target = b"/" + target
    return scheme == b"https", host.decode(), port, target.decode()


def _is_of_host(byte: int) -> bool:
    return byte in b"-." or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


def request_head(
    method: str, target: str, host: str, port: "int | None", length: int, fields: "list[tuple[str, str]]"
) -> bytes:
    """The head of a request whose body has `length` bytes. `port`: None when it is that of the scheme. `fields`: pairs
    (name, value) that is_field() allows."""
    name = host if port is None else "%s:%d" % (host, port)
    lines = ["%s %s HTTP/1.1" % (method, target), "Host: " + name, "Content-Length: %d" % length]
    lines.extend(["%s: %s" % field for field in fields])
    return "\r\n".join(lines + ["", ""]).encode()


def is_field(name: str, value: str) -> bool:
    """True when they may be a field of a head (RFC 9110, 5.1 and 5.5): nothing in them ends it or its line."""
    token = name.encode()
    is_token = all([_is_of_host(byte) or byte in b"!#$%&'*+^_`|~" for byte in token])
    return bool(token) and is_token and all([byte >= 0x20 and byte != 0x7F for byte in value.encode()])


def basic(user: str, password: str) -> str:
    """The value of Authorization for them (RFC 7617)."""
    return "Basic " + b2a_base64((user + ":" + password).encode()).strip().decode()


class Response:
    """A response as it comes.

    status: 0 until its line has come; retry_after_s: None without one in seconds; location: bytes of that field, b""
    without; body: its first KEPT_MAX bytes; has_line: the body has the line that was given as `line`, settled when all
    has come; can_persist: the connection may be used for another request."""

    def __init__(self, line: bytes = b"") -> None:
        self.status = 0
        self.retry_after_s: int | None = None
        self.location = b""
        self.body = bytearray()
        self.has_line = False
        self.can_persist = False
        self._searched = line
        self._matched = 0  # bytes of `line` at the beginning of this line of the body; -1: it is another
        self._state = _STATUS_LINE
        self._line = bytearray()
        self._head_bytes = 0
        self._body_bytes = 0
        self._left = -1  # bytes of the body or chunk; -1: not known
        self._is_chunked = False

    @property
    def is_complete(self) -> bool:
        """True when all of it has come."""
        return self._state == _COMPLETE

    def feed(self, buf: "bytes | bytearray | memoryview", n: int) -> bool:
        """Takes buf[:n]. True when the response is complete; what is behind it then is dropped, and the connection
        cannot persist. Raises ResponseError."""
        i = 0
        while i < n and self._state != _COMPLETE:
            state = self._state
            if state == _COUNTED or state == _CHUNK or state == _TO_THE_END:
                end = n if state == _TO_THE_END else min(n, i + self._left)
                self._take_body(buf, i, end)
                if state != _TO_THE_END:
                    self._left -= end - i
                    if not self._left:
                        self._state = _CHUNK_END if state == _CHUNK else _COMPLETE
                i = end
                if self._body_bytes > _BODY_MAX:
                    self.can_persist = False
                    self._state = _COMPLETE
            else:
                byte = buf[i]
                i += 1
                self._head_bytes += 1
                if self._head_bytes > _HEAD_MAX:
                    raise ResponseError("the head of the answer is too long")
                if byte == 10:
                    self._end_line()
                elif len(self._line) < _LINE_KEPT:
                    self._line.append(byte)
        if self._state == _COMPLETE:
            self.can_persist = self.can_persist and i == n
            self._match_end()
            return True
        return False

    def end(self) -> None:
        """The server has closed the connection. Raises ResponseError when the response is not complete."""
        if self._state == _TO_THE_END:
            self._state = _COMPLETE
            self._match_end()
        if self._state != _COMPLETE:
            raise ResponseError("the answer was cut short" if self.status else "no answer")

    # -- head

    def _end_line(self) -> None:
        line = bytes(self._line).rstrip(b"\r")
        self._line = bytearray()
        state = self._state
        if state == _STATUS_LINE:
            self._begin(line)
        elif state == _FIELDS:
            if line:
                self._take_field(line)
            else:
                self._end_head()
        elif state == _CHUNK_HEAD:
            self._begin_chunk(line)
        elif state == _CHUNK_END:
            if line:
                raise ResponseError("no chunk ends here")
            self._state = _CHUNK_HEAD
        elif not line:  # of the trailer
            self._state = _COMPLETE

    def _begin(self, line: bytes) -> None:
        """HTTP/1.1 204 No Content"""
        code = line[9:12]
        if line[:7] != b"HTTP/1." or line[8:9] != b" " or len(code) != 3 or not code.isdigit() or code < b"100":
            raise ResponseError("the answer is not HTTP/1.1")
        self.status = int(code)
        self.can_persist = line[7:8] == b"1"
        self._state = _FIELDS

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip()
        if name == b"content-length":
            if not value.isdigit() or len(value) > _LENGTH_DIGITS or self._left not in (-1, int(value)):
                raise ResponseError("Content-Length is wrong")
            self._left = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise ResponseError("Transfer-Encoding is not chunked")
            self._is_chunked = True
        elif name == b"connection":
            if value.lower() == b"close":
                self.can_persist = False
        elif name == b"retry-after":
            if value.isdigit():  # the other form is a date
                self.retry_after_s = min(int(value[:_LENGTH_DIGITS]), _RETRY_MAX_S)
        elif name == b"location":
            self.location = value

    def _end_head(self) -> None:
        """RFC 9112, 6.3: what kind of body comes."""
        status = self.status
        if status < 200:  # 100 Continue and the like: the response comes behind it
            if status == 101:
                raise ResponseError("the server changes the protocol")
            self._left = -1
            self._is_chunked = False
            self.retry_after_s = None
            self._state = _STATUS_LINE
        elif status == 204 or status == 304:
            self._state = _COMPLETE
        elif self._is_chunked:
            self._state = _CHUNK_HEAD
        elif self._left == 0:
            self._state = _COMPLETE
        elif self._left > 0:
            self._state = _COUNTED
        else:
            self.can_persist = False
            self._state = _TO_THE_END

    def _begin_chunk(self, line: bytes) -> None:
        size = line.partition(b";")[0].strip()
        if not 0 < len(size) <= _SIZE_DIGITS:
            raise ResponseError("the size of a chunk is wrong")
        left = 0
        for byte in size.lower():
            digit = b"0123456789abcdef".find(bytes((byte,)))
            if digit < 0:
                raise ResponseError("the size of a chunk is wrong")
            left = left << 4 | digit
        self._left = left
        self._state = _CHUNK if left else _TRAILER

    # -- body

    def _take_body(self, buf: "bytes | bytearray | memoryview", begin: int, end: int) -> None:
        self._body_bytes += end - begin
        room = KEPT_MAX - len(self.body)
        if room > 0:
            self.body.extend(buf[begin : min(end, begin + room)])
        if not self._searched or self.has_line:
            return
        for i in range(begin, end):
            byte = buf[i]
            if byte == 10 or byte == 13:
                self._match_end()
            elif self._matched >= 0:
                is_next = self._matched < len(self._searched) and byte == self._searched[self._matched]
                self._matched = self._matched + 1 if is_next else -1

    def _match_end(self) -> None:
        """A line of the body has ended."""
        if self._searched and self._matched == len(self._searched):
            self.has_line = True
        self._matched = 0
