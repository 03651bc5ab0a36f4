"""What happened on a bus since boot: its counters, how long answers took, exceptions by code."""

from micropython import const

from modbus import rtu

_COUNT_MASK = const(0x3FFFFFFF)  # a small integer on 32 bits
_CODES = const(12)  # exception codes of Application Protocol 7 are below
_UNIT = const(4)  # bits in front of which the unit stands in a key


class AnswerTimes:
    """How long the answers of one meter or one bus took, in ms from the last bit of the request."""

    def __init__(self) -> None:
        self.count = 0  # of answers that the sum is made of; halved together with it before the sum would overflow
        self.min_ms = 0
        self.max_ms = 0
        self._sum_ms = 0

    def add(self, ms: int) -> None:
        """Counts one answer."""
        if not self.count or ms < self.min_ms:
            self.min_ms = ms
        if ms > self.max_ms:
            self.max_ms = ms
        if self._sum_ms + ms > _COUNT_MASK:
            self._sum_ms >>= 1
            self.count >>= 1
        self._sum_ms += ms
        self.count += 1

    def summary_ms(self) -> "tuple[int, int, int] | None":
        """Returns (shortest, mean, longest), or None before the first answer."""
        return (self.min_ms, self._sum_ms // self.count, self.max_ms) if self.count else None


class BusStats:
    """Counters of one bus. NAMES: those that the status and the registers of unit 255 show, in their order."""

    NAMES = (
        "sent", "answered", "timeouts", "retries", "exceptions", "crc", "foreign", "noise_bytes", "stale_bytes",
        "busy_ms",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sent = 0
        self.answered = 0
        self.timeouts = 0
        self.retries = 0
        self.exceptions = 0
        self.crc = 0
        self.foreign = 0  # whole frames that were not the answer: other unit, function, length or content
        self.noise_bytes = 0  # in front of an answer
        self.stale_bytes = 0  # in the receiver before a request was sent
        self.busy_ms = 0  # time spent in transactions, gaps included; begins again at 0 after 12 days of it
        self.echoes = 0  # of our own request, where the line repeats it
        self.wrong = [0] * len(rtu.REASONS)  # of `crc` and `foreign`, by what was wrong
        self.answer_times = AnswerTimes()
        self._exceptions = {}  # by unit (0: of the whole bus) and code; of all meters together, for most give none

    def add_busy(self, ms: int) -> None:
        """Adds the time of one transaction."""
        self.busy_ms = self.busy_ms + ms & _COUNT_MASK

    def add_exception(self, unit: int, code: int) -> None:
        """Counts an exception. `unit`: that of a configured meter, or 0 for the whole bus: other units must not be
        given, since each takes an entry for good. Codes that Application Protocol 7 does not list count as 0."""
        key = unit << _UNIT | (code if code < _CODES else 0)
        self._exceptions[key] = self._exceptions.get(key, 0) + 1 & _COUNT_MASK

    def exceptions_of(self, unit: int) -> "list[tuple[int, int]]":
        """Returns [(code, times)] of the codes that have come from `unit` (0: the whole bus)."""
        counted = [(code, self._exceptions.get(unit << _UNIT | code, 0)) for code in range(_CODES)]
        return [one for one in counted if one[1]]
