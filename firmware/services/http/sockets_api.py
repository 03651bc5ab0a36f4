"""GET /api/sockets. Every field is in docs/contracts.md."""

import json

from firmware.net import seam
from firmware.net.budget import REASONS

_COMFORTABLE = 8  # Modbus clients


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    return _sockets(app), ()


def _sockets(app):
    """The ledger of the 16 slots, and what has become of those who wanted one."""
    budget = app.budget
    yield '{"limit":%d,"services":%d,"general":%d,"in_use":%d,"high_water":%d,"accepted":%d,' % (
        budget.limit, len(budget.services), budget.general, budget.in_use(), budget.high_water, budget.accepted,
    )  # fmt: skip
    evictions = ",".join(['"%s":%d' % (REASONS[i], n) for i, n in enumerate(budget.evictions)])
    yield '"postponed":%d,"failed_accepts":%d,"evictions":{%s},"advice":%s,"slots":[' % (
        budget.postponed, budget.failed_accepts, evictions, json.dumps(_advice(app)),
    )  # fmt: skip
    now = app.uptime_s()
    for k, slot in enumerate(list(budget.ledger())):
        peer = "null" if slot.peer is None else '"%s:%d"' % seam.peer(slot.peer)
        idle_s = slot.idle_ms() // 1000 if slot.role == "connection" else None
        yield (
            '%s{"kind":"%s","role":"%s","open":%s,"busy":%s,"peer":%s,"age_s":%d,"idle_s":%s,'
            '"requests":%d,"received":%d,"sent":%d}'
        ) % (
            "," if k else "", slot.kind, slot.role, _bool(slot.open), _bool(slot.busy), peer,
            now - slot.opened_s, "null" if idle_s is None else idle_s, slot.requests, slot.received, slot.sent,
        )  # fmt: skip
    yield "]}"


def _advice(app):
    """What would get more out of this device's sockets, as texts for the page."""
    budget = app.budget
    texts = []
    if budget.refused_services:
        names = ", ".join(budget.refused_services)
        texts.append("not started for want of sockets: %s; switch off services that are not needed" % names)
    if app.board.larger:
        texts.append("a MicroPython build with room for all services and 10 connections: " + app.board.larger)
    held = {"http": 0, "modbus": 0}
    for slot in budget.connections:
        held[slot.kind] += 1
    if held["modbus"] > _COMFORTABLE:
        texts.append("%d Modbus clients: from the eleventh on they take turns" % held["modbus"])
    if held["http"] > 1:
        texts.append("%d connections of browsers: each takes the place of a Modbus client" % held["http"])
    if budget.postponed or budget.evicted():
        spare = [slot.kind for slot in budget.services if slot.kind not in ("http", "modbus")]
        if spare:
            texts.append("switching off what is not needed frees a connection each: %s" % ", ".join(spare))
    if app.reboot_due():
        texts.append("a reboot is due: until then every service keeps its socket")
    return texts


def _bool(value):
    return "true" if value else "false"
