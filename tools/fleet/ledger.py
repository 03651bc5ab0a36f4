"""What the gateways made, and what a receiver has of it: nothing lost, nothing that was not made, how much twice.

A record is known by its gateway and the begin of its interval; it has a line for each meter. Its values follow from
these, so that a line of another record, gateway or meter does not pass for it.
"""

import re

EPOCH_S = 1_789_999_200  # unix time when a run begins, about: a multiple of an hour
_VALUE = re.compile(rb"[^/]+/gateway(\d+)/m(\d+)/(energy_import|active_power)")
_LINE = re.compile(
    rb"meterport,gw=([0-9a-f]{12}),meter=m(\d+) energy_import_wh=(\d+)i,active_power_w=(\d+) (\d+)(?:\n|$)"
)


def energy_wh(gateway: int, meter: int, unix_s: int) -> int:
    """The reading at a time."""
    return 1_000_000 * gateway + 10_000 * meter + unix_s // 60


def power_w(gateway: int, meter: int) -> int:
    """It does not change, so that a mean is known whenever it was sampled."""
    return 1 + (7 * gateway + meter) % 2000


def serial(gateway: int) -> bytes:
    """The tag gw of its lines: a MAC address that is administered locally."""
    return b"02%010x" % gateway


def line(gateway: bytes, meter: bytes, begin_s: int, energy: int, power: int) -> bytes:
    """A line as the gateway `gateway` sends it."""
    fields = b"energy_import_wh=%di,active_power_w=%d" % (energy, power)
    return b"meterport,gw=%s,meter=%s %s %d\n" % (gateway, meter, fields, begin_s)


class Ledger:
    """`meters`: of each gateway; `interval_s`: of records. made, cut: records; lines, again, wrong: that arrived, of
    them those that had arrived before, and those that nobody made; values: of QoS 0 that arrived, of which some may be
    lost, but none that falls, is of another meter, or of a time that is not yet. `is_ordered`: what a gateway sent
    before, arrives before, also by different connections, so that an energy which falls is wrong. In a cluster, where
    they may lead to different nodes, that is not so."""

    def __init__(self, meters: int, interval_s: int, is_ordered: bool = True) -> None:
        self.meters = meters
        self.interval_s = interval_s
        self.is_ordered = is_ordered
        self.lines = self.again = self.wrong = self.values = 0
        self.first_wrong = b""
        self.twice: set[tuple[int, int]] = set()
        self._made: dict[tuple[int, int], int] = {}  # (gateway, begin): bits of the meters that have arrived
        self._cut: set[tuple[int, int]] = set()
        self._last: dict[tuple[int, int], int] = {}  # (gateway, meter): energy

    @property
    def made(self) -> int:
        return len(self._made)

    @property
    def cut(self) -> int:
        """Of them those that a power cut took before they were on flash: they may have been sent before."""
        return len(self._cut)

    @property
    def delivered(self) -> int:
        return sum(1 for seen in self._made.values() if seen == (1 << self.meters) - 1)

    def missing(self) -> list[tuple[int, int]]:
        """(gateway, begin) of what should have arrived and has not."""
        whole = (1 << self.meters) - 1
        return [key for key, seen in self._made.items() if seen != whole and key not in self._cut]

    def make(self, gateway: int, begin_s: int) -> None:
        """A gateway has taken a record."""
        self._made.setdefault((gateway, begin_s), 0)

    def cut_off(self, gateway: int, begins_s: list[int]) -> None:
        """A power cut has taken these."""
        self._cut.update((gateway, begin_s) for begin_s in begins_s)

    def take(self, payload: bytes) -> None:
        """A message has arrived: whole lines."""
        at = 0
        while at < len(payload):
            found = _LINE.match(payload, at)
            if found is None:
                self._note_wrong(payload[at : at + 100])
                return
            at = found.end()
            self._take_line(found)

    def take_value(self, topic: bytes, payload: bytes, now_s: float) -> None:
        """A message of QoS 0 has arrived, at a unix time that no gateway's clock is ahead of."""
        found = _VALUE.fullmatch(topic)
        if found is None:
            return  # a state
        gateway, meter, value = int(found[1]), int(found[2]), int(payload) if payload.isdigit() else -1
        if found[3] == b"active_power":
            is_right = value == power_w(gateway, meter)
        else:
            read_s = 60 * (value - energy_wh(gateway, meter, 0))
            is_right = read_s % self.interval_s == 0 and EPOCH_S - self.interval_s <= read_s <= now_s
            is_right = is_right and (not self.is_ordered or value >= self._last.get((gateway, meter), 0))
            self._last[gateway, meter] = value
        if meter < self.meters and is_right:
            self.values += 1
        else:
            self._note_wrong(topic + b" " + payload[:100])

    def _take_line(self, found: "re.Match[bytes]") -> None:
        self.lines += 1
        gateway = int(found[1][2:], 16)
        meter, energy, power, begin_s = (int(found[k]) for k in range(2, 6))
        key = gateway, begin_s
        seen = self._made.get(key)
        right = energy_wh(gateway, meter, begin_s + self.interval_s), power_w(gateway, meter)
        if seen is None or not meter < self.meters or (energy, power) != right:
            self._note_wrong(found[0])
            return
        if seen >> meter & 1:
            self.again += 1
            self.twice.add(key)
        self._made[key] = seen | 1 << meter

    def _note_wrong(self, line: bytes) -> None:
        self.wrong += 1
        self.first_wrong = self.first_wrong or bytes(line)
