"""The device as services see it: board, table of services, restart."""

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.events import Events
    from firmware.net.budget import Budget
    from firmware.supervisor import Supervisor

_REBOOT_MS = const(500)


class ServiceEntry:
    """A row of the table of services. `state` is one of
    "running"    it has started
    "off"        switched off in the configuration
    "reserved"   enabled, and its slot is held, but it has no address (posting, MQTT)
    "no_room"    this board has no socket for it
    "no_memory"  this board has no memory for it
    "failed"     it could not start
    `port`: as configured, None without one. `service`: the object that runs (firmware.services), or None."""

    def __init__(self, name: str, state: str, port: "int | None"):
        self.name = name
        self.state = state
        self.port = port
        self.service = None


class Device:
    """`services`: list of ServiceEntry, in the order of firmware.net.budget.SERVICES. `before_restart()` is called
    before a restart that was asked for; `is_restarting` is true from then on."""

    def __init__(
        self, board: "Any", supervisor: "Supervisor", budget: "Budget", events: "Events", services: list,
        before_restart: "Callable[[], None]",
    ):  # fmt: skip
        self.board = board
        self.services = services
        self._supervisor = supervisor
        self._budget = budget
        self._events = events
        self._before_restart = before_restart
        self.is_restarting = False

    def running(self, name: str) -> "Any":
        """The running service of that name, or None."""
        for entry in self.services:
            if entry.name == name:
                return entry.service
        return None

    @property
    def restarts(self) -> int:
        """Tasks restarted since boot, and ticks that failed."""
        return self._supervisor.restarts

    def reboot(self) -> None:
        """Restarts the device once the responses under way have been sent. Raises MemoryError."""
        self.is_restarting = True
        self._events.add("app", "restarting")
        self._supervisor.run_once(self._reboot())

    async def _reboot(self):
        await seam.sleep_ms(_REBOOT_MS)
        for slot in self._budget.connections[:]:
            slot.connection.close()
        await seam.sleep_ms(_REBOOT_MS)  # for the last packets
        self._before_restart()
        self.board.reset()
