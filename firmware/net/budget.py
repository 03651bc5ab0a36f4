"""The socket budget: at most 16 sockets in all, the ledger of who holds them, and who goes when a newcomer needs one.

A service that is enabled at boot holds its slot from boot on, whether it is using it or not; what is left is general
and goes to accepted connections. A slot's connection is closed by its own close(reason), at once and for good, before
the newcomer is accepted: there is never one socket too many, not even for a moment.

Order of victims (Elkor's note on the ETport's sockets: "automatically close the least recently used connection"):
  1. connections that have had the time to ask and were never served a request, oldest first;
  2. connections with nothing in flight, least recently used first;
  3. only when every one has a request in flight: the least recently used of those.
A connection younger than `_GRACE_MS` without a request is no victim, for its first request is on the way: when there
are only such, the newcomer waits in the backlog, and soon finds one served and idle. So in a burst of clients each is
served. When a fifth of all connections are that young, a newcomer waits as well instead of closing an idle one: a peer
that only connects, however often, costs the served connections nothing. Among browsers half of theirs is enough: where
eight pollers leave them two places, an open page keeps its own, however many peers connect and never ask.
What a kind of connection may do is data (KINDS and the quotas of the configuration):
  quota     a newcomer of a kind that has one takes the place of a connection of its own kind, and there are never more
            of them; only when none of its kind is open may it take the place of another kind's (so that the page can
            always be reached). Others have none.
  minimum   a kind that has one makes room first: a newcomer of another kind takes the place of an idle one of it, while
            more than `minimum` are open. (An open page asks all the time and would never be the least recently used.)
  patient   a newcomer of such a kind closes no connection with a request in flight (half a page is no page). It waits.
"""

from micropython import const

from firmware.net.past_clients import PastClients
from firmware.net.seam import is_same_host, peer, ticks_diff, ticks_ms

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from firmware.events import Events
    from firmware.net.listener import Connection

LIMIT = const(16)
LISTENER = const(0)  # what a service holds itself: a TCP listener,
UDP = const(1)  # a UDP socket,
CLIENT = const(2)  # or a TCP connection that it opens
REASONS = ("unserved", "idle", "busy", "quota", "timeout")
_GRACE_MS = const(1000)
STEP_S = const(600)  # of what is kept of the past
_STEPS = const(72)  # twelve hours
_USE_MASK = const(0x3FFFFFFF)  # the counter of uses stays a small integer on 32 bits


# What the budget knows of a service, in the order of starting, and of the numbers of kinds in registers and API: its
# name, the socket that it holds, and the policy for the connections that it accepts: minimum (None: no such) and
# patient. Constants, since these lie in flash.
KINDS = (
    ("http", LISTENER, 1, True),
    ("modbus", LISTENER, None, False),
    ("bacnet", UDP, None, False),
    ("finder", UDP, None, False),
    ("ntp", UDP, None, False),
    ("posting", CLIENT, None, False),
    ("shelly", UDP, None, False),
    ("mqtt", CLIENT, None, False),
)
SERVICES = tuple([kind[0] for kind in KINDS])


class Slot:
    """One row of the ledger. `kind` is the service that the socket belongs to; `role` is "service" for what a service
    holds itself (listener or client) and "connection" for what it accepted."""

    def __init__(self, kind: str, role: str, where: "Any", opened_s: int, use: int) -> None:
        self.kind = kind
        self.role = role
        self.peer = where  # as accept gave it; seam.peer reads it
        self.opened_s = opened_s
        self.used_ms = ticks_ms()
        self.use = use
        self.requests = 0
        self.received = 0  # bytes
        self.sent = 0
        self.busy = False  # a request is in flight
        self.open = role != "service"  # a service's slot may be reserved without a socket
        self.connection: "Connection | None" = None

    def idle_ms(self) -> int:
        """Milliseconds since it was last used."""
        return ticks_diff(ticks_ms(), self.used_ms)


