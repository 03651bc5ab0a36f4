"""One question to the time server, and the clock set by its answer (RFC 4330, RFC 5905). Loaded for it, and
given back."""

import os

import ntp
from firmware.net.udp import Exchange


async def ask(client, slot, timeout_ms):
    """Raises OSError or NtpError."""
    ip = client.server
    if not ip.replace(".", "").isdigit():  # an address needs no resolver, and no heap for one
        if client.clock.uptime_s() >= client.found_until_s:
            from firmware.net.dns import Resolver

            resolver = Resolver(slot, client.link.dns_servers, client.clock.uptime_s, os.urandom)
            client.found = await resolver.resolve(ip)
            client.found_until_s = resolver.until_s
        ip = client.found
    nonce = os.urandom(8)
    request = bytearray(48)
    ntp.request(request, nonce)
    clock = client.clock
    sent_ms = clock.uptime_ms()
    arrived_ms = 0

    def check(data):
        nonlocal arrived_ms
        arrived_ms = clock.uptime_ms()
        try:
            return ntp.parse(data, len(data), nonce)
        except ntp.NtpError as error:
            return None if error.foreign else error  # somebody else's packet must not end the wait

    reply = await Exchange(slot).ask(ip, client.port, request, check, timeout_ms)
    if reply is None:
        raise OSError("no (valid) answer")
    if isinstance(reply, ntp.NtpError):
        raise reply
    before = clock.unix_ms()
    base = 0 if before is None else before - clock.uptime_ms()
    # RFC 5905, 8: offset and delay from the four timestamps, here in ms.
    times = (base + sent_ms, reply.receive_ms, reply.transmit_ms, base + arrived_ms)
    offset = ntp.offset_ms(*times)
    client.round_trip_ms = ntp.round_trip_ms(*times)
    clock.set_ms(clock.uptime_ms() + base + offset)
    client.offset_ms = offset if before is not None else 0
    client.stratum = reply.stratum
    if client.synchronised_s is None:
        client.events.add("ntp", "clock set by %s (stratum %d)" % (client.server, reply.stratum))
    client.synchronised_s = clock.uptime_s()
    client.error = None
