"""Keeps the network interface connected, and says who is on its network. The link itself (Wi-Fi, Ethernet) is the
board's."""

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from firmware.board import Link
    from firmware.events import Events

_LOOK_MS = const(2000)
_RETRY_FIRST_MS = const(10000)  # joining an access point takes some seconds
_RETRY_LAST_MS = const(120000)


async def keep_up(link: "Link", events: "Events") -> None:
    """Runs for ever: connects, notices when the link is lost, and connects again at growing intervals. A reason for
    not connecting is logged when it is another than the last one."""
    was_up = False
    retry_ms = _RETRY_FIRST_MS
    reason = ""
    while True:
        if link.up():
            if not was_up:
                events.add("link", "up: %s" % link.address())
                was_up = True
            retry_ms = _RETRY_FIRST_MS
            reason = ""
            await seam.sleep_ms(_LOOK_MS)
            continue
        if was_up:
            events.add("link", "lost")
            was_up = False
        try:
            link.connect()
        except Exception as error:  # the ESP32 raises RuntimeError and MemoryError too (network_common.c)
            if reason != repr(error):
                reason = repr(error)
                events.add("link", "cannot connect: " + reason)
        waited_ms = 0
        while waited_ms < retry_ms and not link.up():
            await seam.sleep_ms(_LOOK_MS)
            waited_ms += _LOOK_MS
        retry_ms = min(2 * retry_ms, _RETRY_LAST_MS)


def is_local(link: "Link", ip: str) -> bool:
    """Whether the address is on the device's own network; where the device does not know its network, whether it is an
    address that no router forwards (RFC 1918, RFC 3927)."""
    parts = [int(part) for part in ip.split(".")]
    if parts[0] == 127:
        return True
    address, netmask = link.details()[:2]
    if netmask and netmask != "255.255.255.255":
        own = [int(part) for part in address.split(".")]
        mask = [int(part) for part in netmask.split(".")]
        return all([parts[k] & mask[k] == own[k] & mask[k] for k in range(4)])
    first, second = parts[:2]
    return first == 10 or (first == 172 and 16 <= second < 32) or (first, second) in ((192, 168), (169, 254))
