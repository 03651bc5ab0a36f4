"""Tells clients of changes: SubscribeCOV and its notifications (ASHRAE 135-2012, 13.1, 13.14).

A value is compared with the one told last once a second, for at most `SUBSCRIPTIONS_MAX` subscriptions. A confirmed
notification is repeated when its client does not acknowledge it, and after the last try the subscription is dropped.
"""

from bacnet.apdu import NO_COV_FOR_OBJECT, NO_SPACE_FOR_SUBSCRIPTION
from bacnet.tags import OCTETS, UNSIGNED
from micropython import const

from firmware.net import seam
from firmware.net.seam import ticks_diff, ticks_ms
from firmware.services.bacnet.objects import APDU_RETRIES, APDU_TIMEOUT_MS, DEVICE, PRESENT_VALUE, STATUS_FLAGS

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from bacnet.tags import Writer

    from firmware.events import Events
    from firmware.services.bacnet.objects import Objects

SUBSCRIPTIONS_MAX = const(16)
# Context tags n << 4 | CONTEXT, OPENING, CLOSING
_TAG_0 = const(0x08)
_TAG_1 = const(0x18)
_TAG_2 = const(0x28)
_TAG_3 = const(0x38)
_OPENING_0 = const(0x0E)
_CLOSING_0 = const(0x0F)
_OPENING_1 = const(0x1E)
_CLOSING_1 = const(0x1F)
_OPENING_2 = const(0x2E)
_CLOSING_2 = const(0x2F)
_OPENING_4 = const(0x4E)
_CLOSING_4 = const(0x4F)
_TOLD_A_SECOND = const(4)  # notifications: front ends that listen to many devices take some hundred a minute of each


class Subscription:
    """What one client wants to know of one object.

    peer, route   the client
    process_id    its own number for it
    kind, instance  of the object
    is_confirmed  each notification is acknowledged
    until_s       uptime at which it ends; None: it does not
    value, flags  what was told last; flags -1: nothing yet
    tries         of the notification that waits for its acknowledgement, 0 when none does; sent_ms: of the last try
    invoke_id     of that notification"""

    def __init__(self, peer: "Any", route: bytes, process_id: int, kind: int, instance: int):
        self.peer = peer
        self.route = route
        self.process_id = process_id
        self.kind = kind
        self.instance = instance
        self.is_confirmed = False
        self.until_s: "int | None" = None
        self.value = 0.0
        self.flags = -1
        self.tries = self.sent_ms = self.invoke_id = 0

    def is_of(self, peer: "Any", route: bytes, process_id: int, kind: int, instance: int) -> bool:
        """Whether it is that client's of that object."""
        return (
            self.peer == peer and self.route == route and self.process_id == process_id
            and self.kind == kind and self.instance == instance
        )  # fmt: skip


