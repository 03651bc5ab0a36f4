"""Keeps the network interface connected. The link itself (Wi-Fi, Ethernet) is the board's."""

from micropython import const

from firmware.net import seam

_LOOK_MS = const(2000)
_AGAIN_FIRST_MS = const(10000)  # an access point takes some seconds to let somebody in
_AGAIN_LAST_MS = const(120000)


class NoInterface:
    """In place of a link that the board could not open, for as long as the device runs: everything but the network
    goes on, and the log says why."""

    def up(self):
        return False

    def address(self):
        return "0.0.0.0"

    def connect(self):
        """There is nothing to connect."""

    def details(self):
        return (None,) * 6

    def dns_servers(self):
        return []


async def keep_up(link, events):
    """For ever: connects, notices when the link is lost, and connects again at growing intervals."""
    was_up = False
    again_ms = _AGAIN_FIRST_MS
    while True:
        if link.up():
            if not was_up:
                events.add("link", "up: %s" % link.address())
                was_up = True
            again_ms = _AGAIN_FIRST_MS
            await seam.sleep_ms(_LOOK_MS)
            continue
        if was_up:
            events.add("link", "lost")
            was_up = False
        try:
            link.connect()
        except OSError as error:
            events.add("link", "cannot connect: %r" % error)
        waited_ms = 0
        while waited_ms < again_ms and not link.up():
            await seam.sleep_ms(_LOOK_MS)
            waited_ms += _LOOK_MS
        again_ms = min(2 * again_ms, _AGAIN_LAST_MS)
