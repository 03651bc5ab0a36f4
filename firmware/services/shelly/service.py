"""One meter as a Shelly Pro 3EM: home batteries and inverters ask for its power by JSON-RPC over UDP.

Source: Shelly's public description of its devices of the second generation (RPC over UDP; EM, EM1, Shelly). A request
is an object with `id`, `method` and mostly `src`; three methods are known. A reading that is not fresh has no answer,
so that a battery never follows an old one: it has its own way to go on without a meter. docs/reference/shelly.md.
"""

import json

import strict_json
from micropython import const

from firmware.meters.readings import GOOD, QUALITIES
from firmware.net import seam
from firmware.net.link import is_local
from firmware.net.udp_server import UdpServer
from firmware.services import Service

_TYPING = const(0)
if _TYPING:
    from firmware.board import Link
    from firmware.events import Events
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.budget import Budget

_REQUEST_MAX = const(256)
_PER_SECOND = const(32)
_SOURCE_MAX = const(48)  # characters of a request's `src` that come back
_ID_MAX = const(0x3FFFFFFF)
# Numbers of points (docs/reference/points.md), of L1; L2 and L3 follow.
_VOLTAGE, _CURRENT, _POWER, _APPARENT, _FACTOR = 1, 9, 17, 25, 29
_FREQUENCY, _TOTAL_POWER, _TOTAL_APPARENT = 15, 16, 24
_NO_VALUE = QUALITIES.index("no_value")


