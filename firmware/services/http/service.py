"""The web server as a service (firmware.services): builds its parts and its table of paths, ticks, counts."""

from micropython import const

from firmware.config.load import FILE_MAX
from firmware.net.listener import Listener
from firmware.services import Service
from firmware.services.http.commands import Commands
from firmware.services.http.config_api import ConfigApi
from firmware.services.http.connection import HttpConnection
from firmware.services.http.documents.bus import BusDocument
from firmware.services.http.documents.catalog import CatalogDocuments
from firmware.services.http.documents.history import HistoryDocument
from firmware.services.http.documents.readings import ReadingsDocument
from firmware.services.http.documents.scan import ScanDocument
from firmware.services.http.documents.sockets import SocketsDocument
from firmware.services.http.documents.status import StatusDocument
from firmware.services.http.gate import OPEN, READ, SESSION, Gate, Route
from firmware.services.http.logins import Logins, PasswordFile
from firmware.services.http.page_file import PageFile
from firmware.services.http.response_writer import Blocks
from firmware.services.http.session_api import SessionApi
from firmware.services.http.sessions import Sessions

_UNSERVED_MS = const(10000)  # to send the first request in
_BODY_MAX = const(512)  # bytes, where nothing else is said
_PASSWORD_MAX = const(768)


class Counters:
    """Of the whole server, since boot."""

    def __init__(self):
        self.requests = 0  # that were answered
        self.refused = 0  # of them with a status of 400 or above


class HttpService(Service):
    """`config`: its section of the configuration; `config_store`: firmware.config.config_store.ConfigStore; `link`: the
    board's; the others are the gateway's parts of those names."""

    name = "http"

    def __init__(
        self, config, budget, events, clock, link, device, config_store, meters, readings, buses, history
    ):  # fmt: skip
        """Raises OSError when the password cannot be read."""
        self.config = config
        self.budget = budget
        self.events = events
        self.counters = Counters()
        self.blocks = Blocks()
        self.listener = None
        out = self.blocks.out
        password = PasswordFile()
        sessions = Sessions(clock.uptime_s)
        logins = Logins(password, clock.uptime_s, events)
        self._config_api = ConfigApi(out, config_store, buses)
        page = PageFile()
        status = StatusDocument(out, device, config_store, clock, link, meters, buses, events)
        readings = ReadingsDocument(out, clock, meters, readings, buses)
        scan = ScanDocument(out, buses)
        catalog = CatalogDocuments(out)
        login = SessionApi(
            out, config_store.name, config["public_status"], sessions, logins, password, link, events
        )  # fmt: skip
        commands = Commands(device, config_store, clock, buses, password, sessions, events)
        routes = {
            b"/": Route(OPEN, GET=page.get),
            b"/api/status": Route(READ, GET=status.get),
            b"/api/readings": Route(READ, GET=readings.get),
            b"/api/bus": Route(READ, GET=BusDocument(out, buses).get),
            b"/api/scan": Route(READ, GET=scan.get, POST=scan.start, DELETE=scan.stop),
            b"/api/sockets": Route(READ, GET=SocketsDocument(out, budget, device, config_store, clock).get),
            b"/api/history": Route(READ, GET=HistoryDocument(out, history, clock).get),
            b"/api/session": Route(OPEN, GET=login.get),
            b"/api/login": Route(OPEN, _BODY_MAX, POST=login.login),
            b"/api/logout": Route(OPEN, _BODY_MAX, POST=login.logout),
            b"/api/password": Route(OPEN, _PASSWORD_MAX, POST=login.set_password),
            b"/api/config": Route(SESSION, FILE_MAX, GET=self._config_api.get, PUT=self._config_api.put),
            b"/api/schema": Route(SESSION, GET=catalog.get_schema),
            b"/api/profiles": Route(READ, GET=catalog.get_profiles),
            b"/api/read": Route(SESSION, _BODY_MAX, POST=commands.read),
            b"/api/time": Route(SESSION, _BODY_MAX, POST=commands.set_time),
            b"/api/reboot": Route(SESSION, _BODY_MAX, POST=commands.reboot),
            b"/api/factory_reset": Route(SESSION, _BODY_MAX, POST=commands.factory_reset),
        }
        if history.records is not None:
            # Here and not at the head: it takes heap where nothing is recorded, too.
            from firmware.services.http.documents.records import RecordsDocument

            routes[b"/api/records"] = Route(READ, GET=RecordsDocument(out, history, clock).get)
        self.gate = Gate(routes, sessions, config_store.hostname, config)
        self.sessions = sessions
        self.logins = logins

    def start(self):
        """Raises OSError when the port cannot be had."""
        config = self.config
        self.listener = Listener(
            self.budget, self.events, self.name, config["bind"], config["port"], self.connection,
            _UNSERVED_MS, 1000 * config["idle_timeout_s"],
        )  # fmt: skip

    def connection(self, stream, slot):
        """A newcomer. Raises MemoryError."""
        return HttpConnection(self, stream, slot)

    def tick(self):
        for slot in self.budget.connections[:]:
            if slot.kind == self.name:
                self._expire(slot.connection)
        self._config_api.expire()
        self.listener.sweep()

    @staticmethod
    def _expire(connection):
        try:
            connection.expire()
        except Exception as error:
            connection.fail(error)

    def close(self):
        if self.listener is not None:
            self.listener.close()

    def status(self):
        return {"requests": self.counters.requests, "refused": self.counters.refused}
