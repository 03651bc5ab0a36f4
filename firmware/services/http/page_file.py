"""The page: one document, made by the build, sent from flash: packed with gzip, or plain to a client without gzip.
The head of the packed page is made once, since making it takes as long as the rest of the response.
Beside it: the parts that the page loads when they are opened, packed only, since a browser asks for them.

The page lies in flash twice, packed and plain. Inflating it instead would take a window in the heap for each client
(4 KB with a packed page that is 11 % larger; 32 KB with the present one), and bytes that the socket did not take could
not be read again.
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
_PARTS = (  # of the folder page/parts
    b"backup.js", b"bus.js", b"charts.js", b"de.json", b"diagnose.js", b"es.json", b"fr.json", b"keys.json",
    b"meters.js", b"posting.js", b"scan.js", b"update.js", b"wizard.js",
)  # fmt: skip
_VARY = (("Vary", "Accept-Encoding"),)
# The page loads nothing from elsewhere and is shown in no other site's frame, where clicks could be faked.
_HEADERS = (
    ("Vary", "Accept-Encoding"), ("Cache-Control", "no-cache"), ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)  # fmt: skip


def get_page(service: "HttpService", request: "Request") -> Response:
    """The page, or 304 when the client has it already. Raises Refused, OSError."""
    is_packed = prefers_gzip(request.headers.get(b"accept-encoding"))
    return _file(
        service, request, is_packed, _PACKED if is_packed else _PLAIN, "text/html; charset=utf-8",
        service.page_heads if is_packed else None,
    )  # fmt: skip


def get_part(service: "HttpService", request: "Request") -> Response:
    """A part of the page, packed with gzip, or 304 when the client has it already. Who does not ask for gzip gets it
    all the same, labelled (RFC 9110 12.4.1 allows it): mostly a browser behind a proxy that changes Accept-Encoding.
    Raises Refused 406 for who excludes it by q=0; OSError."""
    name = request.path[6:]  # after /page/
    if name not in _PARTS:
        raise Refused(404, b"no such part of the page: " + name)
    gzip, _, others = _qualities(request.headers.get(b"accept-encoding"))
    if gzip == 0 or gzip is None and others == 0:
        raise Refused(406, "a part of the page is packed with gzip only: ask for it (curl --compressed)", (), _VARY)
    kind = "application/json" if name.endswith(b".json") else "text/javascript; charset=utf-8"
    return _file(service, request, True, "services/http/parts/%s.gz" % name.decode(), kind, None)


def _file(service, request, is_packed, file_name, kind, heads):
    """One entity tag stands for all: the page and its parts come from one build."""
    found = service.page_headers.get(is_packed)
    if found is None:
        found = service.page_headers[is_packed] = _tag_and_headers(is_packed)
    tag, headers = found
    known = request.headers.get(b"if-none-match")
    if known is not None and tag in known:
        return Response(b"", 304, None, headers)
    return Response(resources.content(file_name), 200, kind, headers, heads)


def _tag_and_headers(is_packed: bool) -> "tuple[bytes, tuple]":
    """(entity tag, headers) of the packed or the plain page. Raises OSError."""
    # RFC 9110 8.8.3.3: each content coding has a tag of its own.
    tag = (b'"%s"' if is_packed else b'"%s-plain"') % resources.read(_TAG).strip()
    headers: tuple = (("ETag", tag.decode()),) + _HEADERS
    if is_packed:
        headers += (("Content-Encoding", "gzip"),)
    return tag, headers


def prefers_gzip(accepted: "bytes | None") -> bool:
    """True when a client with this header Accept-Encoding takes gzip and does not prefer the plain page. Raises Refused
    406 when it takes neither (RFC 9110 12.5.3).

    Without the header any coding may be sent; most such clients cannot unpack, so they get the plain page."""
    if accepted == b"gzip" or accepted and accepted.startswith(b"gzip,") and b";" not in accepted:
        return True  # as all browsers ask
    gzip, plain, others = _qualities(accepted)
    if gzip is None:
        gzip = others or 0
    if plain is None:
        plain = 1 if others is None else others  # accepted, with the lowest preference
    if not gzip and not plain:
        raise Refused(406, "the page is to be had packed with gzip, or plain", (), _VARY)
    return gzip > 0 and gzip >= plain


def _qualities(accepted):
    """(gzip, identity, *) of a header Accept-Encoding, as _quality() has them; None: not named."""
    gzip = plain = others = None
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
    return gzip, plain, others


def _quality(parameters):
    """The weight "q=0.5" in thousandths (RFC 9110 12.4.2): 1000 without one, 0 when it is malformed."""
    name, _, value = parameters.strip().partition(b"=")
    if name.strip() != b"q":
        return 1000
    whole, _, digits = value.strip().partition(b".")
    digits += b"000"[len(digits) :]
    if whole not in (b"0", b"1") or len(digits) != 3 or not digits.isdigit():
        return 0
    return min(1000 * int(whole) + int(digits), 1000)
