"""Names to IPv4 addresses without getaddrinfo, which stops the whole loop for seconds.

A query borrows the slot of the service that asks. An answer is kept for its time to live, within bounds, for the last
eight names.
"""

from micropython import const

import dns

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.net.udp import Exchange

_PORT = const(53)
_TIMEOUT_MS = const(2000)
_TRIES = const(2)  # of each server
_NAMES = const(8)
_TTL_MIN_S = const(60)
_TTL_MAX_S = const(86400)


class Resolver:
    """One for the whole gateway, with the addresses that it has found. `servers()` gives the addresses of the name
    servers, as the link knows them; `uptime_s()` the seconds since boot; `random_bytes(n)` unpredictable bytes
    (RFC 5452: ids of queries)."""

    def __init__(
        self, servers: "Callable[[], list[str]]", uptime_s: "Callable[[], int]", random_bytes: "Callable[[int], bytes]"
    ) -> None:
        self._servers = servers
        self._uptime_s = uptime_s
        self._random_bytes = random_bytes
        self._found: "list[tuple[str, str, int]]" = []  # name, address, uptime in seconds until which it holds

    async def resolve(self, name: str, exchange: "Exchange") -> str:
        """The IPv4 address of `name` as text, asked for on the slot of `exchange`, which belongs to the service that
        wants it. Raises OSError with the reason when no server gives one, ValueError for what cannot be a name."""
        if dns.is_ipv4(name):
            return name
        for known, address, until_s in self._found:
            if known == name and self._uptime_s() < until_s:
                return address
        reason = "no name server"
        buf = bytearray(512)
        for server in self._servers():
            for _ in range(_TRIES):
                query_id = int.from_bytes(self._random_bytes(2), "big")
                n = dns.query(buf, query_id, name)

                def check(data, query_id=query_id):
                    try:
                        return dns.parse(data, len(data), query_id, name)
                    except dns.DnsError as error:
                        return None if error.foreign else error

                try:
                    found = await exchange.ask(server, _PORT, bytes(memoryview(buf)[:n]), check, _TIMEOUT_MS)
                except OSError as error:
                    reason = "%s: %r" % (server, error)
                    break
                if isinstance(found, tuple):
                    self._keep(name, found[0], found[1])
                    return found[0]
                reason = "%s does not answer" % server if found is None else "%s: %s" % (server, found)
                if found is not None:
                    break
        raise OSError("cannot resolve %s: %s" % (name, reason))

    def _keep(self, name, address, ttl_s):
        others = [row for row in self._found if row[0] != name]
        until_s = self._uptime_s() + max(_TTL_MIN_S, min(ttl_s, _TTL_MAX_S))
        self._found = others[1 - _NAMES :] + [(name, address, until_s)]
