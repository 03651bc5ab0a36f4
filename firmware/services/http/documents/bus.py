"""GET /api/bus: the serial side, for commissioning: plans of reads, answer times, and failures by kind; and the search
for meters, GET, POST and DELETE /api/scan."""

from micropython import const

import http1
from firmware.meters import refusals
from firmware.meters.block import REFUSED
from firmware.meters.meter import STATES
from firmware.services.http.response import Response, write_items, write_json, write_open
from modbus import rtu

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterable, Iterator

    from firmware.bus import Bus
    from firmware.meters.meter import Meter
    from firmware.net.seam import Sink
    from firmware.services.http.service import HttpService


def write_bus(service: "HttpService", request: http1.Request) -> "Iterator[None]":
    """Writes a row for each bus and each meter."""
    out = service.out
    out.write(b'{"buses":')
    yield from write_items(out, (_bus(bus) for bus in service.buses))
    out.write(b',"meters":[')
    before = b""
    for bus in service.buses:
        for meter in bus.meters:
            out.write(before)
            before = b","
            yield from _write_meter(out, bus, meter)
    out.write(b"]}")
    yield


def _bus(bus: "Bus") -> dict:
    counters = bus.counters
    return {
        "number": bus.number, "load_percent": bus.load_percent,
        "past": {"step_s": bus.load_step_s, "age_s": bus.step_age_s(), "load_percent": bus.past_loads()},
        "waiting": bus.waiting(),
        "paused": bus.lessee is not None,
        "sent": counters.sent, "answered": counters.answered, "timeouts": counters.timeouts,
        "retries": counters.retries,
        "wrong": {name: counters.wrong[1 + k] for k, name in enumerate(rtu.REASONS[1:])},
        "echoes": counters.echoes, "noise_bytes": counters.noise_bytes, "stale_bytes": counters.stale_bytes,
        "answer_ms": _times(bus.answer_times_ms()),
        "exceptions": _by_code(bus.exceptions()),
    }  # fmt: skip


def _write_meter(out: "Sink", bus: "Bus", meter: "Meter") -> "Iterator[None]":
    """Writes a meter in pieces: its plan may have many rows."""
    write_open(out, {
        "slot": meter.slot, "name": meter.name, "unit": meter.unit, "bus": meter.bus, "state": STATES[meter.state],
        "reason": bus.fault_text(meter),
        "interval_ms": meter.interval_ms,
    })  # fmt: skip
    out.write(b',"kept_ms":')
    write_json(out, bus.poller.actual_interval_ms(meter) or None)
    out.write(b',"missed":%d,"timeout_ms":%d,"answer_ms":' % (bus.poller.missed(meter), bus.timeout_ms(meter)))
    write_json(out, _times(bus.answer_times_ms(meter)))
    out.write(b',"exceptions":')
    write_json(out, _by_code(bus.exceptions(meter)))
    out.write(b',"plan":')
    yield
    planned = [block for block in meter.blocks if block.fresh_until_ms != REFUSED]
    yield from write_items(out, ([block.function, block.first, block.count] for block in planned))
    out.write(b',"refused":')
    yield from write_items(out, [list(row) for row in refusals.refused_ranges(meter)])
    out.write(b"}")


def _times(times: "tuple | None") -> "dict | None":
    return None if times is None else {"min": times[0], "mean": times[1], "max": times[2]}


def _by_code(exceptions: "Iterable[tuple]") -> dict:
    return {str(code): times for code, times in exceptions}


def write_scan(service: "HttpService", request: http1.Request) -> "Iterator[None]":
    """Writes state and results of the search that runs, or of the last one."""
    out = service.out
    scan = service.buses.scan
    if scan is None:
        out.write(b'{"running":false,"done":0,"total":0,"error":null,"found":[]}')
        yield
        return
    # Until the line is given back.
    is_running = scan.running or any([bus.lessee is scan for bus in service.buses])
    write_open(out, {"running": is_running, "done": scan.done, "total": scan.total, "error": scan.error})
    out.write(b',"found":')
    yield from write_items(out, (
        {"unit": row[0], "baud": row[1], "framing": row[2], "profiles": row[3]} for row in scan.found[:]
    ))  # fmt: skip
    out.write(b"}")
    yield


def start_scan(service: "HttpService", request: http1.Request) -> Response:
    """Begins a search: bus=0&baud=9600,19200&framing=8N1,8E1&first=1&last=247&timeout_ms=150, each of them optional.
    Raises ValueError, http1.HttpError, or OSError when the line is taken."""
    given: dict = {b"bus": 0, b"baud": None, b"framing": None, b"first": 1, b"last": 247, b"timeout_ms": None}
    for parameter in request.query.split(b"&"):
        key, _, value = parameter.partition(b"=")
        value = http1.unquote(value, True)
        if key == b"baud":
            given[key] = [_number(baud, key) for baud in value.split(b",") if baud]
        elif key == b"framing":
            given[key] = [framing.decode() for framing in value.split(b",") if framing]
        elif key in given:
            given[key] = _number(value, key)
        elif parameter:
            raise ValueError("unknown parameter; known are bus, baud, framing, first, last, timeout_ms")
    service.buses.start_scan(
        given[b"bus"], given[b"baud"], given[b"framing"], given[b"first"], given[b"last"], given[b"timeout_ms"]
    )
    return Response(write_scan(service, request))


def stop_scan(service: "HttpService", request: http1.Request) -> Response:
    """Stops the search that runs, if any, and gives its state."""
    if service.buses.scan is not None:
        service.buses.scan.stop()
    return Response(write_scan(service, request))


def _number(value: bytes, key: bytes) -> int:
    if not value.isdigit() or len(value) > 6:
        raise ValueError("%s: must be a number" % key.decode())
    return int(value)
