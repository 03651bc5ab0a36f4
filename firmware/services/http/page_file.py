"""The page: one document, compressed when the firmware was built, and sent from its file. Its head is always the same,
and made once: it takes half of what all of the page takes.
"""

from firmware import resources
from firmware.services.http.errors import Refused
from firmware.services.http.response import Response

_PAGE = "services/http/page.html.gz"  # of firmware.resources
_TAG = "services/http/page.etag"
# Nothing but what is in the page itself, and in nobody's frame: a click in it is a click of whoever sees it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageFile:
    def __init__(self):
        self._headers = self._packed_headers = None
        self._heads = {}

    def get(self, request):
        """A browser that has the page already gets 304. Raises OSError."""
        if "gzip" not in request.headers.get("accept-encoding", ""):
            raise Refused(406, "the page is compressed: curl wants --compressed")
        if self._headers is None:
            tag = resources.read(_TAG).decode().strip()
            self._headers = (
                ("ETag", '"%s"' % tag), ("Vary", "Accept-Encoding"), ("Cache-Control", "no-cache"),
                ("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer"),
            )  # fmt: skip
            self._packed_headers = self._headers + (("Content-Encoding", "gzip"),)
        known = request.headers.get("if-none-match")
        if known is not None and self._headers[0][1] in known:
            return Response(b"", 304, None, self._headers)
        page = resources.content(_PAGE)
        return Response(page, 200, "text/html; charset=utf-8", self._packed_headers, self._heads)
