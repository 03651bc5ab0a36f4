"""SNTP client (RFC 4330, RFC 5905): sets the clock, never blocks the loop, trusts only an answer to its own question.

The transmit timestamp of the request is a random nonce: an answer that does not return it is not ours. Failures are
retried at doubling intervals; a server that says RATE or DENY (kiss-o'-death) is left alone for the longest of them.
"""

import os

from micropython import const

import ntp
from firmware.net import seam
from firmware.net.udp import Exchange
from firmware.services import Service

_TYPING = const(0)
if _TYPING:
    from firmware.board import Link
    from firmware.events import Events
    from firmware.net.budget import Budget
    from firmware.net.clock import Clock
    from firmware.net.dns import Resolver

_TIMEOUT_MS = const(2000)
_LOOK_MS = const(1000)
_RETRY_FIRST_S = const(15)
_RETRY_LAST_S = const(3600)
_REQUEST = const(48)  # bytes: RFC 4330, 4
_NONCE = const(8)


class NtpClient(Service):
    """`config` is the section "ntp"; `link` is the board's (firmware.board): up()."""

    name = "ntp"
    has_task = True

    def __init__(
        self, config: dict, budget: "Budget", events: "Events", clock: "Clock", link: "Link", resolver: "Resolver"
    ) -> None:
        self._interval_s = config["interval_s"]
        self._server = config["server"]
        self._port = config["port"]
        self._events = events
        self._clock = clock
        self._link = link
        self._exchange = Exchange(budget.service_slot("ntp"))
        self._resolver = resolver
        self.synchronised_s: "int | None" = None  # uptime of the last success
        self.offset_ms = 0  # what the last answer corrected
        self.round_trip_ms = 0
        self.stratum = 0
        self.failures = 0
        self.error: "str | None" = None  # the text of the last failure, None after a success

    def status(self) -> dict:
        """The section "ntp" of GET /api/status (docs/reference/http.md)."""
        since_s = self.synchronised_s
        return {
            "age_s": None if since_s is None else self._clock.uptime_s() - since_s,
            "stratum": self.stratum,
            "offset_ms": self.offset_ms,
            "round_trip_ms": self.round_trip_ms,
            "failures": self.failures,
            "error": self.error,
        }

    async def run(self) -> None:
        """Asks for ever: as soon as the link is up, then every interval_s, or sooner after a failure."""
        retry_s = _RETRY_FIRST_S
        while True:
            while not self._link.up():
                await seam.sleep_ms(_LOOK_MS)
            try:
                await self.synchronise()
                retry_s = _RETRY_FIRST_S
                wait_s = self._interval_s
            except (OSError, ValueError) as error:
                self.failures += 1
                self.error = str(error)
                self._events.add("ntp", "no time from %s: %s" % (self._server, error))
                if getattr(error, "kiss", None):
                    retry_s = _RETRY_LAST_S
                wait_s = retry_s
                retry_s = min(2 * retry_s, _RETRY_LAST_S)
            await seam.sleep_ms(1000 * wait_s)

    async def synchronise(self) -> None:
        """Asks once and sets the clock by the answer. Raises OSError or ValueError (of which NtpError is one)."""
        ip = await self._resolver.resolve(self._server, self._exchange)
        clock = self._clock
        nonce = os.urandom(_NONCE)
        request = bytearray(_REQUEST)
        ntp.request(request, nonce)
        sent_ms = clock.uptime_ms()
        arrived_ms = 0

        def check(data):
            nonlocal arrived_ms
            arrived_ms = clock.uptime_ms()
            try:
                return ntp.parse(data, len(data), nonce)
            except ntp.NtpError as error:
                return None if error.foreign else error  # a packet of another sender must not end the wait

        reply = await self._exchange.ask(ip, self._port, request, check, _TIMEOUT_MS)
        if reply is None:
            raise OSError("no (valid) answer")
        if isinstance(reply, ntp.NtpError):
            raise reply
        self._set_clock(reply, sent_ms, arrived_ms)

    def _set_clock(self, reply, sent_ms, arrived_ms):
        """RFC 5905, 8: offset and delay from the four timestamps, here in ms."""
        clock = self._clock
        before = clock.unix_ms()
        base = 0 if before is None else before - clock.uptime_ms()
        times = (base + sent_ms, reply.receive_ms, reply.transmit_ms, base + arrived_ms)
        offset = ntp.offset_ms(*times)
        self.round_trip_ms = ntp.round_trip_ms(*times)
        clock.set_ms(clock.uptime_ms() + base + offset)
        self.offset_ms = 0 if before is None else offset
        self.stratum = reply.stratum
        if self.synchronised_s is None:
            self._events.add("ntp", "clock set by %s (stratum %d)" % (self._server, reply.stratum))
        self.synchronised_s = clock.uptime_s()
        self.error = None
