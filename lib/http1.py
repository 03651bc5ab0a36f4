"""HTTP/1.1 for a small server: request heads in, response heads out. No I/O, no clock, no routing.

In:  the caller's buffer (bytes or bytearray) with n bytes received in it, the next request at index 0.
     head_end() finds the end of that request's head, parse() makes a Request of the head. The body is
     buf[end : end + request.content_length]; what follows it is the next (pipelined) request.
     If a head does not fit into the buffer, without_fields() drops the fields that the caller does not use.
Out: response_head(), CONTINUE, and put_chunk_head() / CHUNK_END / LAST_CHUNK around the pieces of a chunked body.
No function writes to the buffer or keeps a reference to it.

What a client sends stays bytes: MicroPython keeps each interned text for ever, and interns each letter that is taken
out of a str.

RFC 9110 (semantics), RFC 9112 (syntax and framing), RFC 3986 (targets). Where they leave a choice, the strict
one is taken: request smuggling (RFC 9112 11.2) lives on parsers that disagree about where a request ends.
- A line ends with CR LF. RFC 9112 2.2 would allow a bare LF too; it is 400, as a bare CR must be.
- Content-Length may be given once, in digits; repeated, even with the same value, it is 400 (RFC 9110 8.6).
- Bodies come with Content-Length only; Transfer-Encoding is 411 or 501, or 400 where it contradicts the rest.
- Folded lines, whitespace around a field name (RFC 9112 5.1, 5.2) and control characters except TAB are 400.
- HTTP/1.0 and HTTP/1.1 only; anything else that looks like a version is 505.
- A path with a ".." segment, plain or percent-encoded, is 400: no browser sends one, and no handler that
  comes later has to think of it. "%2F" is decoded like the rest: routes match the decoded path.
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Any

_TARGET_MAX = const(255)  # ours: the longest page address with its query is well below 200
_EMPTY_LINES_MAX = const(4)  # RFC 9112 2.2 asks for at least one before the request line
_LENGTH_DIGITS_MAX = const(9)  # keeps Content-Length far below 2**30, a small integer on the chips

CHUNKED = const(-1)  # response_head(length=CHUNKED)
CHUNK_END = b"\r\n"  # after each chunk's data
LAST_CHUNK = b"0\r\n\r\n"  # RFC 9112 7.1: the last chunk and an empty trailer
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # RFC 9110 10.1.1: owed when request.expect_continue

_HEX = b"0123456789abcdef"
_TCHAR_MARKS = b"!#$%&'*+-.^_`|~"  # RFC 9110 5.6.2
_HOST_NEVER = b'"#,/<>?@\\'  # would make it a list or another part of a URI
# Fields that parse() itself reads.
_FRAMING = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect")

# One string instead of a table: a dict of as many strings would cost twice the heap.
_PHRASES = (
    "200 OK,204 No Content,302 Found,303 See Other,304 Not Modified,"
    "400 Bad Request,401 Unauthorized,403 Forbidden,404 Not Found,"
    "405 Method Not Allowed,406 Not Acceptable,408 Request Timeout,409 Conflict,411 Length Required,"
    "413 Content Too Large,414 URI Too Long,421 Misdirected Request,422 Unprocessable Content,429 Too Many Requests,"
    "431 Request Header Fields Too Large,500 Internal Server Error,501 Not Implemented,502 Bad Gateway,"
    "503 Service Unavailable,504 Gateway Timeout,505 HTTP Version Not Supported,"
)


class HttpError(Exception):
    """A request that is answered with `status`.

    reason: text, or bytes from the client, for the body of the reply and the log. close: the connection must be
    closed after the reply, as it must whenever the framing is in doubt.
    """

    def __init__(self, status: int, reason: "str | bytes", close: bool = True) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.close = close


class Request:
    """One request head, as parse() filled it in.

    method          bytes, as sent (methods are case-sensitive)
    path            bytes in UTF-8, percent-decoded once; starts with "/", or is "*" for OPTIONS
    query           bytes, what follows "?", still encoded (empty if nothing does); see unquote()
    version         int, 10 or 11; a chunked reply may only go to 11 (RFC 9112 6.1)
    host            bytes, lower case, with the port if one was sent; empty if none (RFC 9112 3.2)
    headers         dict of the fields that parse() was asked to keep: lower-case name -> value, both bytes
    content_length  int, bytes of body that follow the head; 0 if there is none
    expect_continue bool, the client waits for CONTINUE before it sends the body
    keep_alive      bool, the client wants the connection to stay open (RFC 9112 9.3)

    The server adds what is below: parse() sets none of it. What is as it mostly is stands in the class: each attribute
    of its own costs an object time and heap.
    """

    version = 11
    query = b""
    content_length = 0
    expect_continue = False
    keep_alive = True
    body: "Any" = b""  # bytes-like
    peer: "Any" = None
    session: "Any" = None
    handler: "Any" = None

    def __init__(self) -> None:
        self.method = self.path = self.host = b""
        self.headers: "dict[bytes, bytes]" = {}


def head_end(buf: "bytes | bytearray", n: int, start: int = 0, limit: "int | None" = None) -> int:
    """Index behind the blank line that ends the request head in buf[:n], -1 while more must come.

    start: n of the last call that gave -1 for this request (0 at first), so that no byte is searched twice.
    limit: longest head accepted, by default the whole buffer.
    Raises HttpError 400 as soon as this cannot become a request (TLS, bare LF), 414 or 431 at the limit.
    """
    if limit is None:
        limit = len(buf)
    first = _skip_empty_lines(buf, n)
    # Registered methods start with a capital letter (RFC 9110 16.1.1); a lone CR may still become CR LF.
    if first < n and not (65 <= buf[first] <= 90 or (buf[first] == 13 and first + 1 == n)):
        raise HttpError(400, "not an HTTP request")
    start = max(start - 3, first)
    at = buf.find(b"\r\n\r\n", start, n)
    if 0 <= at <= limit - 4:
        return at + 4
    if at < 0 and buf.find(b"\n\n", start, n) >= 0:
        raise HttpError(400, "lines must end with CR LF")
    if at >= 0 or n >= limit:
        limit = min(n, limit)
        if buf.find(b"\r\n", first, limit) < 0:
            raise HttpError(414, "request line too long")
        raise HttpError(431, "request head too long")
    return -1


def without_fields(buf: "bytes | bytearray", n: int, keep: "tuple[bytes, ...]") -> "tuple[bytes, int]":
    """(buf[:n] without the fields that are not needed, index in it where the rest of a cut field will come, or -1).

    For an incomplete head. Drops each field whose name is neither in `keep` nor read by parse() itself; malformed lines
    stay, for parse() to refuse them. If the last field has come in part only, field_rest() drops its rest.
    """
    pos = buf.find(b"\r\n", _skip_empty_lines(buf, n), n) + 2
    if pos < 2:
        return bytes(memoryview(buf)[:n]), -1
    left = bytes(memoryview(buf)[:pos])
    while pos < n:
        eol = buf.find(b"\r\n", pos, n)
        end = n if eol < 0 else eol + 2
        colon = buf.find(b":", pos, end)
        name = bytes(memoryview(buf)[pos : max(colon, pos)]).lower()
        is_needed = name in keep or name in _FRAMING or not _is_token(name)
        if eol < 0 and buf[n - 1] == 13:  # perhaps half of a line end
            end = n - 1
        if is_needed or not _is_text(buf, pos, end):
            left += bytes(memoryview(buf)[pos:n] if eol < 0 else memoryview(buf)[pos:end])
        elif eol < 0:
            return left + bytes(memoryview(buf)[end:n]), len(left)
        pos = n if eol < 0 else end
    return left, -1


def field_rest(buf: "bytes | bytearray", begin: int, n: int) -> "tuple[int, bool]":
    """(index behind the part of a cut field in buf[begin:n], True when the field ends there). Raises HttpError 400 for
    a control character in it."""
    eol = buf.find(b"\r\n", begin, n)
    end = eol
    if eol < 0:
        end = n - 1 if n > begin and buf[n - 1] == 13 else n  # perhaps half of the line end
    if not _is_text(buf, begin, end):
        raise HttpError(400, "control character in the head")
    return (end, False) if eol < 0 else (eol + 2, True)


def parse(buf: "bytes | bytearray", end: int, keep: "tuple[bytes, ...]" = (), body_max: int = 0) -> Request:
    """The Request whose head is buf[:end], end as head_end() gave it.

    keep: tuple of the lower-case names (bytes) of the fields wanted in request.headers; a field sent more than
    once is joined with ", " (RFC 9110 5.3), Cookie with "; " (RFC 9113 8.2.3 has it of HTTP/2). body_max: longest
    body accepted, in bytes. Raises HttpError with the status the request calls for.
    """
    first = _skip_empty_lines(buf, end)
    head = bytes(memoryview(buf)[first : end - 2])  # every line that is left ends with CR LF
    pos = head.find(b"\r\n") + 2
    request = Request()
    authority = _request_line(request, head[: pos - 2])

    host = length = coding = connection = None
    # All lines at once, since a call for each costs more than the copy; the first one is of printable characters.
    lines = head.replace(b"\r\n", b" ")
    if min(lines) < 32 and min(lines.replace(b"\t", b" ")) < 32:
        raise HttpError(400, "control character in the head")  # RFC 9110 5.5, RFC 9112 2.2
    while pos < len(head):
        eol = head.find(b"\r\n", pos)
        colon = head.find(b":", pos, eol)
        if head[pos] == 9 or head[pos] == 32:
            raise HttpError(400, "folded header line")  # RFC 9112 5.2, and 2.2 for the first one
        name = head[pos:colon].lower()
        is_framing = name in _FRAMING
        is_kept = name in keep
        if colon < 0 or not (is_framing or is_kept or _is_token(name)):
            raise HttpError(400, "header line is not 'name: value'")  # RFC 9112 5.1: no space before ":"
        pos = eol + 2
        if not is_framing and not is_kept:
            continue

        # One space is the custom, and what strip() has nothing to do for it does not copy.
        value = head[colon + 2 if head[colon + 1] == 32 else colon + 1 : eol].strip(b" \t")
        if name == b"host":
            if host is not None:
                raise HttpError(400, "header line that may not be repeated")  # RFC 9112 3.2
            host = value
        elif name == b"content-length":
            if length is not None:
                raise HttpError(400, "header line that may not be repeated")
            length = value
            if not length.isdigit():
                raise HttpError(400, "wrong Content-Length or Transfer-Encoding")  # RFC 9112 6.3
        elif name == b"transfer-encoding":
            coding = (coding + b"," if coding else b"") + value.lower()
        elif name == b"connection":
            connection = (connection + b"," if connection else b"") + value.lower()
        elif name == b"expect" and value.lower() == b"100-continue":
            request.expect_continue = True

        if is_kept:
            value = _ascii(value)
            old = request.headers.get(name)
            if old is not None:
                value = old + (b"; " if name == b"cookie" else b", ") + value
            request.headers[name] = value

    if host is None:
        if request.version == 11:
            raise HttpError(400, "Host is not a host name")  # RFC 9112 3.2
        host = b""
    _check_host(host)
    # RFC 9112 3.2.2: the target's authority replaces Host
    request.host = (host if authority is None else authority).lower()
    if length is not None or coding is not None:
        request.content_length = _body_length(request.version, length, coding, body_max)
    # RFC 9110 10.1.1: not from a 1.0 client, not without a body
    if request.expect_continue and (request.version == 10 or not request.content_length):
        request.expect_continue = False
    if connection is not None or request.version == 10:
        options = [option.strip(b" \t") for option in (connection or b"").split(b",")]
        request.keep_alive = b"close" not in options and (request.version == 11 or b"keep-alive" in options)
    return request


def unquote(data: bytes, plus: bool = False) -> bytes:
    """The UTF-8 that percent-encoded `data` stands for (RFC 3986 2.1), decoded once.

    plus: "+" is a space, as in application/x-www-form-urlencoded. Raises HttpError 400 on a broken escape or
    broken UTF-8. (MicroPython lets overlong forms pass, CPython does not: such text equals no route and no
    key.)
    """
    if plus:
        data = data.replace(b"+", b" ")
    if b"%" in data:
        pieces = data.split(b"%")
        out = bytearray(pieces[0])
        for piece in pieces[1:]:
            digits = piece[:2].lower()
            # find() of an empty piece would be 0; int(.., 16) would take "+f" and "_"
            high = _HEX.find(digits[:1]) if len(digits) == 2 else -1
            low = _HEX.find(digits[1:])
            if high < 0 or low < 0:
                raise HttpError(400, "path is not percent-encoded UTF-8")
            out.append(high << 4 | low)
            out.extend(piece[2:])
        data = bytes(out)
    try:
        data.decode()
    except UnicodeError:
        raise HttpError(400, "path is not percent-encoded UTF-8") from None
    return data


def response_head(
    status: int,
    content_type: "str | None",
    length: "int | None",
    keep_alive: bool,
    extra: "tuple[tuple[str, str], ...]" = (),
) -> bytes:
    """A whole response head as bytes, blank line included (RFC 9112 4, RFC 9110 8).

    status: 200..599. content_type: str, or None to leave it out. length: bytes of body, CHUNKED (for HTTP/1.1
    clients only), or None for a body that ends with the connection; 204 and 304 have no body and take 0 or
    None. extra: pairs of str (name, value). "Cache-Control: no-store" is sent unless extra has a
    Cache-Control. Raises ValueError for anything that would break the framing or inject a line.
    """
    if not 200 <= status <= 599:
        raise ValueError("status %r: not 200..599" % status)
    at = _PHRASES.find("%d " % status)
    phrase = _PHRASES[at + 4 : _PHRASES.find(",", at)] if at >= 0 else ""  # RFC 9112 4: may be empty
    lines = ["HTTP/1.1 %d %s" % (status, phrase), "X-Content-Type-Options: nosniff"]
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")  # 1.0 needs the former
    if status == 204 or status == 304:
        if length:
            raise ValueError("status %d has no body" % status)  # RFC 9112 6.3
    else:
        if content_type is not None:
            lines.append("Content-Type: " + _checked(content_type))
        if length is None:
            if keep_alive:
                raise ValueError("a body without length must end with the connection")  # RFC 9112 6.3
        elif length == CHUNKED:
            lines.append("Transfer-Encoding: chunked")
        elif length >= 0:
            lines.append("Content-Length: %d" % length)
        else:
            raise ValueError("length %d: negative" % length)
    cache = "Cache-Control: no-store"
    for name, value in extra:
        lower = name.lower()
        if not _is_token(name.encode()) or lower in ("connection", "content-length", "transfer-encoding"):
            raise ValueError("header name %r" % name)
        if lower == "cache-control":
            cache = ""
        lines.append(name + ": " + _checked(value))
    if cache:
        lines.append(cache)
    lines.append("\r\n")
    return "\r\n".join(lines).encode()


def put_chunk_head(buf: bytearray, at: int, n: int) -> None:
    """Writes the six bytes before the n bytes of one chunk, 1 to 65535, to buf[at:at + 6]; CHUNK_END goes behind them
    (RFC 9112 7.1). Allocates nothing."""
    if not 0 < n < 65536:
        raise ValueError("chunk of %d bytes" % n)
    digits = _HEX
    buf[at] = digits[n >> 12]
    buf[at + 1] = digits[n >> 8 & 15]
    buf[at + 2] = digits[n >> 4 & 15]
    buf[at + 3] = digits[n & 15]
    buf[at + 4] = 13
    buf[at + 5] = 10


def _skip_empty_lines(buf: "bytes | bytearray", n: int) -> int:
    """Index of the first byte behind the empty lines before a request (RFC 9112 2.2)."""
    pos = 0
    while pos + 1 < n and buf[pos] == 13 and buf[pos + 1] == 10:
        pos += 2
        if pos > 2 * _EMPTY_LINES_MAX:
            raise HttpError(400, "too many empty lines before the request")
    return pos


def _request_line(request: Request, line: bytes) -> "bytes | None":
    """Fills in method, version, path and query; returns the authority of an absolute-form target or None."""
    parts = line.split(b" ")
    if len(parts) != 3 or not _is_token(parts[0]):
        raise HttpError(400, "request line is not 'method target version'")  # RFC 9112 3
    method, target, version = parts
    if version != b"HTTP/1.1":
        _check_version(version)
        request.version = 10
    if len(target) > _TARGET_MAX:
        raise HttpError(414, "request target longer than 255 bytes")
    if not target or min(target) < 33 or max(target) > 126 or b"#" in target:
        raise HttpError(400, "request line is not 'method target version'")  # RFC 3986 2
    authority = None
    if target[0] != 47:  # RFC 9112 3.2.1
        authority, target = _other_form(method, target)
    query = target.find(b"?")
    if query >= 0:
        request.query = target[query + 1 :]
        target = target[:query]
    request.method = method
    if b"%" in target:
        target = unquote(target)
        if min(target) < 32 or b"\x7f" in target:
            raise HttpError(400, "control character in the head")
    request.path = target
    if b"/.." in target and b"/../" in target + b"/":
        raise HttpError(400, "'..' in the path")
    return authority


def _check_version(version: bytes) -> None:
    """Raises HttpError unless it is that of HTTP/1.0."""
    # RFC 9112 2.3: HTTP/DIGIT.DIGIT, upper case
    digits = version[5:6] + version[7:]
    if len(version) != 8 or version[:5] != b"HTTP/" or version[6] != 46 or not digits.isdigit():
        raise HttpError(400, "request line is not 'method target version'")
    if version != b"HTTP/1.0":
        raise HttpError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")


def _other_form(method: bytes, target: bytes) -> "tuple[bytes | None, bytes]":
    """(authority, path and query) of a target that does not begin with its path: absolute, or "*" without authority."""
    if target == b"*" and method == b"OPTIONS":  # RFC 9112 3.2.4
        return None, target
    if target[:7].lower() != b"http://":  # RFC 9112 3.2.2
        raise HttpError(400, "request line is not 'method target version'")
    query = (target + b"?").find(b"?")
    slash = target.find(b"/", 7, query)
    path = query if slash < 0 else slash
    authority = target[7:path]
    if not authority:
        raise HttpError(400, "Host is not a host name")  # RFC 9110 4.2.1
    _check_host(authority)
    return authority, target[path:] if slash >= 0 else b"/" + target[path:]


def _body_length(version: int, length: "bytes | None", coding: "bytes | None", body_max: int) -> int:
    """Bytes of body that follow; length (Content-Length) and coding (Transfer-Encoding) are None if absent."""
    if coding is not None:
        if length is not None or version == 10:
            raise HttpError(400, "wrong Content-Length or Transfer-Encoding")  # RFC 9112 6.1
        if coding == b"chunked":
            raise HttpError(411, "a body needs a Content-Length")  # RFC 9112 6.3
        raise HttpError(501, "transfer coding not implemented")  # RFC 9112 6.1
    if length is None:
        return 0
    if len(length) > _LENGTH_DIGITS_MAX or int(length) > body_max:
        raise HttpError(413, "body longer than %d bytes" % body_max)
    return int(length)


def _is_token(raw: bytes) -> bool:
    """Whether bytes `raw` are a token (RFC 9110 5.6.2)."""
    if raw.replace(b"-", b"").isalpha():  # nearly every name: settled without a loop in Python
        return True
    for c in raw:
        if not (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c in _TCHAR_MARKS):
            return False
    return len(raw) > 0


def _is_text(buf: "bytes | bytearray", begin: int, end: int) -> bool:
    """Whether no control character stands in these lines but TAB and the CR LF at their ends (RFC 9110 5.5)."""
    line = bytes(memoryview(buf)[begin:end]).replace(b"\r\n", b" ").replace(b"\t", b" ")
    return not line or min(line) >= 32


def _ascii(value: bytes) -> bytes:
    """Field value with "?" for every byte that is not ASCII (opaque: RFC 9110 5.5).

    Refusing it would lock out a browser that holds another application's cookie for the same address.
    """
    if value and max(value) > 126:
        value = bytes([c if c < 127 else 63 for c in value])
    return value


def _check_host(host: bytes) -> None:
    """HTTP 400 unless `host` can be a uri-host with an optional port (RFC 9110 7.2); empty is allowed."""
    if host.replace(b".", b"").replace(b":", b"").isdigit():  # an address of IPv4: settled without a loop in Python
        return
    for c in host:
        if c <= 32 or c >= 127 or c in _HOST_NEVER:
            raise HttpError(400, "Host is not a host name")


def _checked(value: str) -> str:
    """`value` when it is printable ASCII: nothing in it can end the line."""
    raw = value.encode()
    if raw and (min(raw) < 32 or max(raw) > 126):
        raise ValueError("header value %r" % value)
    return value
