"""Posting as a service (firmware.services): when records are posted, what the answers mean, and what comes next.

    an answer                         what is done
    2xx, and what the format wants    delivered: the cursor moves, the next records follow at once
    400, 422                          a record is wrong: the half of the batch, down to the one that is set aside
    413                               the half of the batch, and no larger ones from then on
    429, 503                          again after Retry-After, or as without an answer
    other 4xx, 3xx                    nothing is lost; again after 15 minutes
    others, none                      again after 10 s, 20 s, and so on up to 15 minutes, less a random part

A record's time is its key at the receiver: what is sent twice is there once. The cursor is written at most each ten
minutes, in a gap of the buses.
"""

import os

import http_client
from micropython import const

from firmware.history.records import Batch, FlashRecords, Keeper, offset_s
from firmware.net import seam
from firmware.net.link import serial as serial_of
from firmware.services import Service
from firmware.services.posting import formats
from firmware.services.posting.exchange import BodyChanged, Exchange

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.board import Link
    from firmware.bus import Buses
    from firmware.events import Events
    from firmware.history.history import History
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock
    from firmware.net.tcp_client import TcpClient
    from firmware.net.tls import Tls
    from firmware.services.posting.present import PresentReadings

_LOOK_MS = const(1000)  # at what has to be there before anything is posted
_WAIT_MAX_S = const(600)
_PAUSE_MS = const(50)  # between two batches
_BACK_OFF_FIRST_S = const(10)
_BACK_OFF_LAST_S = const(900)
_STOPPED_S = const(900)
_OFFSET_MIN_S = const(5)  # behind the end of an interval, when its record has been taken
_REFUSED_SHOWN = const(5)
_SET_ASIDE_MAX = const(10)  # records one after the other: then it is not they that are wrong
_CURSOR = const("data/posting")
# What becomes of a batch
_DELIVERED = const(0)
_REFUSED = const(1)
_TOO_LARGE = const(2)
_LATER = const(3)
_STOPPED = const(4)


