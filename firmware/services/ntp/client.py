"""SNTP client (RFC 4330, RFC 5905): sets the clock, never blocks the loop, trusts only an answer to its own question.

The transmit timestamp of the request is a random nonce: an answer that does not return it is not ours. Failures are
retried at doubling intervals; a server that says RATE or DENY (kiss-o'-death) is left alone for the longest of them.
"""

import os

from micropython import const

import ntp
from firmware.net import seam
from firmware.net.udp import Exchange

_TIMEOUT_MS = const(2000)
_LOOK_MS = const(1000)
_RETRY_FIRST_S = const(15)
_RETRY_LAST_S = const(3600)


class Client:
    def __init__(self, config, budget, events, clock, link):
        """`link` is the board's (firmware.board): up(), dns_servers()."""
        slot = budget.service_slot("ntp")
        self._server = config["server"]
        self._port = config["port"]
        self._interval_s = config["interval_s"]
        self._events = events
        self._clock = clock
        self._resolver = None
        if not self._server.replace(".", "").isdigit():  # an address needs no resolver, and no heap for one
            from firmware.net.dns import Resolver

            self._resolver = Resolver(slot, link.dns_servers, clock.uptime_s, os.urandom)
        self._link = link
        self._exchange = Exchange(slot)
        self.synchronised_s = None  # uptime of the last success
        self.offset_ms = 0  # what the last answer corrected
        self.round_trip_ms = 0
        self.stratum = 0
        self.failures = 0
        self.error = None

    async def run(self):
        """Asks for ever: as soon as the link is up, then every interval_s, or sooner after a failure."""
        retry_s = _RETRY_FIRST_S
        while True:
            while not self._link.up():
                await seam.sleep_ms(_LOOK_MS)
            try:
                await self.synchronise()
                retry_s = _RETRY_FIRST_S
                wait_s = self._interval_s
            except (OSError, ValueError, ntp.NtpError) as error:
                self.failures += 1
                self.error = str(error)
                self._events.add("ntp", "no time from %s: %s" % (self._server, error))
                if isinstance(error, ntp.NtpError) and error.kiss:
                    retry_s = _RETRY_LAST_S
                wait_s = retry_s
                retry_s = min(2 * retry_s, _RETRY_LAST_S)
            await seam.sleep_ms(1000 * wait_s)

    async def synchronise(self):
        """One question, and the clock set by its answer. Raises OSError or NtpError."""
        ip = await self._resolver.resolve(self._server) if self._resolver else self._server
        nonce = os.urandom(8)
        request = bytearray(48)
        ntp.request(request, nonce)
        clock = self._clock
        sent_ms = clock.uptime_ms()
        arrived_ms = 0

        def check(data):
            nonlocal arrived_ms
            arrived_ms = clock.uptime_ms()
            try:
                return ntp.parse(data, len(data), nonce)
            except ntp.NtpError as error:
                return None if error.foreign else error  # somebody else's packet must not end the wait

        reply = await self._exchange.ask(ip, self._port, request, check, _TIMEOUT_MS)
        if reply is None:
            raise OSError("no (valid) answer")
        if isinstance(reply, ntp.NtpError):
            raise reply
        before = clock.unix_ms()
        base = 0 if before is None else before - clock.uptime_ms()
        # RFC 5905, 8: offset and delay from the four timestamps, here in ms.
        times = (base + sent_ms, reply.receive_ms, reply.transmit_ms, base + arrived_ms)
        offset = ntp.offset_ms(*times)
        self.round_trip_ms = ntp.round_trip_ms(*times)
        clock.set_ms(clock.uptime_ms() + base + offset)
        self.offset_ms = offset if before is not None else 0
        self.stratum = reply.stratum
        if self.synchronised_s is None:
            self._events.add("ntp", "clock set by %s (stratum %d)" % (self._server, reply.stratum))
        self.synchronised_s = clock.uptime_s()
        self.error = None
