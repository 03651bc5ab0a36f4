"""Whether a request was meant for this device, and comes from its own page or a program."""

from firmware.services.http.errors import Refused


def check_host(request, hostname):
    """421 when the request was meant for somebody else: a page of another site whose name has become our address (DNS
    rebinding). Addresses, names without a dot and .local are nobody's who could do that from outside."""
    name = request.host.partition(":")[0]
    if "." not in name or not name.strip("0123456789.") or name == hostname or name.endswith(".local"):
        return
    raise Refused(421, "this is not %s: use the address, or set network.hostname" % name)


def check_origin(request):
    """403 unless our own page or a program sent this. A page of another site cannot send X-Meterport without asking
    first (Fetch, CORS preflight), and nobody here would allow it; browsers tell the truth in Origin."""
    if "x-meterport" not in request.headers:
        raise Refused(403, "the header X-Meterport is missing")
    origin = request.headers.get("origin")
    if origin is not None and origin.lower().partition("://")[2] != request.host:
        raise Refused(403, "this came from a page of another site")
