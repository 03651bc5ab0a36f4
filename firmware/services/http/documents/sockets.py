"""GET /api/sockets: the ledger of the 16 slots, counters of connections and evictions, and advice."""

from micropython import const

from firmware.net import seam
from firmware.net.budget import KINDS, LISTENER, REASONS, SERVICES, STEP_S
from firmware.services.http.response import write_items, write_open

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

    from firmware.services.http.service import HttpService
    from http1 import Request

_COMFORTABLE = const(8)  # Modbus clients
_LEFT_OPEN = const(5)  # connections of a client that had to be closed for it
_NAMED = const(3)  # clients in an advice


def write_sockets(service: "HttpService", request: "Request") -> "Iterator[None]":
    """Writes counters, advice and a row for each slot."""
    out = service.out
    budget = service.budget
    write_open(out, {
        "limit": budget.limit, "services": len(budget.services), "general": budget.general,
        "in_use": budget.in_use(), "high_water": budget.high_water, "accepted": budget.accepted,
        "postponed": budget.postponed, "failed_accepts": budget.failed_accepts,
        "evictions": {name: budget.evictions[k] for k, name in enumerate(REASONS)},
    })  # fmt: skip
    yield
    out.write(b',"advice":')
    yield from write_items(out, _advice(service))
    out.write(b',"past":{"step_s":%d,"age_s":%d' % (STEP_S, service.clock.uptime_s() % STEP_S))
    for k, name in enumerate((b"in_use", b"closed")):
        out.write(b',"%s":[' % name)
        separator = b""
        for step in budget.past():
            out.write(b"%s%d" % (separator, step[k]))
            separator = b","
            yield
        out.write(b"]")
    out.write(b'},"slots":')
    now_s = service.clock.uptime_s()
    past = budget.past_clients  # there is one: who asks is connected
    # A copy: connections come and go between two pieces.
    yield from write_items(out, ({
        "kind": slot.kind, "role": slot.role, "open": slot.open, "busy": slot.busy,
        "peer": None if slot.peer is None else "%s:%d" % seam.peer(slot.peer),
        "age_s": now_s - slot.opened_s,
        "idle_s": slot.idle_ms() // 1000 if slot.role == "connection" else None,
        "requests": slot.requests, "received": slot.received, "sent": slot.sent,
    } for slot in list(budget.ledger())))  # fmt: skip
    out.write(b',"clients_lost":%d,"clients":' % past.lost)
    yield from write_items(out, ({
        "kind": SERVICES[kind], "address": address, "age_s": now_s - first_s, "gone_s": now_s - last_s,
        "requests": requests, "connections": connections, "closed": closed, "most": most,
        "reason": REASONS[reason - 1] if reason else None,
    } for kind, address, first_s, last_s, requests, connections, closed, most, reason in past.rows()))  # fmt: skip
    out.write(b"}")
    yield


def _advice(service: "HttpService") -> "list[str]":
    """Texts for the page: what would free connections."""
    budget = service.budget
    texts = []
    if budget.refused_services:
        names = ", ".join(budget.refused_services)
        texts.append("not started, since no socket was left: %s; switch off services that are not needed" % names)
    larger = service.device.board.larger
    if larger:
        texts.append("a MicroPython build with room for all services and 10 connections: " + larger)
    clients = len([slot for slot in budget.connections if slot.kind == "modbus"])
    browsers = len([slot for slot in budget.connections if slot.kind == "http"])
    if clients > _COMFORTABLE:
        counts = clients, budget.general
        texts.append("%d Modbus clients: with more than %d connections they take turns" % counts)
    if browsers > 1:
        texts.append("%d connections of browsers: each takes the place of a Modbus client" % browsers)
    if budget.postponed or budget.evicted():
        dispensable = [name for name, transport, _, _ in KINDS if transport != LISTENER]
        held = [slot.kind for slot in budget.services if slot.kind in dispensable]
        if held:
            texts.append("switching off what is not needed frees a connection each: %s" % ", ".join(held))
    hasty = []
    if budget.evicted() >= _LEFT_OPEN:
        for kind, address, _, _, requests, connections, closed, _, _ in budget.past_clients.rows():
            if SERVICES[kind] == "modbus" and closed >= _LEFT_OPEN and requests <= 2 * connections:
                hasty.append(address)
    if hasty:
        texts.append(
            "a connection for each poll, left open, from %s: let such a client keep one, or close them"
            % ", ".join(hasty[:_NAMED])
        )  # fmt: skip
    modbus = service.device.services[SERVICES.index("modbus")].service
    count = 0 if modbus is None else modbus.status()["rtu_frames"]
    if count:
        texts.append(
            "%d connections sent RTU frames to the port of Modbus TCP: set those clients to Modbus TCP, or give "
            "them a port by modbus.rtu_over_tcp" % count
        )  # fmt: skip
    if service.config_store.reboot_due():
        texts.append("a reboot is due: until then every service keeps its socket")
    return texts
