"""SNTP client (RFC 4330, RFC 5905): sets the clock, never blocks the loop, trusts only an answer to its own question.

The transmit timestamp of the request is a random nonce: an answer that does not return it is not ours. Failures are
retried at doubling intervals; a server that says RATE or DENY (kiss-o'-death) is left alone for the longest of them.
The first time after boot is believed when two answers say the same, of two servers where more than one is configured.
Once the clock is set, a step of more than 1000 s is made only when two answers in a row say the same.
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
_STEP_MS = const(1000)  # a correction that is logged
_DOUBT_MS = const(1000000)  # and one that a single answer does not make: RFC 5905, A.5.5.1 (PANICT, 1000 s)
_SAME_MS = const(10000)
_AGAIN_MS = const(2000)  # before the same server is asked once more for the first time after boot: RFC 5905, iburst
_FIRST_MAX = const(8)  # answers that are kept until two agree
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
        self._servers = [config["server"]] + config["more_servers"]
        self._rest_until_s = [0] * len(self._servers)  # uptime: of a server that wants to be left alone
        self._turn = 0  # index of the server that is asked
        self._doubted_ms: "int | None" = None  # a large correction, which another answer has to confirm
        # (Unix time of the boot, index of the server) of the answers before the first time is believed
        self._first: "tuple[tuple[int, int], ...]" = ()
        self._port = config["port"]
        self._events = events
        self._clock = clock
        self._link = link
        self._exchange = Exchange(budget.service_slot("ntp"))
        self._resolver = resolver
        self.server: "str | None" = None  # that gave the time last
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
            "server": self.server,
            "stratum": self.stratum,
            "offset_ms": self.offset_ms,
            "round_trip_ms": self.round_trip_ms,
            "failures": self.failures,
            "error": self.error,
        }

    async def run(self) -> None:
        """Asks for ever: as soon as the link is up, then every interval_s, or sooner after a failure. Of several
        servers each is asked in turn, from the one that answered last, until one gives the time."""
        retry_s = _RETRY_FIRST_S
        while True:
            while not self._link.up():
                await seam.sleep_ms(_LOOK_MS)
            wait_s = await self._ask_servers()
            if not wait_s:
                retry_s = _RETRY_FIRST_S
                wait_s = self._interval_s
            else:
                wait_s = max(wait_s, retry_s)
                retry_s = min(2 * retry_s, _RETRY_LAST_S)
            await seam.sleep_ms(1000 * wait_s)

    async def _ask_servers(self):
        """0 when one has given the time; else the seconds for which all must be left alone, at least 1."""
        servers = self._servers
        alone_s = _RETRY_LAST_S
        answered = -1  # index of the server that has answered last
        for k in range(len(servers) + 1):
            if k == len(servers):
                # The first time needs two answers. Where the other servers differ or are silent, or there is no other,
                # the last one that has answered gives the second, too.
                if answered < 0:
                    break
                self._turn = answered
                await seam.sleep_ms(_AGAIN_MS)
            left_s = self._rest_until_s[self._turn] - self._clock.uptime_s()
            if left_s <= 0:
                left_s = 1
                try:
                    answer = await self._ask()
                    if self._clock.is_set or self._is_agreed(answer):
                        self._set_clock(answer)
                        return 0
                    answered = self._turn
                    self.error = "no two answers agree yet"
                except (OSError, ValueError) as error:
                    self.failures += 1
                    self.error = str(error)
                    self._events.add("ntp", "no time from %s: %s" % (servers[self._turn], error))
                    if getattr(error, "kiss", None):
                        left_s = _RETRY_LAST_S
                        self._rest_until_s[self._turn] = self._clock.uptime_s() + left_s
            alone_s = min(alone_s, left_s)
            self._turn = (self._turn + 1) % len(servers)
        return alone_s

    async def synchronise(self) -> None:
        """Asks one server once and sets the clock by the answer. Raises OSError or ValueError (of which NtpError is
        one)."""
        self._set_clock(await self._ask())

    async def _ask(self):
        """(Reply, uptime in ms when the question left, uptime in ms when the answer came) of one server."""
        clock = self._clock
        ip = await self._resolver.resolve(self._servers[self._turn], self._exchange)
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
        return reply, sent_ms, arrived_ms

    def _is_agreed(self, answer):
        """Whether an answer before it says the same time. If so, the server that said it first is the first choice."""
        reply, sent_ms, arrived_ms = answer
        boot_ms = ntp.offset_ms(sent_ms, reply.receive_ms, reply.transmit_ms, arrived_ms)
        for other_ms, turn in self._first:
            if abs(boot_ms - other_ms) < _SAME_MS:
                self._first = ()
                self._turn = turn
                return True
        self._first = self._first[1 - _FIRST_MAX :] + ((boot_ms, self._turn),)
        return False

    def _set_clock(self, answer):
        """RFC 5905, 8: offset and delay from the four timestamps, here in ms."""
        reply, sent_ms, arrived_ms = answer
        clock = self._clock
        before = clock.unix_ms()
        base = 0 if before is None else before - clock.uptime_ms()
        times = (base + sent_ms, reply.receive_ms, reply.transmit_ms, base + arrived_ms)
        offset = ntp.offset_ms(*times)
        if before is not None:
            self._confirm(offset)
        self.round_trip_ms = ntp.round_trip_ms(*times)
        clock.set_ms(clock.uptime_ms() + base + offset)
        server = self._servers[self._turn]
        if before is None:
            offset = 0
        if self.synchronised_s is None:
            self._events.add("ntp", "clock set by %s (stratum %d)" % (server, reply.stratum))
        elif abs(offset) >= _STEP_MS:
            self._events.add("ntp", "clock stepped by %d s by %s" % (offset // 1000, server))
        self.offset_ms = offset
        self.stratum = reply.stratum
        self.server = server
        self.synchronised_s = clock.uptime_s()
        self.error = None

    def _confirm(self, offset_ms):
        """Raises NtpError for a correction that is hard to believe, until a second answer in a row says the same."""
        doubted_ms = self._doubted_ms
        self._doubted_ms = None
        if abs(offset_ms) < _DOUBT_MS or (doubted_ms is not None and abs(offset_ms - doubted_ms) < _SAME_MS):
            return
        self._doubted_ms = offset_ms
        raise ntp.NtpError("a step of %d s waits for a second answer that says the same" % (offset_ms // 1000))
