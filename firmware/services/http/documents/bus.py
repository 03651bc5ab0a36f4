"""GET /api/bus: the serial side. The plan of reads, answer times and what went wrong by kind are what somebody wants
who puts a bus into service, and nobody else."""

from firmware.meters import refusals
from firmware.meters.block import REFUSED
from firmware.meters.meter import STATES
from firmware.services.http.json_out import write_items, write_json, write_open
from firmware.services.http.response import Response
from modbus import rtu


class BusDocument:
    def __init__(self, out, buses):
        self._out = out
        self._buses = buses

    def get(self, request):
        return Response(self._write())

    def _write(self):
        out = self._out
        out.write(b'{"buses":')
        yield from write_items(out, self._bus_items())
        out.write(b',"meters":[')
        before = b""
        for bus in self._buses:
            for meter in bus.meters:
                out.write(before)
                before = b","
                yield from self._write_meter(bus, meter)
        out.write(b"]}")
        yield

    def _bus_items(self):
        for bus in self._buses:
            counters = bus.counters
            yield {
                "number": bus.number, "load_percent": bus.load_percent, "waiting": bus.waiting(),
                "paused": bus.guest is not None,
                "sent": counters.sent, "answered": counters.answered, "timeouts": counters.timeouts,
                "retries": counters.retries,
                "wrong": {name: counters.wrong[1 + k] for k, name in enumerate(rtu.REASONS[1:])},
                "echoes": counters.echoes, "noise_bytes": counters.noise_bytes, "stale_bytes": counters.stale_bytes,
                "answer_ms": _times(bus.answer_times_ms()),
                "exceptions": _by_code(bus.exceptions()),
            }  # fmt: skip

    def _write_meter(self, bus, meter):
        """In two pieces and the rows of the plan, which may be many."""
        out = self._out
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
        yield from write_items(out, [[block.function, block.first, block.count] for block in planned])
        out.write(b',"refused":')
        yield from write_items(out, [list(row) for row in refusals.refused_ranges(meter)])
        out.write(b"}")


def _times(times):
    return None if times is None else {"min": times[0], "mean": times[1], "max": times[2]}


def _by_code(exceptions):
    return {str(code): times for code, times in exceptions}
