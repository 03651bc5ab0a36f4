"""Commands beside the configuration: read registers of a meter, set the clock, restart, reset to the factory's state.
Bodies and answers: docs/reference/http.md, Commands."""

from micropython import const

from firmware.bus import OK, Request
from firmware.net import seam
from firmware.services.http.json_body import is_whole, object_of
from firmware.services.http.response import SHORT_RESPONSE, Later, Refused, Response, response_to, to_json
from modbus import pdu

_TYPING = const(0)
if _TYPING:
    import http1
    from firmware.bus import Bus
    from firmware.services.http.service import HttpService
    from modbus.pdu import Buffer

_COUNT_MAX = const(16)
_EARLIEST_S = const(1704067200)  # 2024
_LATEST_S = 4102444800  # 2100; larger than a small integer
# Key, least, most (None: the last bus), default (None: it must be given).
_READ_FIELDS = (
    ("bus", 0, None, 0), ("unit", 1, 247, None), ("function", 1, 4, 3), ("first", 0, 65535, None),
    ("count", 1, _COUNT_MAX, 1),
)  # fmt: skip


def read(service: "HttpService", request: "http1.Request") -> "BusRead | Response":
    """Reads up to 16 registers or bits of a meter through the bus's queue, as a Modbus client does; with `served`, of a
    served meter. Raises Refused."""
    document = object_of(request.body)
    numbers = []
    wrong = []
    for key, least, most, default in _READ_FIELDS:
        if most is None:
            most = len(service.buses) - 1
        value = document.get(key, default)
        numbers.append(value)
        if not is_whole(value, least, most):
            wrong.append("%s: must be %d to %d" % (key, least, most))
    if wrong:
        raise Refused(422, "this cannot be read", wrong)
    bus, unit, function, first, count = numbers
    if document.get("served"):
        return _read_served(service, unit, function, first, count)
    bus_read = BusRead(service.buses[bus])
    bus_read.begin(unit, function, first, count)
    return bus_read


def _read_served(service, unit, function, first, count):
    modbus = service.device.running("modbus")
    if modbus is None or not modbus.served or unit not in modbus.served:
        raise Refused(422, "this cannot be read", ("unit: %d is not served" % unit,))
    out = bytearray(2 + 2 * _COUNT_MAX)
    begun_ms = seam.ticks_ms()
    n = modbus.served[unit].answer(_request(function, first, count), 0, 5, out, 0)
    document: dict = {"ms": seam.ticks_diff(seam.ticks_ms(), begun_ms)}
    if out[0] & 0x80:
        document["exception"] = out[1]
    else:
        document["registers"] = [out[k] << 8 | out[k + 1] for k in range(2, n, 2)]
    return Response(to_json(document))


def _request(function, first, count):
    """The PDU of a read."""
    return bytes((function, first >> 8, first & 0xFF, count >> 8, count & 0xFF))


def set_time(service: "HttpService", request: "http1.Request") -> Response:
    """Sets the clock to the body's unix_s. Raises Refused: 422 outside 2024 to 2100, 409 if a time server sets it."""
    unix_s = object_of(request.body).get("unix_s")
    if not is_whole(unix_s, _EARLIEST_S, _LATEST_S):
        raise Refused(422, "this is no time", ("unix_s: must be %d to %d" % (_EARLIEST_S, _LATEST_S),))
    ntp = service.device.running("ntp")
    if ntp is not None and ntp.status()["age_s"] is not None:
        raise Refused(409, "the clock is set by the time server")
    service.clock.set_ms(1000 * unix_s)
    service.events.add("time", "set from the page")
    return Response(b"{}")


def reboot(service: "HttpService", request: "http1.Request") -> Response:
    """Restarts the device once the response has been sent. Raises Refused."""
    object_of(request.body)
    service.device.reboot()
    return Response(b"{}")


def post_now(service: "HttpService", request: "http1.Request") -> Response:
    """Has posted what waits. Raises Refused."""
    object_of(request.body)
    posting = service.device.running("posting")
    if posting is None:
        raise Refused(409, "posting does not run: it is off, or has no address")
    posting.post_now()
    return Response(b"{}")


def factory_reset(service: "HttpService", request: "http1.Request") -> Response:
    """Removes configuration and password, ends all sessions and restarts the device. Raises Refused: 422 unless the
    body's `confirm` is the name of the device, 409 during a save."""
    if object_of(request.body).get("confirm") != service.config_store.name:
        raise Refused(422, "nothing was removed", ("confirm: must be the name of the device",))
    if service.buses.paused:
        raise Refused(409, "a save is under way")
    service.config_store.factory_reset()
    service.password.removed()
    service.sessions.end_others(None)
    service.device.reboot()
    return Response(b"{}")


class BusRead(Later):
    """The answer to one read: given when the bus has ended the request."""

    def __init__(self, bus: "Bus") -> None:
        self._bus = bus
        self._request = Request(self)
        self._bits = 0  # that were asked for; 0 for registers
        self._begun_ms = seam.ticks_ms()

    def begin(self, unit: int, function: int, first: int, count: int) -> None:
        """Queues the read: function 1 to 4, `count` registers or bits from `first`. Raises Refused."""
        self._bits = count if function < 3 else 0
        data = _request(function, first, count)
        self._request.fill(unit, data, 0, len(data))
        code = self._bus.submit(self._request)
        if code != OK:
            raise _error(code)

    def cancel(self) -> None:
        """Takes the request out of the bus's queue: the client has gone."""
        self._bus.withdraw(self._request)

    def on_answer(self, code: int, frame: "Buffer", at: int, n: int) -> None:
        """Makes the response; called by the bus (firmware.bus.Request) with an exception code of the gateway, or with
        0 and a reply of n bytes in frame[at:]."""
        if code:
            self.answer(response_to(_error(code)))
            return
        document: dict = {}
        if frame[at + 1] & 0x80:
            document["exception"] = frame[at + 2]
        elif self._bits:
            document["bits"] = [frame[at + 3 + k // 8] >> k % 8 & 1 for k in range(self._bits)]
        else:
            document["registers"] = [frame[k] << 8 | frame[k + 1] for k in range(at + 3, at + n - 2, 2)]
        document["ms"] = seam.ticks_diff(seam.ticks_ms(), self._begun_ms)
        self.answer(Response(to_json(document)))

    def fail(self, error: Exception) -> None:
        """on_answer has raised, most likely MemoryError."""
        self.answer(SHORT_RESPONSE)


def _error(code: int) -> Refused:
    """The refusal for an exception code of the gateway (Modbus Application Protocol 7)."""
    if code == pdu.GATEWAY_TARGET_FAILED:
        return Refused(504, "the meter does not answer")
    if code == pdu.GATEWAY_PATH_UNAVAILABLE:
        return Refused(503, "the serial line is not there")
    if code == pdu.SERVER_DEVICE_BUSY:
        return Refused(503, "the bus is busy")
    return Refused(503, "the bus has failed: exception %d" % code)
