"""The web server as a service (firmware.services): its parts, ticks and counters."""

from micropython import const

from firmware import resources
from firmware.net import seam
from firmware.net.listener import Listener
from firmware.services import Service
from firmware.services.http.connection import HttpConnection
from firmware.services.http.documents.history import HistoryDocument
from firmware.services.http.documents.readings import ReadingsDocument
from firmware.services.http.logins import Logins, PasswordFile
from firmware.services.http.response_writer import BLOCK, FILE_BLOCK, PIECE
from firmware.services.http.sessions import Sessions

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.bus import Buses
    from firmware.config.config_store import ConfigStore
    from firmware.device import Device
    from firmware.events import Events
    from firmware.history.history import History
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.budget import Budget, Slot
    from firmware.net.clock import Clock
    from firmware.services.http.config_api import Save
    from firmware.update import Update

_UNSERVED_MS = const(10000)  # a connection without a first request is idle for so long at most


class HttpService(Service):
    """Handlers get it as their first argument. `config`: the section `http` of the configuration; `link`: the board's.

    `block`: buffer for input and output of all connections. `holder`: the connection that has left in it what its
    socket has not taken; it copies that (keep_held) before another one uses the block.
    `out`: the sink that documents write to. `requests`: answered since boot; `refused`: those with a status of 400 or
    above. `save`: the save that waits for the buses, or None.
    `update`: the update under way, or None."""

    name = "http"
    # The pages of set-up mode (firmware.setup.portal), which go before all others; None otherwise.
    portal: "Any" = None

    def __init__(
        self,
        config: dict,
        budget: "Budget",
        events: "Events",
        clock: "Clock",
        link: "Any",
        device: "Device",
        config_store: "ConfigStore",
        meters: "Meters",
        readings: "Readings",
        buses: "Buses",
        history: "History",
    ) -> None:
        """Raises OSError when the password cannot be read."""
        self.config = config
        self.budget = budget
        self.events = events
        self.clock = clock
        self.link = link
        self.device = device
        self.config_store = config_store
        self.meters = meters
        self.readings = readings
        self.history = history
        self.buses = buses
        self.hostname = config_store.hostname.lower().encode()
        self.names = [name.lower().encode() for name in config["names"]]
        self.requests = 0
        self.refused = 0
        self.listener: "Listener | None" = None
        self.save: "Save | None" = None
        self.update: "Update | None" = None
        self.block = bytearray(BLOCK)
        self.view = memoryview(self.block)
        self.holder: "HttpConnection | None" = None
        # Bytes that lie in flash need none. Later a heap that connections have broken up might have no such piece.
        self.file_block = b"" if resources.FROZEN else bytearray(FILE_BLOCK)
        self.out = out = seam.Sink(BLOCK + PIECE)
        self.page_headers: dict = {}  # of page_file
        self.page_heads: dict = {}
        self.document_heads: dict = {}
        self.password = PasswordFile()
        self.sessions = Sessions(clock.uptime_s)
        self.logins = Logins(self.password, clock.uptime_s, events)
        self.readings_document = ReadingsDocument(out, clock, meters, readings, buses)
        self.history_document = HistoryDocument(out, history, clock)
        self.records_document: "Any" = None
        if history.records is not None:
            # Imported here: it takes heap only where records are kept.
            from firmware.services.http.documents.records import RecordsDocument

            self.records_document = RecordsDocument(out, history, clock)

    def start(self) -> None:
        """Opens the listener. Raises OSError when the port is taken."""
        config = self.config
        self.listener = Listener(
            self.budget, self.events, self.name, config["bind"], config["port"], self.connection,
            _UNSERVED_MS, 1000 * config["idle_timeout_s"],
        )  # fmt: skip

    def connection(self, stream: "Any", slot: "Slot") -> HttpConnection:
        """Makes the connection for an accepted stream. Raises MemoryError."""
        return HttpConnection(self, stream, slot)

    def tick(self) -> None:
        """Call once a second: ends incomplete requests and a save that waits too long, and sweeps idle connections."""
        for slot in self.budget.connections[:]:
            if slot.kind == self.name:
                try:
                    slot.connection.expire()
                except Exception as error:
                    slot.connection.fail(error)
        if self.save is not None and self.save.expire():
            self.save = None
        self.listener.sweep()

    def close(self) -> None:
        """Closes the listener and the files of an update."""
        if self.listener is not None:
            self.listener.close()
        if self.update is not None:
            self.update.close()

    def status(self) -> dict:
        """Counters of requests."""
        return {"requests": self.requests, "refused": self.refused}
