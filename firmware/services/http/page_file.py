"""The page: one document, made when the firmware was built, and sent from its file: packed with gzip, or as it is to a
client that does not take that. The head of the packed one is always the same and made once: that takes half of what the
whole response takes.

The page lies in flash twice, packed and plain. Inflating it instead would take a window in the heap for each client
(4 KB, with a packed page that is 11 % larger; 32 KB with the one that is sent now), and a part that a socket does not
take could not be read again.
"""

from micropython import const

from firmware import resources
from firmware.services.http.response import Refused, Response

_TYPING = const(0)
if _TYPING:
    from firmware.services.http.service import HttpService
    from http1 import Request

_PACKED = "services/http/page.html.gz"  # of firmware.resources
_PLAIN = "services/http/page.html"
_TAG = "services/http/page.etag"
_VARY = (("Vary", "Accept-Encoding"),)
# Nothing but what is in the page itself, and in no other site's frame: a click in it is a click of the user.
_HEADERS = (
    ("Vary", "Accept-Encoding"), ("Cache-Control", "no-cache"), ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)  # fmt: skip


def get_page(service: "HttpService", request: "Request") -> Response:
    """A browser that has the page already gets 304. Raises Refused, OSError."""
    is_packed = prefers_gzip(request.headers.get(b"accept-encoding"))
    found = service.page_headers.get(is_packed)
    if found is None:
        found = service.page_headers[is_packed] = _tag_and_headers(is_packed)
    tag, headers = found
    known = request.headers.get(b"if-none-match")
    if known is not None and tag in known:
        return Response(b"", 304, None, headers)
    page = resources.content(_PACKED if is_packed else _PLAIN)
    return Response(page, 200, "text/html; charset=utf-8", headers, service.page_heads if is_packed else None)


def _tag_and_headers(is_packed: bool) -> "tuple[bytes, tuple]":
    """Always the same, so kept. Raises OSError."""
    # RFC 9110 8.8.3.3: each content coding has a tag of its own.
    tag = (b'"%s"' if is_packed else b'"%s-plain"') % resources.read(_TAG).strip()
    headers: tuple = (("ETag", tag.decode()),) + _HEADERS
    if is_packed:
        headers += (("Content-Encoding", "gzip"),)
    return tag, headers


def prefers_gzip(accepted: "bytes | None") -> bool:
    """Whether the response to a request with this header Accept-Encoding is packed with gzip: when the client takes it,
    and likes it no less than the plain page. Raises Refused 406 when it takes neither (RFC 9110 12.5.3).

    A client that sends no such header would have to take any coding; but most of them cannot unpack."""
    if accepted and accepted[:5] == b"gzip," and b";" not in accepted:
        return True  # as all browsers ask
    gzip = plain = others = None  # quality in thousandths; None: not named
    for item in (accepted or b"").lower().split(b","):
        coding, _, parameters = item.partition(b";")
        coding = coding.strip()
        quality = _quality(parameters)
        if coding == b"gzip" or coding == b"x-gzip":
            gzip = quality
        elif coding == b"identity":
            plain = quality
        elif coding == b"*":
            others = quality
    if gzip is None:
        gzip = others or 0
    if plain is None:
        plain = 1 if others is None else others  # taken, but liked least
    if not gzip and not plain:
        raise Refused(406, "the page is to be had packed with gzip, or plain", (), _VARY)
    return gzip > 0 and gzip >= plain


def _quality(parameters):
    """The weight "q=0.5" in thousandths (RFC 9110 12.4.2): 1000 without one, 0 when it is not right."""
    name, _, value = parameters.strip().partition(b"=")
    if name.strip() != b"q":
        return 1000
    whole, _, digits = value.strip().partition(b".")
    digits += b"000"[len(digits) :]
    if whole not in (b"0", b"1") or len(digits) != 3 or not digits.isdigit():
        return 0
    return min(1000 * int(whole) + int(digits), 1000)
