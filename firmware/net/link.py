"""Keeps the network interface connected, and says who is on its network. The link itself (Wi-Fi, Ethernet) is the
board's."""

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.board import Link
    from firmware.events import Events

_LOOK_MS = const(2000)
_RETRY_FIRST_MS = const(10000)  # joining an access point takes some seconds
_RETRY_LAST_MS = const(60000)


def serial(link: "Link", name: str) -> str:
    """What names this device to a server, and stays when it gets another name: its MAC address without colons, or
    `name` where none is known."""
    mac = link.details()[4]
    return mac.replace(":", "") if mac else name


async def keep_up(link: "Link", events: "Events", close_connections: "Callable[[], None]") -> None:
    """Runs for ever: connects, notices when the link is lost, and connects again at growing intervals, for as long as
    it takes. A reason for not connecting is logged when it is another than the last one.

    A short loss ends no connection: TCP bridges it. After two tries in vain, half a minute, and when the address is
    another than before, close_connections() is called, since the peers have given up or cannot be reached any more."""
    was_up = False
    address = ""  # under which connections may be open
    retry_ms = _RETRY_FIRST_MS
    reason = ""
    while True:
        if link.up():
            if not was_up:
                if address and address != link.address():
                    close_connections()
                address = link.address()
                events.add("link", "up: %s %s" % (address, link.ssid) if link.ssid else "up: " + address)
                was_up = True
            retry_ms = _RETRY_FIRST_MS
            reason = ""
            await seam.sleep_ms(_LOOK_MS)
            continue
        if was_up:
            events.add("link", "lost")
            was_up = False
        error = ""
        try:
            link.connect()
        except Exception as problem:  # the ESP32 raises RuntimeError and MemoryError too (network_common.c)
            error = "cannot connect: %r" % problem
        waited_ms = 0
        while waited_ms < retry_ms and not link.up():
            await seam.sleep_ms(_LOOK_MS)
            waited_ms += _LOOK_MS
        if link.up():
            continue
        error = error or link.trouble()
        if error and error != reason:
            reason = error
            events.add("link", reason)
        if address and retry_ms > _RETRY_FIRST_MS:
            address = ""
            close_connections()
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
