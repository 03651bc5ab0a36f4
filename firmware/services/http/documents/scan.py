"""The search for meters: GET, POST and DELETE /api/scan."""

from micropython import const

import http1
from firmware.services.http.json_out import write_items, write_open
from firmware.services.http.response import Response

_TYPING = const(0)
if _TYPING:
    from firmware.bus import Buses
    from firmware.net.seam import Sink


class ScanDocument:
    def __init__(self, out: "Sink", buses: "Buses") -> None:
        self._out = out
        self._buses = buses

    def get(self, request: http1.Request) -> Response:
        return Response(self._write(self._buses.scan))

    def start(self, request: http1.Request) -> Response:
        """Begins a search: bus=0&baud=9600,19200&framing=8N1,8E1&first=1&last=247&timeout_ms=150, each of them
        optional. Raises ValueError, http1.HttpError, or OSError when the line is taken."""
        given: dict = {b"bus": 0, b"baud": None, b"framing": None, b"first": 1, b"last": 247, b"timeout_ms": None}
        for parameter in request.query.split(b"&"):
            key, _, value = parameter.partition(b"=")
            value = http1.unquote(value, True)
            if key == b"baud":
                given[key] = [_number(one, key) for one in value.split(b",") if one]
            elif key == b"framing":
                given[key] = [one.decode() for one in value.split(b",") if one]
            elif key in given:
                given[key] = _number(value, key)
            elif parameter:
                raise ValueError("unknown parameter; known are bus, baud, framing, first, last, timeout_ms")
        self._buses.start_scan(
            given[b"bus"], given[b"baud"], given[b"framing"], given[b"first"], given[b"last"], given[b"timeout_ms"]
        )
        return self.get(request)

    def stop(self, request: http1.Request) -> Response:
        if self._buses.scan is not None:
            self._buses.scan.stop()
        return self.get(request)

    def _write(self, scan):
        """The search that runs, or the last one."""
        out = self._out
        if scan is None:
            out.write(b'{"running":false,"done":0,"total":0,"error":null,"found":[]}')
            yield
            return
        # Until the line is given back.
        is_running = scan.running or any([bus.guest is scan for bus in self._buses])
        write_open(out, {"running": is_running, "done": scan.done, "total": scan.total, "error": scan.error})
        out.write(b',"found":')
        yield from write_items(out, _found(scan))
        out.write(b"}")
        yield


def _number(value, key):
    if not value.isdigit() or len(value) > 6:
        raise ValueError("%s: must be a number" % key.decode())
    return int(value)


def _found(scan):
    for unit, baud, framing, profiles in scan.found[:]:
        yield {"unit": unit, "baud": baud, "framing": framing, "profiles": profiles}
