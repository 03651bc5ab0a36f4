"""The search for meters: GET, POST and DELETE /api/scan."""

from firmware.services.http.json_out import write_items, write_open
from firmware.services.http.response import Response
from firmware.services.http.routes import parameters

_DEFAULTS = {"bus": "0", "baud": "", "framing": "", "first": "1", "last": "247", "timeout_ms": "150"}


class ScanDocument:
    def __init__(self, out, buses):
        self._out = out
        self._buses = buses

    def get(self, request):
        return Response(self._write(self._buses.scan))

    def start(self, request):
        """Begins a search: bus=0&baud=9600,19200&framing=8N1,8E1&first=1&last=247&timeout_ms=150, each of them
        optional. Raises ValueError, or OSError when the line is taken."""
        given = parameters(request.query, _DEFAULTS)
        numbers = {}
        for key in ("bus", "first", "last", "timeout_ms"):
            if not given[key].isdigit() or len(given[key]) > 5:
                raise ValueError("%s: %s is no number" % (key, given[key]))
            numbers[key] = int(given[key])
        bauds = [int(one) if one.isdigit() and len(one) < 7 else one for one in given["baud"].split(",") if one]
        framings = [one for one in given["framing"].split(",") if one]
        self._buses.start_scan(
            numbers["bus"], bauds, framings, numbers["first"], numbers["last"], numbers["timeout_ms"]
        )
        return self.get(request)

    def stop(self, request):
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


def _found(scan):
    for unit, baud, framing, profiles in scan.found[:]:
        yield {"unit": unit, "baud": baud, "framing": framing, "profiles": profiles}
