"""GET /api/sockets: the ledger of the 16 slots, and what has become of those who wanted one."""

from micropython import const

from firmware.net import seam
from firmware.net.budget import KINDS, LISTENER, REASONS, SERVICES
from firmware.services.http.json_out import write_items, write_open
from firmware.services.http.response import Response

_COMFORTABLE = const(8)  # Modbus clients


class SocketsDocument:
    def __init__(self, out, budget, device, config_store, clock):
        self._out = out
        self._budget = budget
        self._device = device
        self._store = config_store
        self._clock = clock

    def get(self, request):
        return Response(self._write())

    def _write(self):
        out = self._out
        budget = self._budget
        write_open(out, {
            "limit": budget.limit, "services": len(budget.services), "general": budget.general,
            "in_use": budget.in_use(), "high_water": budget.high_water, "accepted": budget.accepted,
            "postponed": budget.postponed, "failed_accepts": budget.failed_accepts,
            "evictions": {name: budget.evictions[k] for k, name in enumerate(REASONS)},
        })  # fmt: skip
        yield
        out.write(b',"advice":')
        yield from write_items(out, self._advice())
        out.write(b',"slots":')
        yield from write_items(out, self._slot_items())
        out.write(b"}")
        yield

    def _slot_items(self):
        now_s = self._clock.uptime_s()
        # A copy: connections come and go between two pieces.
        for slot in list(self._budget.ledger()):
            yield {
                "kind": slot.kind, "role": slot.role, "open": slot.open, "busy": slot.busy,
                "peer": None if slot.peer is None else "%s:%d" % seam.peer(slot.peer),
                "age_s": now_s - slot.opened_s,
                "idle_s": slot.idle_ms() // 1000 if slot.role == "connection" else None,
                "requests": slot.requests, "received": slot.received, "sent": slot.sent,
            }  # fmt: skip

    def _advice(self):
        """What would get more out of this device's sockets, as texts for the page."""
        budget = self._budget
        texts = []
        if budget.refused_services:
            names = ", ".join(budget.refused_services)
            texts.append("not started for want of sockets: %s; switch off services that are not needed" % names)
        larger = self._device.board.larger
        if larger:
            texts.append("a MicroPython build with room for all services and 10 connections: " + larger)
        clients = len([slot for slot in budget.connections if slot.kind == "modbus"])
        browsers = len([slot for slot in budget.connections if slot.kind == "http"])
        if clients > _COMFORTABLE:
            told = clients, budget.general
            texts.append("%d Modbus clients: with more than %d connections they take turns" % told)
        if browsers > 1:
            texts.append("%d connections of browsers: each takes the place of a Modbus client" % browsers)
        if budget.postponed or budget.evicted():
            dispensable = [kind.name for kind in KINDS if kind.transport != LISTENER]
            held = [slot.kind for slot in budget.services if slot.kind in dispensable]
            if held:
                texts.append("switching off what is not needed frees a connection each: %s" % ", ".join(held))
        modbus = self._device.services[SERVICES.index("modbus")].service
        count = 0 if modbus is None else modbus.status()["rtu_frames"]
        if count:
            texts.append(
                "%d connections sent RTU frames to the port of Modbus TCP: set those clients to Modbus TCP, or give "
                "them a port by modbus.rtu_over_tcp" % count
            )  # fmt: skip
        if self._store.reboot_due():
            texts.append("a reboot is due: until then every service keeps its socket")
        return texts
