"""SNTP client (RFC 4330, RFC 5905): sets the clock, never blocks the loop, trusts only an answer to its own question.

The transmit timestamp of the request is a random nonce: an answer that does not return it is not ours. Failures are
retried at doubling intervals; a server that says RATE or DENY (kiss-o'-death) is left alone for the longest of them.
What asks is in the heap only while it does (question.py).
"""

from micropython import const

from firmware.net import seam

_TIMEOUT_MS = const(2000)
_LOOK_MS = const(1000)
_PATIENCE = const(15)  # looks
_RETRY_FIRST_S = const(15)
_RETRY_LAST_S = const(3600)
_LOADED = ("ntp", "dns", "firmware.net.dns", "firmware.net.udp", "firmware.services.ntp.question")


class Client:
    def __init__(self, config, budget, events, clock, link, forget=lambda *names: None, short=lambda: False):
        """`link` is the board's (firmware.board): up(), dns_servers(). `forget` gives modules back to the heap;
        `short()` tells whether others need all of it just now."""
        self._slot = budget.service_slot("ntp")
        self._forget = forget
        self._short = short
        self._interval_s = config["interval_s"]
        self.server = config["server"]
        self.port = config["port"]
        self.events = events
        self.clock = clock
        self.link = link
        self.found = None  # the address that the server's name stands for, until when
        self.found_until_s = 0
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
            while not self.link.up():
                await seam.sleep_ms(_LOOK_MS)
            for _ in range(_PATIENCE):
                if not self._short():
                    break
                await seam.sleep_ms(_LOOK_MS)
            try:
                await self.synchronise()
                retry_s = _RETRY_FIRST_S
                wait_s = self._interval_s
            except (OSError, ValueError) as error:
                self.failures += 1
                self.error = str(error)
                self.events.add("ntp", "no time from %s: %s" % (self.server, error))
                if getattr(error, "kiss", None):
                    retry_s = _RETRY_LAST_S
                wait_s = retry_s
                retry_s = min(2 * retry_s, _RETRY_LAST_S)
            await seam.sleep_ms(1000 * wait_s)

    async def synchronise(self):
        """One question, and the clock set by its answer. Raises OSError or ValueError (of which NtpError is one)."""
        from firmware.services.ntp import question

        try:
            await question.ask(self, self._slot, _TIMEOUT_MS)
        finally:
            self._forget(*_LOADED)
