"""What must hold in every turn of the loop, whatever the network does.

In:  the running App, its sockets and its board. Out: a list of sentences, each a violation; empty when all is well.
After every turn, when a socket was opened or closed: no more sockets than the limit; as many as the ledger says are
open. Now and then (`_SLOW_TURNS`): what each connection holds is bounded, and so are queues; no task died.
"""

_SLOW_TURNS = 256
_VIOLATIONS_MAX = 20
_LEFT_MAX = {"modbus": 260, "http": 1024}  # input that waits: an ADU, the head of a request
_HELD_MAX = 4096  # of all buffers of a connection: its input, a block of a response, a piece of the next
_QUEUE_MAX = 16  # firmware.bus.bus


class Invariants:
    def __init__(self, world):
        self.violations = []
        self.turns = 0
        self._world = world
        self._seen = -1

    def violate(self, text):
        if len(self.violations) < _VIOLATIONS_MAX:
            self.violations.append(f"at {self._world.timeline.now_s:.6f} s: {text}")

    def turn(self):
        self.turns += 1
        sockets = self._world.sockets
        if sockets.changes != self._seen:
            self._seen = sockets.changes
            self._count()
        if not self.turns % _SLOW_TURNS:
            self.slow()

    def _count(self):
        world = self._world
        app = world.app
        if app is None:
            return
        sockets = world.sockets
        budget = app.budget
        limit = min(16, world.profile.sockets)
        if sockets.most > limit:
            self.violate(f"{sockets.most} sockets are open, the limit is {limit}")
            sockets.most = sockets.open
        rows = sum(slot.open for slot in budget.services) + len(budget.connections)
        if rows != sockets.open:
            self.violate(f"the ledger has {rows} open sockets, in truth {sockets.open} are open")
        if budget.in_use() > budget.limit:
            self.violate(f"{budget.in_use()} slots are in use, there are {budget.limit}")
        if len(budget.connections) > budget.general:
            self.violate(f"{len(budget.connections)} connections in {budget.general} general slots")
        if budget.high_water > budget.limit:
            self.violate(f"high water {budget.high_water} above the limit {budget.limit}")

    def slow(self):
        app = self._world.app
        if app is None:
            return
        for slot in app.budget.connections:
            connection = slot.connection
            if connection is None:
                continue
            left = connection._kept_input_size if slot.kind == "modbus" else len(connection.reader.left)
            if left > _LEFT_MAX.get(slot.kind, 0):
                self.violate(f"a {slot.kind} connection keeps {left} bytes of input")
            shared = [id(part) for part in vars(getattr(connection, "server", app)).values()]
            parts = [part for part in vars(connection).values() if id(part) not in shared]
            held = sum(len(part) for part in parts if isinstance(part, (bytes, bytearray)))
            if held > _HELD_MAX:
                self.violate(f"a {slot.kind} connection holds {held} bytes")
        for bus in app.buses:
            if bus.waiting() > _QUEUE_MAX:
                self.violate(f"{bus.waiting()} requests wait for bus {bus.number}")
        supervisor = app.supervisor
        if supervisor.restarts:
            self.violate(f"{supervisor.restarts} tasks were started again")
            supervisor.restarts = 0

    def at_end(self):
        """Once the firmware has been closed: nothing of it is left."""
        world = self._world
        if world.sockets.open:
            self.violate(f"{world.sockets.open} sockets are still open after App.close()")
        for line in world.console.lines:
            if "Traceback" in line or "task died" in line or "task ended" in line or "connection closed: " in line:
                if "connection closed: " in line and "Error" not in line and "Exception" not in line:
                    continue
                self.violate(f"console: {line}")
