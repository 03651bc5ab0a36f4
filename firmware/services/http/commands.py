"""What somebody does to the device beside configuring it: a read of a meter's registers, the clock, a restart, and all
back to how it came from the factory. Bodies and answers: docs/reference/http.md, Commands."""

from micropython import const

from firmware.bus import OK, Request
from firmware.net import seam
from firmware.services.http import errors
from firmware.services.http.errors import Refused
from firmware.services.http.json_body import is_whole, object_of
from firmware.services.http.json_out import to_json
from firmware.services.http.response import Later, Response
from modbus import pdu

_COUNT_MAX = const(16)
_EARLIEST_S = 1704067200  # 2024
_LATEST_S = 4102444800  # 2100


class Commands:
    """`device`: firmware.device.Device; `password`, `sessions`: they end with a factory reset."""

    def __init__(self, device, config_store, clock, buses, password, sessions, events):
        self._device = device
        self._store = config_store
        self._clock = clock
        self._buses = buses
        self._password = password
        self._sessions = sessions
        self._events = events

    def read(self, request):
        """Reads registers or bits of a meter, as any client: it waits for the bus."""
        given = object_of(request.body)
        numbers = {}
        wrong = []
        for key, least, most, otherwise in (
            ("bus", 0, len(self._buses) - 1, 0), ("unit", 1, 247, None), ("function", 1, 4, 3),
            ("first", 0, 65535, None), ("count", 1, _COUNT_MAX, 1),
        ):  # fmt: skip
            numbers[key] = given.get(key, otherwise)
            if not is_whole(numbers[key], least, most):
                wrong.append("%s: must be %d to %d" % (key, least, most))
        if wrong:
            raise Refused(422, "this cannot be read", wrong)
        read = BusRead(self._buses[numbers["bus"]])
        read.begin(numbers["unit"], numbers["function"], numbers["first"], numbers["count"])
        return read

    def set_time(self, request):
        unix_s = object_of(request.body).get("unix_s")
        if not is_whole(unix_s, _EARLIEST_S, _LATEST_S):
            raise Refused(422, "this is no time", ("unix_s: must be %d to %d" % (_EARLIEST_S, _LATEST_S),))
        if self._has_time_server():
            raise Refused(409, "the clock is set by the time server")
        self._clock.set_ms(1000 * unix_s)
        self._events.add("time", "set from the page")
        return Response(b"{}")

    def _has_time_server(self):
        for entry in self._device.services:
            if entry.name == "ntp" and entry.service is not None:
                return entry.service.status()["age_s"] is not None
        return False

    def reboot(self, request):
        object_of(request.body)
        self._device.reboot()
        return Response(b"{}")

    def factory_reset(self, request):
        if object_of(request.body).get("confirm") != self._store.name:
            raise Refused(422, "nothing was removed", ("confirm: must be the name of the device",))
        if self._buses.paused:
            raise Refused(409, "a save is under way")
        self._store.factory_reset()
        self._password.removed()
        self._sessions.end_others(None)
        self._device.reboot()
        return Response(b"{}")


class BusRead(Later):
    """One read that waits for its bus like any client's."""

    def __init__(self, bus):
        self._bus = bus
        self._request = Request(self)
        self._bits = 0  # to be shown; 0 for registers
        self._begun_ms = seam.ticks_ms()

    def begin(self, unit, function, first, count):
        """Raises Refused."""
        self._bits = count if function < 3 else 0
        data = bytes((function, first >> 8, first & 0xFF, count >> 8, count & 0xFF))
        self._request.fill(unit, data, 0, len(data))
        code = self._bus.submit(self._request)
        if code != OK:
            raise _error(code)

    def cancel(self):
        self._bus.withdraw(self._request)

    def on_answer(self, code, frame, at, n):
        """The end of it (firmware.bus.Request)."""
        if code:
            self.answer(errors.response_to(_error(code)))
            return
        document = {}
        if frame[at + 1] & 0x80:
            document["exception"] = frame[at + 2]
        elif self._bits:
            document["bits"] = [frame[at + 3 + k // 8] >> k % 8 & 1 for k in range(self._bits)]
        else:
            document["registers"] = [frame[k] << 8 | frame[k + 1] for k in range(at + 3, at + n - 2, 2)]
        document["ms"] = seam.ticks_diff(seam.ticks_ms(), self._begun_ms)
        self.answer(Response(to_json(document)))

    def fail(self, error):
        """on_answer has raised, for want of memory most of all."""
        self.answer(errors.SHORT_RESPONSE)


def _error(code):
    if code == pdu.GATEWAY_TARGET_FAILED:
        return Refused(504, "the meter does not answer")
    if code == pdu.GATEWAY_PATH_UNAVAILABLE:
        return Refused(503, "the serial line is not there")
    if code == pdu.SERVER_DEVICE_BUSY:
        return Refused(503, "the bus is busy")
    return Refused(503, "the bus has failed: exception %d" % code)
