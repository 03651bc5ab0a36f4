"""Searches for gateways: one datagram to each address, and the documents that answer (docs/reference/finder.md)."""

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

PORT = 10502
EVERYBODY = "255.255.255.255"
_FIND = b"meterport find"
_TIMES = 3  # a datagram may be lost
_DOCUMENT_MAX = 2048
_SIOCGIFBRDADDR = 0x8919  # linux/sockios.h


class Found(NamedTuple):
    """A gateway: where its answer came from, and its document."""

    address: str
    document: dict[str, Any]

    def port(self, service: str) -> int | None:
        port = self.document["ports"].get(service)
        return port if isinstance(port, int) else None


def broadcast_addresses() -> list[str]:
    """That of each network of this machine; only 255.255.255.255 where the system (not Linux) does not say."""
    found = []
    if sys.platform == "linux":
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for _, name in socket.if_nameindex():
                try:
                    asked = fcntl.ioctl(control, _SIOCGIFBRDADDR, struct.pack("16s24x", name.encode()))
                except OSError:
                    continue  # an interface without an address
                address = socket.inet_ntoa(asked[20:24])
                if address != "0.0.0.0":  # the loopback interface, and links of two
                    found.append(address)
    return found or [EVERYBODY]


def search(addresses: Iterable[str] = (), port: int = PORT, wait_s: float = 2.0, ask: bytes = _FIND) -> list[Found]:
    """Asks each address (without any: the broadcast addresses), and waits so long for answers. One of each gateway, in
    the order of their addresses. Raises OSError when no request could be sent."""
    found: dict[tuple[str, str], Found] = {}
    addresses = list(addresses) or broadcast_addresses()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        begun = time.monotonic()
        for k in range(1, _TIMES + 1):
            _send(sock, ask, addresses, port)
            while (left_s := begun + wait_s * k / _TIMES - time.monotonic()) > 0:
                if select.select([sock], [], [], left_s)[0]:
                    data, sender = sock.recvfrom(_DOCUMENT_MAX)
                    document = _document(data)
                    if document is not None:
                        found[document["serial"], sender[0]] = Found(sender[0], document)
    return sorted(found.values(), key=lambda one: socket.inet_aton(one.address))


def _send(sock: socket.socket, ask: bytes, addresses: list[str], port: int) -> None:
    failed = []
    for address in addresses:
        try:
            sock.sendto(ask, (address, port))
        except OSError as error:
            failed.append(OSError(error.errno, f"{address}: {error.strerror or error}"))
    if len(failed) == len(addresses):
        raise failed[0]


def _document(data: bytes) -> dict[str, Any] | None:
    """None for what is no answer of a gateway."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("meterport"), int):
        return None
    if not all(isinstance(document.get(key), str) for key in ("name", "serial")):
        return None
    return document if isinstance(document.get("ports"), dict) else None


def conflicts(found: list[Found]) -> dict[str, list[str]]:
    """{serial: what is wrong}: what gateways report themselves, and what several of `found` have in common."""
    texts: dict[str, list[str]] = {}
    for one in found:
        reported = one.document.get("conflicts")
        texts[one.document["serial"]] = [str(text) for text in reported] if isinstance(reported, list) else []
    for key, what in (("name", "name"), ("instance", "BACnet instance")):
        for one in found:
            value = one.document.get(key)
            if value is None:
                continue
            others = sorted(
                other.address
                for other in found
                if other.document.get(key) == value and other.document["serial"] != one.document["serial"]
            )
            if others:
                text = f"{what} {value} is also that of {', '.join(others)}"
                texts[one.document["serial"]].append(text)
    return texts
