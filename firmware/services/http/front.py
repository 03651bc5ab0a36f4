"""The page: one document, compressed when the image was built, and sent from its file."""

import os

from firmware.services.http.guard import Refused

_PAGE = __file__.rsplit("/", 1)[0] + "/page.html" if "/" in __file__ else "firmware/services/http/page.html"
# Nothing but what is in the page itself, and in nobody's frame: a click in it is a click of whoever sees it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call. A browser that has the page already gets 304."""
    kind = "text/html; charset=utf-8"
    extra: tuple = (
        ("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-cache"),
        ("Vary", "Accept-Encoding"),
    )  # fmt: skip
    zipped = _size(_PAGE + ".gz")
    if zipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        with open(_PAGE[:-4] + "etag") as f:
            tag = '"%s"' % f.read(64).strip()
        extra += (("ETag", tag),)
        if tag in request.headers.get("if-none-match", ""):
            return 304, None, 0, iter(()), extra
        return 200, kind, zipped, open(_PAGE + ".gz", "rb"), extra + (("Content-Encoding", "gzip"),)
    size = _size(_PAGE)
    if size is None and zipped is not None:
        raise Refused(406, "the page is compressed: curl wants --compressed")
    return 200, kind, size, open(_PAGE, "rb"), extra


def _size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        return None
