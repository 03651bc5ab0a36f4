"""What somebody does to the device beside configuring it: a read of a meter's registers, the clock, a restart, and all
back to how it came from the factory."""

import os

from firmware.bus import OK, Request
from firmware.config import store
from firmware.net import seam
from firmware.services.http.given import object_of
from firmware.services.http.guard import Refused

_COUNT_MAX = 16
_FORGOTTEN = ("data/config.json", "data/config.upload")
_KEPT_TWICE = ("data/config.good", "data/password")
_EARLIEST_S = 1704067200  # 2024
_LATEST_S = 4102444800  # 2100
_BUSY = 6  # exception codes of the bus: Application Protocol 7
_NO_PATH = 10
_NO_ANSWER = 11


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    given = object_of(body)
    if request.path == "/api/read":
        connection.waits = _read(app, given, connection)
        return None
    if request.path == "/api/time":
        _set_clock(app, given)
    else:
        if request.path == "/api/factory_reset":
            _forget_all(app, given)
            connection.server.password = None
        app.reboot()
    return iter(("{}",)), ()


def _read(app, given, connection):
    numbers = {}
    wrong = []
    for key, least, most, otherwise in (
        ("bus", 0, len(app.buses) - 1, 0), ("unit", 1, 247, None), ("function", 1, 4, 3), ("first", 0, 65535, None),
        ("count", 1, _COUNT_MAX, 1),
    ):  # fmt: skip
        value = given.get(key, otherwise)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            wrong.append("%s: must be %d to %d" % (key, least, most))
        numbers[key] = value
    if wrong:
        raise Refused(422, "this cannot be read", wrong)
    return Read(app.buses[numbers["bus"]], numbers, connection)


class Read:
    """One read that waits for its bus like any client's; tells the connection its end."""

    def __init__(self, bus, numbers, connection):
        self._bus = bus
        self._connection = connection
        self._bits = numbers["count"] if numbers["function"] < 3 else 0
        first, count = numbers["first"], numbers["count"]
        pdu = bytes((numbers["function"], first >> 8, first & 0xFF, count >> 8, count & 0xFF))
        self._request = Request(self)
        self._request.fill(numbers["unit"], pdu, 0, len(pdu))
        self._begin_ms = seam.ticks_ms()
        code = bus.submit(self._request)
        if code != OK:
            raise _error(code)

    def cancel(self):
        self._bus.withdraw(self._request)

    def on_answer(self, code, buf, at, n):
        """The end of it (firmware.bus.Request)."""
        if code:
            self._connection.tell_error(_error(code))
            return
        ms = seam.ticks_diff(seam.ticks_ms(), self._begin_ms)
        if buf[at + 1] & 0x80:
            text = '{"exception":%d,"ms":%d}' % (buf[at + 2], ms)
        elif self._bits:
            bits = [str(buf[at + 3 + k // 8] >> k % 8 & 1) for k in range(self._bits)]
            text = '{"bits":[%s],"ms":%d}' % (",".join(bits), ms)
        else:
            words = [str(buf[k] << 8 | buf[k + 1]) for k in range(at + 3, at + n - 2, 2)]
            text = '{"registers":[%s],"ms":%d}' % (",".join(words), ms)
        self._connection.tell(200, iter((text,)))


def _error(code):
    if code == _NO_ANSWER:
        return Refused(504, "the meter does not answer")
    if code == _NO_PATH:
        return Refused(503, "the serial line is not there")
    return Refused(503, "the bus is busy" if code == _BUSY else "the bus has failed: exception %d" % code)


def _set_clock(app, given):
    unix_s = given.get("unix_s")
    if isinstance(unix_s, bool) or not isinstance(unix_s, int) or not _EARLIEST_S <= unix_s <= _LATEST_S:
        raise Refused(422, "this is no time", ("unix_s: must be %d to %d" % (_EARLIEST_S, _LATEST_S),))
    if app.ntp is not None and app.ntp.synchronised_s is not None:
        raise Refused(409, "the clock is set by the time server")
    app.clock.set_ms(1000 * unix_s)
    app.events.add("time", "set from the page")


def _forget_all(app, given):
    if given.get("confirm") != app.name():
        raise Refused(422, "nothing was removed", ("confirm: must be the name of the device",))
    for path in _FORGOTTEN:
        try:
            os.remove(path)
        except OSError:
            continue
    for path in _KEPT_TWICE:
        store.remove(path)
    app.events.add("app", "all settings were removed")