class Budget:
    """`limit`: sockets in all; `tcp`: connections that the board can hold, listeners not counted; `udp`: UDP sockets;
    `enabled`: services that hold a slot from boot on, one that has two listeners twice; `quotas`: {kind: most
    connections}; `uptime_s`: function, seconds since boot; `events`: the log. Services that do not fit are named in the
    log and in refused_services."""

    def __init__(
        self, limit: int, tcp: int, udp: int, enabled: "list[str]", quotas: "dict[str, int]",
        uptime_s: "Callable[[], int]", events: "Events",
    ) -> None:  # fmt: skip
        self.limit = min(limit, LIMIT)
        self.quotas = quotas
        self._uptime_s = uptime_s
        self._events = events
        self._use = 0
        self.refused_services = []
        self.services = []
        self.connections = []
        for name, transport, _, _ in KINDS:
            for number in range(enabled.count(name)):
                # One slot, and one connection, must stay for clients, or the services could never be used.
                fits = len(self.services) < self.limit - 1
                if transport == UDP:
                    fits = fits and udp > 0
                    udp -= 1
                elif transport == CLIENT:
                    fits = fits and tcp > 1
                    tcp -= 1
                if fits:
                    self.services.append(Slot(name, "service", None, 0, 0))
                elif number:
                    events.add("sockets", "%s has one socket only: this board has no other" % name)
                else:
                    self.refused_services.append(name)
                    events.add("sockets", "%s is not started: this board has no socket for it" % name)
        self.general = min(self.limit - len(self.services), max(tcp, 1))
        self._spared = max(self.general // 5, 1)  # eight of ten stay with those who are served
        self.high_water = len(self.services)
        self.accepted = 0
        self.postponed = 0
        self.failed_accepts = 0
        self.evictions = [0] * len(REASONS)
        self.past_clients: "PastClients | None" = None  # until the first connection
        self._ending = 0  # 1 + number of the reason for which a connection is being closed
        self.waiting = []  # listeners whose newcomers had to wait
        self._step = 0  # number of the present step since boot; its values stand at `_step` modulo _STEPS
        self._most = bytearray(_STEPS)  # slots in use at once in each step,
        self._closed = bytearray(_STEPS)  # and evictions, 255 at most
        self._most[0] = len(self.services)

    def in_use(self) -> int:
        """Slots that are held, by services and connections."""
        return len(self.services) + len(self.connections)

    def service_slot(self, kind: str, number: int = 0) -> "Slot | None":
        """The slot that the service `kind` holds (`number` 1: its second), or None when it has none."""
        for slot in self.services:
            if slot.kind == kind:
                if not number:
                    return slot
                number -= 1
        return None

    def admit(self, name: str) -> bool:
        """Makes room for a newcomer of the kind `name`, closing one connection where needed.

        True when there is room now. False when the newcomer has to wait in the backlog: while those whose place it
        may take have only just come, and a patient one while they have a request in flight; `waiting` listeners
        are then told by resume() when something has changed. Call before the connection is accepted, or the limit is
        passed.
        """
        _, _, _, is_patient = KINDS[SERVICES.index(name)]
        quota = self.quotas.get(name)
        own = 0 if quota is None else self.count(name)
        over_quota = quota is not None and own >= quota
        if not over_quota and len(self.connections) < self.general:
            return True
        if own:
            victim = self._victim(name)
        else:
            victim = self._yielding(name) or self._victim(None)
        if victim is None or (is_patient and victim.busy):
            self.postponed += 1
            return False
        self.evict(victim, "quota" if over_quota else self.rank_name(victim))
        return True

    def count(self, name: str) -> int:
        """Number of open connections of a kind."""
        n = 0
        for slot in self.connections:
            if slot.kind == name:
                n += 1
        return n

    def _yielding(self, newcomer):
        """The idle connection of another kind that has more than its minimum, or None."""
        for name, _, minimum, _ in KINDS:
            if minimum is not None and name != newcomer and self.count(name) > minimum:
                victim = self._victim(name)
                if victim is not None and not victim.busy:
                    return victim
        return None

    def _victim(self, name):
        """The connection that goes first, of one kind only unless `name` is None. None while nobody may go."""
        victim = None
        new = held = 0
        for slot in self.connections:
            if name is not None and slot.kind != name:
                continue
            held += 1
            if not slot.requests and not slot.busy and slot.idle_ms() < _GRACE_MS:
                new += 1
            elif victim is None or self._before(slot, victim):
                victim = slot
        # Of one kind half are enough: where eight pollers leave browsers two places, an open page keeps its own.
        spared = self._spared if name is None else max(min(self._spared, held // 2), 1)
        if victim is None or victim.busy and new or victim.requests and new >= spared:
            return None
        return victim

    def _before(self, slot, other):
        rank = self._rank(slot)
        other_rank = self._rank(other)
        if rank != other_rank:
            return rank < other_rank
        return (self._use - slot.use) & _USE_MASK > (self._use - other.use) & _USE_MASK

    @staticmethod
    def _rank(slot: Slot) -> int:
        return 2 if slot.busy else 1 if slot.requests else 0

    def rank_name(self, slot: Slot) -> str:
        """Why a connection would be closed for a newcomer: "unserved", "idle" or "busy"."""
        return REASONS[self._rank(slot)]

    def evict(self, slot: Slot, reason: str, log: bool = True) -> None:
        """Closes a connection before its time; `reason` is one of REASONS."""
        number = REASONS.index(reason)
        self._ending = number + 1
        slot.connection.close()
        self._ending = 0
        self.evictions[number] += 1
        at = self._advance()
        self._closed[at] = min(self._closed[at] + 1, 255)
        if log:
            self._events.add("sockets", "%s connection closed: %s" % (slot.kind, reason))

    def open(self, kind: str, where: "Any") -> Slot:
        """Enters a connection in the ledger, which was accepted after admit(kind) had returned True."""
        if self.past_clients is None:
            self.past_clients = PastClients()
        self._use = (self._use + 1) & _USE_MASK
        at = self._advance()
        slot = Slot(kind, "connection", where, self._uptime_s(), self._use)
        self.connections.append(slot)
        self._most[at] = max(self._most[at], self.in_use())
        self.accepted += 1
        if self.in_use() > self.high_water:
            self.high_water = self.in_use()
        return slot

    def release(self, slot: Slot) -> None:
        """Takes a connection out of the ledger, whose socket has been closed."""
        self._advance()
        most = 0
        for one in self.connections:
            if one.kind == slot.kind and is_same_host(one.peer, slot.peer):
                most += 1
        self.connections.remove(slot)
        if self.waiting:
            self._look_again()
        past = self.past_clients
        try:
            past.note(
                SERVICES.index(slot.kind), peer(slot.peer)[0], slot.opened_s, self._uptime_s(), slot.requests, most,
                self._ending,
            )  # fmt: skip
        except MemoryError:
            past.lost += 1  # whoever closes a connection must not fail

    def served(self, slot: Slot) -> None:
        """Makes a connection the most recently used one: a whole request of it was answered. Allocates nothing."""
        self._use = use = (self._use + 1) & _USE_MASK
        slot.use = use
        slot.used_ms = ticks_ms()
        slot.requests += 1
        if self.waiting:
            self._look_again()

    def _look_again(self):
        while self.waiting:
            self.waiting.pop().resume()

    def evicted(self) -> int:
        """Number of connections that were closed before their time."""
        return sum(self.evictions)

    def _advance(self):
        """Begins the steps that time has reached; returns where the present one stands."""
        now = self._uptime_s() // STEP_S
        self._step = max(self._step, now - _STEPS)
        while self._step < now:
            self._step += 1
            self._most[self._step % _STEPS] = self.in_use()
            self._closed[self._step % _STEPS] = 0
        return self._step % _STEPS

    def past(self) -> "Iterator[tuple[int, int]]":
        """Yields (most slots in use at once, connections closed before their time) of each step of STEP_S seconds, the
        present one last."""
        self._advance()
        last = self._step
        for step in range(max(0, last - _STEPS + 1), last + 1):
            yield self._most[step % _STEPS], self._closed[step % _STEPS]

    def ledger(self) -> "Iterator[Slot]":
        """Yields every slot that is held, services first, then connections in the order of their opening."""
        for slot in self.services:
            yield slot
        for slot in self.connections:
            yield slot
