"""The web server as a service (firmware.services): its parts, ticks and counters."""

from micropython import const

from firmware.net import seam
from firmware.net.listener import Listener
from firmware.services import Service
from firmware.services.http.connection import HttpConnection
from firmware.services.http.documents.history import HistoryDocument
from firmware.services.http.documents.readings import ReadingsDocument
from firmware.services.http.logins import Logins, PasswordFile
from firmware.services.http.response_writer import BLOCK, PIECE
from firmware.services.http.sessions import Sessions

_UNSERVED_MS = const(10000)  # to send the first request in


class HttpService(Service):
    """`config`: its section of the configuration; `config_store`: firmware.config.config_store.ConfigStore; `link`: the
    board's; the others are the gateway's parts of those names. Handlers get it as their first argument.

    `block` is the one buffer that all connections share: what has come with a request is put aside before it is
    answered, and what was made is sent, or copied, before anything is read. `out` is the sink that documents write to.
    `requests` counts those that were answered since boot, `refused` those of them with a status of 400 or above.
    `save`: the config_api.Save that waits for the buses, or None."""

    name = "http"

    def __init__(
        self, config, budget, events, clock, link, device, config_store, meters, readings, buses, history
    ):  # fmt: skip
        """Raises OSError when the password cannot be read."""
        self.config = config
        self.budget = budget
        self.events = events
        self.clock = clock
        self.link = link
        self.device = device
        self.config_store = config_store
        self.meters = meters
        self.buses = buses
        self.hostname = config_store.hostname.lower().encode()
        self.names = [name.lower().encode() for name in config["names"]]
        self.requests = 0
        self.refused = 0
        self.listener = None
        self.save = None
        self.block = bytearray(BLOCK)
        self.view = memoryview(self.block)
        self.file_block: "bytes | bytearray" = b""  # made for the first file: bytes that lie in flash need none
        self.out = out = seam.Sink(BLOCK + PIECE)
        self.page_headers: dict = {}  # of page_file
        self.page_heads: dict = {}
        self.document_heads: dict = {}
        self.password = PasswordFile()
        self.sessions = Sessions(clock.uptime_s)
        self.logins = Logins(self.password, clock.uptime_s, events)
        self.readings_document = ReadingsDocument(out, clock, meters, readings, buses)
        self.history_document = HistoryDocument(out, history, clock)
        self.records_document = None
        if history.records is not None:
            # Here and not at the head: it takes heap where nothing is recorded, too.
            from firmware.services.http.documents.records import RecordsDocument

            self.records_document = RecordsDocument(out, history, clock)

    def start(self):
        """Raises OSError when the port cannot be had."""
        config = self.config
        self.listener = Listener(
            self.budget, self.events, self.name, config["bind"], config["port"], self.connection,
            _UNSERVED_MS, 1000 * config["idle_timeout_s"],
        )  # fmt: skip

    def connection(self, stream, slot):
        """Makes the connection of a stream that was accepted. Raises MemoryError."""
        return HttpConnection(self, stream, slot)

    def tick(self):
        for slot in self.budget.connections[:]:
            if slot.kind == self.name:
                try:
                    slot.connection.expire()
                except Exception as error:
                    slot.connection.fail(error)
        if self.save is not None and self.save.expire():
            self.save = None
        self.listener.sweep()

    def close(self):
        if self.listener is not None:
            self.listener.close()

    def status(self):
        return {"requests": self.requests, "refused": self.refused}