class Posting(Service):
    """`section`: posting of the configuration, which names an address. `client`: firmware.net.tcp_client.TcpClient;
    `tls`: firmware.net.tls.Tls for https, else None. `name`: of the device.

    state: "waiting" for the next time, "posting", "no_link", "no_time" (the clock is not set), "retrying" (no answer,
    or a server that is busy), "refused" (by a server that has to be told otherwise). error: why, None after a delivery.
    posts, delivered, failures: requests, records and failed requests since boot; last_status, last_answer,
    last_unix_s: of the last answer."""

    name = "posting"
    has_task = True

    def __init__(
        self,
        section: dict,
        name: str,
        client: "TcpClient",
        tls: "Tls | None",
        events: "Events",
        clock: "Clock",
        link: "Link",
        history: "History",
        meters: "Meters",
        readings: "Readings",
        buses: "Buses",
        random_bytes: "Callable[[int], bytes]" = os.urandom,
    ) -> None:
        """Raises OSError when the cursor cannot be read."""
        self.section = section
        self.tls = tls
        self._events = events
        if tls is not None and section["trust"] == "none":
            events.add("posting", "the server's certificate is not checked: posting.trust is none")
        self._clock = clock
        self._link = link
        self._random_bytes = random_bytes
        self._waker = seam.Waker()
        self.interval_s = section["interval_s"]
        self.records: FlashRecords | PresentReadings
        if history.records is not None:
            self.records = FlashRecords(history.records, _CURSOR)
        else:
            # Here and not at the head: it takes heap where records come from flash, too.
            from firmware.history.recorder import energies, powers
            from firmware.services.posting import present

            series = energies(meters.meters) + powers(meters.meters)
            self.records = present.PresentReadings(series, self.interval_s, readings, clock)
            events.add("posting", "history.flash is off: present readings only, nothing is kept for later")
        self._keeper = Keeper(self.records, buses, events, "posting")
        serial = serial_of(link, name).encode()
        self._offset_s = max(offset_s(serial, self.interval_s), _OFFSET_MIN_S)
        gateway = formats.Gateway(name.encode(), serial, section)
        self.format = formats.make(section["format"], gateway, self.records.columns)
        url = http_client.parse_url(section["url"])
        self._exchange = Exchange(client, url, _fields(section), tls, self.records, self.format)
        self.state = "waiting"
        self.error: str | None = None
        self.posts = self.delivered = self.failures = 0
        self.last_status = 0
        self.last_answer = b""
        self.last_unix_s = 0
        self.rows_max = self.format.rows_max
        self._rows = self.rows_max  # of the next batch
        self._suspect_end = 0  # records before this one were refused, and the one at fault is not found yet
        self._refused: list[tuple] = []  # (time_s, status, answer) of the records set aside last
        self._set_aside_in_a_row = 0
        self._has_failed = False  # since the last delivery, and that is in the log
        self._back_off_s = _BACK_OFF_FIRST_S
        self._due_s: int | None = None  # uptime of the next post, None before the time is known
        self._is_asked = False  # by post_now()

    # -- what others see

    @property
    def next_s(self) -> "int | None":
        """Seconds until the next post, None while that is not known."""
        return None if self._due_s is None else max(self._due_s - self._clock.uptime_s(), 0)

    def status(self) -> dict:
        """For GET /api/status."""
        records = self.records
        return {
            "state": self.state, "error": self.error, "next_s": self.next_s,
            "waiting": records.waiting, "delivered": self.delivered, "set_aside": records.set_aside,
            "lost": records.lost, "undated": records.undated, "posts": self.posts, "failures": self.failures,
        }  # fmt: skip

    def details(self) -> dict:
        """GET /api/posting."""
        details = self.status()
        last = {"unix_s": self.last_unix_s, "status": self.last_status, "answer": _printable(self.last_answer)}
        details.update({
            "host": self._exchange.host, "format": self.section["format"], "interval_s": self.interval_s,
            "offset_s": self._offset_s, "is_kept": self.records.is_kept, "batch_max": self.rows_max,
            "tls_stall_ms": None if self.tls is None else self.tls.longest_stall_ms,
            "ca_bytes": None if self.tls is None else self.tls.ca_bytes(),
            "last": last if self.last_status else None,
            "refused": [{"unix_s": t, "status": status, "answer": answer} for t, status, answer in self._refused],
        })  # fmt: skip
        return details

    def post_now(self) -> None:
        """Posts what waits as soon as there are network and time, and does not wait for the next time."""
        self._is_asked = True
        self._waker.wake()

    # -- when

    async def run(self) -> None:
        """Posts for ever."""
        if self.format.parts == 0 or not self.records.columns.names:
            self._events.add("posting", "no meter has energy or power to post")
        while True:
            due_s = self._find_due()
            if due_s is None or not (self._is_asked or self._clock.uptime_s() >= due_s):
                await self._waker.wait_ms(self._look_ms())
                continue
            self._is_asked = False
            wait_s = None
            try:
                wait_s = await self._post_what_waits()
            finally:
                self._exchange.close()
                self._due_s = self._clock.uptime_s() + (self._until_slot_s() if wait_s is None else wait_s)

    def _find_due(self) -> "int | None":
        """The uptime of the next post; None without network or time, which `state` says then."""
        clock = self._clock
        if not self._link.up():
            self._say("no_link", "no network")
            return None
        if not clock.is_set or not self.records.is_ready:
            self._say("no_time", "the time is not known yet")
            return None
        if self._due_s is None:
            self._due_s = clock.uptime_s() + self._until_slot_s()
        if self.state in ("no_link", "no_time"):
            self._say("waiting", None)
        return self._due_s

    def _look_ms(self) -> int:
        """How long nothing can be due."""
        if self._due_s is None or self.state in ("no_link", "no_time"):
            return _LOOK_MS
        return 1000 * min(max(self._due_s - self._clock.uptime_s(), 1), _WAIT_MAX_S)

    def _until_slot_s(self) -> int:
        """Seconds until the next time at which all gateways with this serial number's offset post."""
        since_s = (self._clock.unix_s() - self._offset_s) % self.interval_s
        return self.interval_s - since_s

    def _say(self, state: str, error: "str | None") -> None:
        self.state = state
        self.error = error

    # -- what

    async def _post_what_waits(self) -> "int | None":
        """Posts records until none is left; returns None then, else the seconds after which to try again."""
        self.records.take()
        while True:
            self.state = "posting"
            batch = Batch(self.records.cursor)
            outcome = await self._post_batch(batch)
            if outcome == _LATER:
                self.failures += 1
                return self._wait_s()
            if outcome == _STOPPED:
                self.failures += 1
                return _STOPPED_S
            if not batch.count:
                self._say("waiting", None)
                return None
            if outcome == _DELIVERED:
                self._note_delivered(batch)
            elif batch.count > 1:
                self._halve(batch, outcome)
            elif self._set_aside(batch):
                return _STOPPED_S
            if self.tls is not None and self.tls.is_wanted():
                self._exchange.close()  # many records wait: the next batch has to wait for its turn
            await seam.sleep_ms(_PAUSE_MS)

    async def _post_batch(self, batch: Batch) -> int:
        """Fills the batch and posts it in all its parts; what becomes of it."""
        exchange, format = self._exchange, self.format
        try:
            for part in range(format.parts):
                format.part = part
                await exchange.measure(batch, min(self._rows, self.rows_max))
                if not batch.count or (format.needs_values and not batch.has_values):
                    return _DELIVERED
                self.posts += 1
                await exchange.post(batch)
                outcome = self._judge(exchange.response)
                if outcome != _DELIVERED:
                    return outcome
        except (OSError, http_client.ResponseError) as error:
            self._fail("retrying", "%s: %s" % (exchange.host, error))
            return _LATER
        except MemoryError:
            self._fail("retrying", "no memory for it now")
            return _LATER
        except BodyChanged:
            self._fail("retrying", "the oldest records were removed while they were sent")
            return _LATER
        return _DELIVERED

    def _judge(self, response: "http_client.Response") -> int:
        """What the answer means."""
        status = response.status
        self.last_status = status
        self.last_answer = bytes(response.body)
        self.last_unix_s = self._clock.unix_s()
        if 200 <= status < 300:
            if self.format.has_arrived(response):
                return _DELIVERED
            self._fail("retrying", "%s: %d, but its body does not say that it has all" % (self._exchange.host, status))
            return _LATER
        if status in (400, 413, 422) and not self.format.is_daily:  # a day is whole
            return _TOO_LARGE if status == 413 else _REFUSED
        if status in (408, 425, 429, 503):
            self._fail("retrying", "%s is busy: %d" % (self._exchange.host, status))
            return _LATER
        if 300 <= status < 500 and not (status == 406 and self.format.is_gzip):
            self._fail("refused", "%s: %d" % (self._exchange.host, status))
            return _STOPPED
        self._fail("retrying", "%s: %d" % (self._exchange.host, status))
        return _LATER

    def _fail(self, state: str, error: str) -> None:
        if error != self.error:
            self._events.add("posting", error)
        self._has_failed = True
        self._say(state, error)

    def _wait_s(self) -> int:
        """Seconds until the next attempt, after one that brought nothing."""
        asked_s = self._exchange.response.retry_after_s
        if self._exchange.response.status in (429, 503) and asked_s is not None:
            return max(asked_s, 1)
        back_off_s = self._back_off_s
        self._back_off_s = min(2 * back_off_s, _BACK_OFF_LAST_S)
        return back_off_s - back_off_s * self._random_bytes(1)[0] // 512

    def _note_delivered(self, batch: Batch) -> None:
        self.records.pass_on(batch)
        self.delivered += batch.count
        self._set_aside_in_a_row = 0
        self._back_off_s = _BACK_OFF_FIRST_S
        if self._has_failed:
            self._has_failed = False
            self._events.add("posting", "%s takes records again" % self._exchange.host)
        self._say("posting", None)
        left = self._suspect_end - batch.end
        self._rows = max(left // 2, 1) if left > 0 else self.rows_max

    def _halve(self, batch: Batch, outcome: int) -> None:
        half = max(batch.count // 2, 1)
        if outcome == _TOO_LARGE:
            self.rows_max = half
            self._events.add("posting", "%s: 413, batches of %d records from now on" % (self._exchange.host, half))
        else:
            self._suspect_end = batch.end
        self._rows = half

    def _set_aside(self, batch: Batch) -> bool:
        """Leaves out a record that the server refuses. True when it is the last of many, one after the other."""
        answer = _printable(self.last_answer[:60])
        self._refused = self._refused[1 - _REFUSED_SHOWN :] + [(batch.time_s, self.last_status, answer)]
        self._events.add("posting", "record of %d set aside: %d %s" % (batch.time_s, self.last_status, answer))
        self.records.pass_on(batch, True)
        self._suspect_end = 0
        self._rows = self.rows_max
        self._set_aside_in_a_row += 1
        if self._set_aside_in_a_row < _SET_ASIDE_MAX:
            return False
        self.failures += 1
        self._fail("refused", "%s: %d for every record" % (self._exchange.host, self.last_status))
        return True

    # -- the durable cursor

    def tick(self) -> None:
        """Writes the cursor when it is time."""
        self._keeper.tick(self._clock.uptime_s())

    def keep(self) -> None:
        """Writes the cursor, before a planned restart."""
        self._keeper.keep()

    def close(self) -> None:
        """Writes the cursor and ends the connection."""
        self.keep()
        self._exchange.close()


def _printable(answer: bytes) -> str:
    return bytes([byte if 32 <= byte < 127 else 32 for byte in answer]).decode()


def _fields(section: dict) -> "list[tuple[str, str]]":
    """The fields of each request beside those of its body."""
    fields = [("User-Agent", "meterport"), ("Accept", "*/*")]
    auth, user, password = section["auth"], section["user"], section["password"]
    if auth == "basic":
        fields.append(("Authorization", http_client.basic(user, password)))
    elif auth == "bearer":
        fields.append(("Authorization", "Bearer " + password))
    elif auth == "token":
        fields.append(("Authorization", "Token " + password))
    elif auth == "field":
        fields.append((user, password))
    for line in section["headers"].split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            fields.append((name.strip(), value.strip()))
    return fields