class Subscriptions:
    """`send(subscription)` of the service sends a notification. items: the list of all.

    told: notifications that were sent; dropped: subscriptions whose clients did not acknowledge"""

    def __init__(self, objects: "Objects", uptime_s: "Any", events: "Events", send: "Any"):
        self._objects = objects
        self._uptime_s = uptime_s
        self._events = events
        self._send = send
        self._invoke_id = 0
        self.items: "list[Subscription]" = []
        self.told = self.dropped = 0

    def subscribe(
        self, peer: "Any", route: bytes, process_id: int, is_confirmed: bool, lifetime_s: "int | None"
    ) -> int:
        """Takes a subscription to the object that `objects` has found, or renews it. `lifetime_s` None: for good. The
        first notification follows within a second. Returns 0 or an error (bacnet.apdu)."""
        objects = self._objects
        if objects.type == DEVICE:
            return NO_COV_FOR_OBJECT
        key = peer, route, process_id, objects.type, objects.point_id
        found = self._find(key)
        if found is None:
            if len(self.items) >= SUBSCRIPTIONS_MAX:
                return NO_SPACE_FOR_SUBSCRIPTION
            found = Subscription(*key)
            self.items.append(found)
        found.is_confirmed = is_confirmed
        found.until_s = self._uptime_s() + lifetime_s if lifetime_s else None
        found.flags = -1
        found.tries = 0
        return 0

    def cancel(self, peer: "Any", route: bytes, process_id: int) -> None:
        """Ends the subscription to the object that `objects` has found, if there is one."""
        found = self._find((peer, route, process_id, self._objects.type, self._objects.point_id))
        if found is not None:
            self.items.remove(found)

    def _find(self, key):
        for item in self.items:
            if item.is_of(*key):
                return item
        return None

    def acknowledged(self, invoke_id: int, peer: "Any") -> None:
        """The client has answered that notification, be it with an error."""
        for item in self.items:
            if item.tries and item.invoke_id == invoke_id and item.peer == peer:
                item.tries = 0

    def remaining_s(self, item: Subscription) -> int:
        """Seconds until the subscription ends, 0 when it does not."""
        return 0 if item.until_s is None else max(1, item.until_s - self._uptime_s())

    def tick(self, may_tell: bool) -> None:
        """Once a second: ends what is over, and tells what has changed. `may_tell` False: tells nothing."""
        now_s = self._uptime_s()
        left = _TOLD_A_SECOND
        for item in list(self.items):
            is_over = item.until_s is not None and now_s >= item.until_s
            if is_over and (item.flags >= 0 or not may_tell):  # each is told once, however short it is
                self.items.remove(item)
            elif may_tell and left and self._tell(item):
                left -= 1
                self.items.remove(item)  # its next turn comes after those of all others
                self.items.append(item)

    def _tell(self, item):
        """Sends a notification when one is due, and says whether it did."""
        if item.tries:
            if ticks_diff(ticks_ms(), item.sent_ms) < APDU_TIMEOUT_MS:
                return False
            if item.tries > APDU_RETRIES:
                self.items.remove(item)
                self.dropped += 1
                self._events.add("bacnet", "a client that does not acknowledge is told no more")
                return False
        elif not self._has_changed(item):
            return False
        else:
            self._invoke_id = item.invoke_id = (self._invoke_id + 1) & 0xFF
        if item.is_confirmed:
            item.tries += 1
            item.sent_ms = ticks_ms()
        self.told += 1
        self._send(item)
        return True

    def _has_changed(self, item):
        """Compares the object with what was told last, and keeps what is told now."""
        objects = self._objects
        objects.find(item.kind, item.instance)
        value = objects.present_value()
        flags = 1 if objects.is_faulty() else 0
        if flags == item.flags and not abs(value - item.value) >= objects.increment():
            return False  # NaN differs from nothing, and has a flag of its own
        item.value = value
        item.flags = flags
        return True

    # -- as BACnet has them

    def write_notification(self, out: "Writer", item: Subscription) -> None:
        """The parameters of a COV notification, 13.1.1."""
        objects = self._objects
        objects.find(item.kind, item.instance)
        out.unsigned(_TAG_0, item.process_id)
        out.object(_TAG_1, DEVICE, objects.instance)
        out.object(_TAG_2, item.kind, item.instance)
        out.unsigned(_TAG_3, self.remaining_s(item))
        out.mark(_OPENING_4)
        out.unsigned(_TAG_0, PRESENT_VALUE)
        out.mark(_OPENING_2)
        objects.write_present_value(out)
        out.mark(_CLOSING_2)
        out.unsigned(_TAG_0, STATUS_FLAGS)
        out.mark(_OPENING_2)
        objects.write_status_flags(out)
        out.mark(_CLOSING_2)
        out.mark(_CLOSING_4)

    def write_list(self, out: "Writer") -> None:
        """Active_COV_Subscriptions: a list of BACnetCOVSubscription, 21."""
        for item in self.items:
            out.mark(_OPENING_0)
            out.mark(_OPENING_0)
            out.mark(_OPENING_1)
            _write_address(out, item)
            out.mark(_CLOSING_1)
            out.mark(_CLOSING_0)
            out.unsigned(_TAG_1, item.process_id)
            out.mark(_CLOSING_0)
            out.mark(_OPENING_1)
            out.object(_TAG_0, item.kind, item.instance)
            out.unsigned(_TAG_1, PRESENT_VALUE)
            out.mark(_CLOSING_1)
            out.unsigned(_TAG_2, item.is_confirmed)
            out.unsigned(_TAG_3, self.remaining_s(item))


def _write_address(out, item):
    """BACnetAddress: number of the network, 0 for this one, and the address there."""
    if item.route:
        out.unsigned(UNSIGNED, item.route[0] << 8 | item.route[1])
        out.octets(OCTETS, b"", item.route[3:])
    else:
        ip, port = seam.peer(item.peer)
        out.unsigned(UNSIGNED, 0)
        out.octets(OCTETS, bytes([int(part) for part in ip.split(".")]), bytes((port >> 8, port & 0xFF)))