class Shelly(Service):
    """`config` is the section "shelly"."""

    name = "shelly"

    def __init__(
        self, config: dict, name: str, budget: "Budget", events: "Events", link: "Link", meters: "Meters",
        readings: "Readings",
    ):  # fmt: skip
        self._config = config
        self._name = name
        self._events = events
        self._link = link
        self._meters = meters
        self._readings = readings
        self._slot = budget.service_slot("shelly")
        self._server = UdpServer(self._slot, self, config["bind"], config["port"], _PER_SECOND)
        self._refused = 0
        self._not_fresh = 0

    def start(self) -> None:
        """firmware.services.Service, as tick(), close() and status() are."""
        self._server.open()
        if self._meters.in_slot(self._config["slot"]) is None:
            self._events.add("shelly", "there is no meter in slot %d: nothing is answered" % self._config["slot"])

    def tick(self) -> None:
        """Has datagrams looked at again."""
        self._server.tick()

    def close(self) -> None:
        """Gives back the socket."""
        self._server.close()

    def status(self) -> dict:
        """The section "shelly" of GET /api/status."""
        refused = self._refused + self._server.empty
        return {"answered": self._slot.requests, "refused": refused, "not_fresh": self._not_fresh}

    def fail(self, error: Exception) -> None:
        """on_ready has raised: no way to the sender, no memory."""
        self._events.add("shelly", "a request was lost: %r" % error)

    def on_ready(self, events: int) -> None:
        """Looks at one datagram."""
        received = self._server.receive(_REQUEST_MAX + 1)
        if received is None:
            return
        data, sender = received
        reply = None
        if len(data) <= _REQUEST_MAX and (self._config["anywhere"] or is_local(self._link, seam.peer(sender)[0])):
            reply = self._reply(data)
        if reply is None:
            self._refused += 1
        elif reply:
            self._server.stream.sendto(reply, sender)
            slot = self._slot
            slot.peer = sender
            slot.requests += 1
            slot.sent += len(reply)

    def _reply(self, data):
        """The datagram that answers; b"" without a fresh reading, None when this is no request."""
        try:
            request = strict_json.loads(data)
        except ValueError:
            return None
        if not isinstance(request, dict):
            return None
        number, method, source = request.get("id"), request.get("method"), request.get("src")
        if type(number) is not int or not 0 <= number <= _ID_MAX or not isinstance(method, str):
            return None
        if not isinstance(source, str) or len(source) > _SOURCE_MAX:
            source = "unknown"
        if method == "EM.GetStatus":
            result = self._triphase()
        elif method == "EM1.GetStatus":
            result = self._single()
        elif method == "Shelly.GetDeviceInfo":
            result = self._device_info()
        else:
            text = b'{"id":%d,"src":"%s","dst":%s,"error":{"code":404,"message":"No handler for this method"}}'
            return text % (number, self._own_id(), json.dumps(source).encode())
        if not result:
            self._not_fresh += 1
            return b""
        return b'{"id":%d,"src":"%s","dst":%s,"result":%s}' % (
            number, self._own_id(), json.dumps(source).encode(), result,
        )  # fmt: skip

    def _own_id(self):
        return b"shellypro3em-" + self._mac()

    def _mac(self):
        mac = self._link.details()[4]
        return mac.replace(":", "").encode() if mac else b"000000000000"

    def _device_info(self):
        return (
            b'{"name":%s,"id":"%s","mac":"%s","slot":0,"model":"SPEM-003CEBEU","gen":2,"fw_id":"meterport","ver":"1.0.0",'
            b'"app":"Pro3EM","auth_en":false,"auth_domain":null,"profile":"triphase"}'
        ) % (json.dumps(self._name).encode(), self._own_id(), self._mac().upper())

    def _read(self, meter, number):
        """(value, quality) of the point with that number: None unless it is fresh; _NO_VALUE: it is not measured."""
        i = meter.profile.index_of(number)
        if i < 0:
            return None, _NO_VALUE
        value, _, quality = self._readings.read(meter, i)
        return value if quality == GOOD else None, quality

    def _value(self, meter, number):
        return self._read(meter, number)[0]

    def _powers(self, meter):
        """The power of each phase in W, None of one that is not measured. Or None when one that is measured has no
        fresh power, or there is none at all: as 0 it would make the sum wrong."""
        powers = []
        for k in range(3):
            power, quality = self._read(meter, _POWER + k)
            if power is None and quality != _NO_VALUE:
                return None
            powers.append(power)
        if powers == [None, None, None]:
            powers[0] = self._value(meter, _TOTAL_POWER)  # a meter of one phase
            if powers[0] is None:
                return None
        return powers

    def _phases(self):
        """[(voltage, current, power, apparent power, power factor)] of the phases in V, A, W, VA, those that the meter
        lacks made of what it has; None without fresh powers."""
        meter = self._meters.in_slot(self._config["slot"])
        powers = None if meter is None else self._powers(meter)
        return None if powers is None else [self._phase(meter, k, powers[k]) for k in range(3)]

    def _phase(self, meter, k, power):
        if power is None:
            return 0, 0, 0, 0, 0
        voltage = self._value(meter, _VOLTAGE + k) or 0
        current = self._value(meter, _CURRENT + k) or 0
        apparent = self._value(meter, _APPARENT + k)
        if apparent is None:
            apparent = max(abs(voltage * current), abs(power))
        factor = self._value(meter, _FACTOR + k)
        if factor is None:
            factor = power / apparent if apparent else 0
        return voltage, current, power, apparent, factor

    def _total(self, phases):
        """(power, apparent power) of all phases: the meter's own sums where it has them."""
        meter = self._meters.in_slot(self._config["slot"])
        power = self._value(meter, _TOTAL_POWER)
        apparent = self._value(meter, _TOTAL_APPARENT)
        return (
            sum([phase[2] for phase in phases]) if power is None else power,
            sum([phase[3] for phase in phases]) if apparent is None else apparent,
        )

    def _frequency(self):
        meter = self._meters.in_slot(self._config["slot"])
        return self._value(meter, _FREQUENCY) or 50

    # Each number has a decimal point: some clients take one without for damaged.

    def _triphase(self):
        phases = self._phases()
        if phases is None:
            return None
        frequency = self._frequency()
        parts = [
            b'"%s_current":%.3f,"%s_voltage":%.1f,"%s_act_power":%.1f,"%s_aprt_power":%.1f,"%s_pf":%.2f,"%s_freq":%.1f,'
            % (name, current, name, voltage, name, power, name, apparent, name, factor, name, frequency)
            for name, (voltage, current, power, apparent, factor) in zip((b"a", b"b", b"c"), phases)
        ]
        power, apparent = self._total(phases)
        return b'{"id":0,%s"n_current":null,"total_current":%.3f,"total_act_power":%.1f,"total_aprt_power":%.1f}' % (
            b"".join(parts), sum([phase[1] for phase in phases]), power, apparent,
        )  # fmt: skip

    def _single(self):
        phases = self._phases()
        if phases is None:
            return None
        power, apparent = self._total(phases)
        voltage, _, _, _, factor = phases[0]
        return (
            b'{"id":0,"current":%.3f,"voltage":%.1f,"act_power":%.1f,"aprt_power":%.1f,"pf":%.2f,"freq":%.1f,'
            b'"calibration":"factory"}'
        ) % (
            sum([phase[1] for phase in phases]), voltage, power, apparent,
            factor if len([phase for phase in phases if phase[2]]) < 2 else (power / apparent if apparent else 0),
            self._frequency(),
        )  # fmt: skip
