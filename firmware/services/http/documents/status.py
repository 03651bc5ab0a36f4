"""GET /api/status: health of the whole device."""

from firmware import VERSION
from firmware.bus import BusStats
from firmware.meters.meter import STATES
from firmware.services.http.json_out import write_items, write_json
from firmware.services.http.response import Response


class StatusDocument:
    def __init__(self, out, device, config_store, clock, link, meters, buses, events):
        self._out = out
        self._device = device
        self._store = config_store
        self._clock = clock
        self._link = link
        self._meters = meters
        self._buses = buses
        self._events = events

    def get(self, request):
        return Response(self._write())

    def _write(self):
        out = self._out
        out.write(b"{")
        self._write_device()
        yield
        out.write(b',"config":{"source":"%s","errors":' % self._store.source.encode())
        yield from write_items(out, self._store.errors)  # one by one: all of them may be some kilobytes
        self._write_health()
        yield
        out.write(b',"services":')
        yield from write_items(out, self._services())
        out.write(b',"network":')
        write_json(out, self._network())
        yield
        out.write(b',"buses":')
        yield from write_items(out, self._bus_items())
        out.write(b',"meters":')
        yield from write_items(out, self._meter_items())
        for entry in self._device.services:
            out.write(b',"%s":' % entry.name.encode())
            write_json(out, None if entry.service is None else entry.service.status())
            yield
        out.write(b',"events":')
        yield from write_items(out, self._event_items())
        out.write(b"}")
        yield

    def _write_device(self):
        out = self._out
        device = self._device
        out.write(b'"name":')
        write_json(out, self._store.name)
        out.write(b',"version":"%d.%d.%d"' % VERSION)
        out.write(b',"board":"%s"' % device.board.name.encode())
        out.write(b',"uptime_s":%d,"time_unix_s":' % self._clock.uptime_s())
        write_json(out, self._clock.unix_s() or None)

    def _write_health(self):
        out = self._out
        device = self._device
        out.write(b'},"reboot_due":')
        write_json(out, self._store.reboot_due())
        free, used = device.board.heap()
        out.write(b',"heap":{"free":%d,"used":%d},"task_restarts":%d' % (free, used, device.restarts))

    def _services(self):
        for entry in self._device.services:
            yield {"name": entry.name, "state": entry.state, "slots": 1, "port": entry.port}

    def _network(self):
        address, netmask, gateway, dns, mac, rssi = self._link.details()
        return {
            "link": self._store.config["network"]["link"],
            "address": address, "netmask": netmask, "gateway": gateway, "dns": dns, "mac": mac,
            "hostname": self._store.hostname,
            "rssi": rssi,
        }  # fmt: skip

    def _bus_items(self):
        for bus in self._buses:
            error = bus.line_error
            config = bus.config
            item = {
                "number": bus.number,
                "uart": config["uart"], "baud": config["baud"], "framing": config["framing"],
                "open": bus.wire is not None,
                "error": None if error is None else repr(error),
                "waiting": bus.waiting(),
            }  # fmt: skip
            for name in BusStats.NAMES:
                item[name] = getattr(bus.counters, name)
            yield item

    def _meter_items(self):
        for meter in self._meters.meters:
            yield {
                "slot": meter.slot, "name": meter.name, "unit": meter.unit, "bus": meter.bus,
                "profile": meter.profile_name,
                "state": STATES[meter.state],
                "requests": meter.requests, "timeouts": meter.timeouts, "errors": meter.errors,
                "exceptions": meter.exceptions,
            }  # fmt: skip

    def _event_items(self):
        # A copy: an event may come between two pieces.
        for uptime_s, source, text, times in list(self._events.lines()):
            yield {"uptime_s": uptime_s, "source": source, "text": text, "times": times}
