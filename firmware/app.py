"""The running gateway: builds its parts from the configuration, starts services and tasks, and ends them.

Every part gets what it uses; only this file knows them all.
"""

import gc
import os

from micropython import const

# First, since asyncio lies deep below it: an import within an import takes C stack, 4 KB of 40 on the unix port.
from firmware.net import link, seam

# isort: split
from firmware import resources
from firmware.bus import Buses, Router
from firmware.bus.bus import Bus
from firmware.config import store
from firmware.config.config_store import ConfigStore
from firmware.device import Device, ServiceEntry
from firmware.events import Events
from firmware.history.history import History
from firmware.meters import profile_loader
from firmware.meters.meter import Meter
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net.budget import SERVICES, Budget
from firmware.net.clock import Clock
from firmware.supervisor import Supervisor

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.net.dns import Resolver
    from firmware.setup.setup import SetUp

_WATCH_CONFIG_S = const(5)
_CONFIRM_S = const(10)  # of uptime with a page, after which a configuration is the last good one
_SERVE_BYTES = const(6144)  # of heap, for a login and a save of a small configuration; a longer file takes
_SAVE_FACTOR = const(3)  # times its length: the body and the document made of it
_IDLE_MS = const(60000)
_BAD = ("no_memory", "failed")  # states of a service
_HELD_S = const(10)
_WARN_S = const(3)
_SET_UP = const("data/set_up")  # its presence asks for set-up mode at the next start
_ERASE = const("erase")  # its presence says that a factory reset has removed files (firmware.erase)
_SET_UP_S = const(600)  # that a device which was asked stays in it
_HEALTHY_S = const(60)  # of uptime, after which a start has not failed
_SAFE_S = const(3600)  # of uptime in safe mode, after which the whole gateway is tried again
_GC_PARTS = const(8)


# A service is imported when it is made and not at the head of this file: where modules are files, in the heap of a
# small board, one that finds no room is left out and named, and the others run.


def _modbus(app):
    from firmware.services.modbus_tcp.server import ModbusServer
    from firmware.services.modbus_tcp.unit255 import Unit255

    unit255 = Unit255(
        app.device, app.config_store, app.clock, app.budget, app.meters, app.readings, app.buses
    )  # fmt: skip
    return ModbusServer(app.config["modbus"], app.budget, app.events, app.buses, unit255, app.served)


def _http(app):
    from firmware.services.http.service import HttpService

    return HttpService(
        app.config["http"], app.budget, app.events, app.clock, app.link, app.device, app.config_store, app.meters,
        app.readings, app.buses, app.history,
    )  # fmt: skip


def _bacnet(app):
    from firmware.services.bacnet.service import BacnetService

    return BacnetService(
        app.config["bacnet"], app.config_store.name, app.board.name, app.budget, app.events, app.clock, app.link,
        app.meters, app.readings, app.buses, app.device,
    )  # fmt: skip


def _ntp(app):
    from firmware.services.ntp.client import NtpClient

    resolver = app.resolver()
    return NtpClient(app.config["ntp"], app.budget, app.events, app.clock, app.link, resolver)


def _finder(app):
    from firmware.services.finder.finder import Finder

    name = app.config_store.name
    responder = None
    slot = app.budget.service_slot("finder", 1)
    if slot is not None:
        from firmware.services.finder.responder import Responder

        ports = {entry.name: entry.port for entry in app.device.services if app.budget.service_slot(entry.name)}
        responder = Responder(app.config["network"]["hostname"], name, ports, slot, app.events, app.link, app.device)
    return Finder(
        app.config["finder"], name, app.budget, app.events, app.clock, app.link, app.device, responder
    )  # fmt: skip


def _tls(app, section):
    from firmware.net.tls import Tls

    return Tls(section, app.clock, app.buses, app.board.heap, app.tls_turns)


def _posting(app):
    from firmware.net.tcp_client import TcpClient
    from firmware.services.posting.service import Posting

    section = app.config["posting"]
    client = TcpClient(app.budget.service_slot("posting"), app.resolver())
    tls = _tls(app, section) if section["url"].startswith("https:") else None
    return Posting(
        section, app.config["name"], client, tls, app.events, app.clock, app.link, app.history,
        app.meters, app.readings, app.buses,
    )  # fmt: skip


def _shelly(app):
    from firmware.services.shelly.service import Shelly

    return Shelly(
        app.config["shelly"], app.config_store.name, app.budget, app.events, app.link, app.meters, app.readings
    )  # fmt: skip


def _mqtt(app):
    from firmware.net.tcp_client import TcpClient
    from firmware.services.mqtt.service import Mqtt

    section = app.config["mqtt"]
    client = TcpClient(app.budget.service_slot("mqtt"), app.resolver())
    tls = _tls(app, section) if section["tls"] else None
    page = app.config["http"]
    return Mqtt(
        section, app.config_store.name, app.board.identity()[1], client, tls, app.events, app.clock, app.link,
        app.meters, app.readings, app.buses, app.history, page_port=page["port"] if page["enabled"] else 0,
    )  # fmt: skip


# In the order of starting: (name, how it is made, bytes of heap that its modules take as files, which a test measures
# with none before it but those that are on by default: what they share is its own then).
BUILT = (
    ("modbus", _modbus, 16384), ("http", _http, 63488), ("bacnet", _bacnet, 40960), ("ntp", _ntp, 11264),
    ("finder", _finder, 5120), ("posting", _posting, 40960), ("shelly", _shelly, 5120),
    ("mqtt", _mqtt, 19456),
)  # fmt: skip
# What a setting of a service takes beside them: (name, setting, its value, bytes of modules, bytes to work with).
FURTHER = (
    ("mqtt", "history", True, 8192, 12288), ("mqtt", "homeassistant", True, 3072, 0),
    ("mqtt", "payload", "sparkplug", 10240, 0),
)  # fmt: skip
_RESERVE = const(8192)  # bytes that stay free for connections and requests on a board whose modules are files


class App:
    """The gateway on `board` (firmware.board). Its parts are attributes. `failed_starts`: in a row; with any it runs in
    safe mode: link and page by the configuration, and nothing else."""

    def __init__(self, board: "Any", failed_starts: int = 0) -> None:
        self.board = board
        self._failed_starts = failed_starts
        self.clock = Clock(board.set_clock)
        self.events = events = Events(self.clock.uptime_s)
        self.config_store = ConfigStore(events, self._heap_free)
        self.config = config = self.config_store.config
        if failed_starts:
            self._reduce()
        elif not self.config_store.is_confirmed:
            board.starts(0)  # config/trial counts the starts by this file, and gives it up by itself
        if config["board"]:
            from firmware.config import board_files

            try:
                board_files.apply(config)
            except ValueError as error:
                events.add("app", "board file: %s" % error)
        if store.exists(_SET_UP) and board.has_wifi:
            config["network"]["link"] = "wifi"  # and no Ethernet: an ESP32 takes events of one for the other's
        self.link = board.open_link(config["network"])
        self.supervisor = Supervisor(board, events)
        enabled = [name for name in SERVICES if config[name]["enabled"]]
        if config["modbus"]["enabled"] and config["modbus"]["rtu_over_tcp"]:
            enabled.append("modbus")  # its second listener
        if config["finder"]["enabled"] and (config["finder"]["mdns"] or not board.answers_mdns):
            enabled.append("finder")  # its second socket
        quotas = {"http": config["http"]["max_connections"]}
        limit = min(config["sockets"]["limit"], board.sockets)
        self.budget = Budget(limit, board.tcp, board.udp, enabled, quotas, self.clock.uptime_s, events)
        self.meters = Meters(self._make_meters())
        self.readings = Readings(self.clock.uptime_s)
        self.buses = self._make_buses()
        self.served: "dict[int, Any]" = {}  # {unit: what answers for it}
        self.history = History(config["history"], self.meters.meters, self.readings, self.clock, self.buses, events)
        entries = [ServiceEntry(name, self._first_state(name), config[name].get("port")) for name in SERVICES]
        self.device = Device(board, self.supervisor, self.budget, events, entries, self._prepare_restart)
        self._resolver: "Resolver | None" = None
        self.tls_turns: "list[Any]" = []  # firmware.net.tls
        self._set_up: "SetUp | None" = None
        self._seconds = 0
        self._is_healthy = False
        self._held_s = 0
        cause = board.reset_cause()
        if cause:
            events.add("app", "started after " + cause)
            self._keep_crash(cause + ": the firmware had stopped")
        if store.exists("tree/failed"):
            from firmware import trees

            events.add("app", "the last update was taken back: %s" % trees.failure())

    def _reduce(self):
        """Leaves link and page of the configuration: whatever makes the gateway crash, it can be changed."""
        from firmware import crash

        config = self.config
        for name in SERVICES:
            config[name]["enabled"] = name == "http"
        config["meters"] = []
        config["routes"] = []
        config["served"] = []
        config["buses"] = []
        config["history"]["bytes"] = 0
        config["history"]["flash"] = False
        why = "safe mode: %d starts have failed: %s" % (self._failed_starts, crash.reason() or "reason unknown")
        self.config_store.errors = [why] + list(self.config_store.errors)
        self.config_store.is_confirmed = True
        self.events.add("app", why)

    def _keep_crash(self, reason, uptime_s=None, error=None):
        from firmware import crash

        crash.keep(reason, self.board.heap(), uptime_s, error)

    def _heap_free(self):
        """Bytes after a collection; 0 where the board does not know."""
        gc.collect()
        return self.board.heap()[0]

    def _make_meters(self):
        """One Profile serves all meters of a kind. The meters' part of the configuration is removed: a Meter holds
        what it needs of it."""
        profiles = self.config_store.profiles
        self.config_store.profiles = None
        self._served_profiles = {item["as"]: profiles[item["as"]] for item in self.config["served"] if item["as"]}
        return [
            Meter(section, profile_loader.of_meter(section, profiles), profile_loader.ratios(section))
            for section in self.config.pop("meters")
        ]

    def _make_buses(self):
        buses = []
        for number, section in enumerate(self.config["buses"]):
            meters = [meter for meter in self.meters.meters if meter.bus == number]
            kind = Bus
            if section["role"] == "listen":
                from firmware.bus.listening import ListeningBus

                kind = ListeningBus
            elif section["role"] == "slave":
                from firmware.bus.slave import SlaveBus

                kind = SlaveBus
            buses.append(kind(number, section, self.board.open_line, meters, self.events, self.clock.uptime_s))
        return Buses(buses, Router(buses, self.meters.meters, self.config.pop("routes")), self.events)

    def _first_state(self, name):
        if not self.config[name]["enabled"]:
            return "off"
        return "no_room" if name in self.budget.refused_services else "reserved"

    def resolver(self) -> "Resolver":
        """The one resolver of names, made for the first service that has to find an address."""
        from firmware.net.dns import Resolver

        if self._resolver is None:
            self._resolver = Resolver(self.link.dns_servers, self.clock.uptime_s, os.urandom)
        return self._resolver

    def service(self, name: str) -> "Any":
        """The running service of that name, or None."""
        return self.device.running(name)

    # -- running

    def start(self) -> None:
        """Starts services and tasks. A service that cannot start is logged, and the others start."""
        gc.collect()  # so that the free heap is known
        if self.config["served"]:
            self._serve_meters()
        for name, make, heap in BUILT:
            entry = self.device.services[SERVICES.index(name)]
            section = self.config[name]
            if entry.state == "reserved" and section.get("url", section.get("host")) != "":  # else it has no address
                self._start_service(entry, make, heap)
        for bus in self.buses:
            self.supervisor.keep_running("bus %d" % bus.number, bus.run)
        self.supervisor.watched = self.buses
        self.supervisor.keep_running("link", self._keep_link)
        self.supervisor.every_second(self.buses.tick)
        self.supervisor.every_second(self._tick)
        self.supervisor.start_ticking(self.config["system"]["watchdog_s"])

    def _serve_meters(self):
        """Makes the served units, for Modbus TCP and for slave lines. Without room for them there are none."""
        from firmware.services.modbus_tcp.served import make_units

        identity = self.config_store.name, self.board.identity()[1]
        try:
            self.served = make_units(
                self.config["served"], self._served_profiles, identity, self.meters, self.readings, self.events
            )  # fmt: skip
        except MemoryError:
            self.events.add("served", "no meter is served: no memory for it on this board")
        self._served_profiles = {}
        for bus in self.buses:
            if bus.config["role"] == "slave":
                bus.units = self.served

    def _heap_to_start(self, name, heap):
        """Bytes that have to be free: for the modules, and so that buses, connections and a page that runs go on."""
        for service, setting, value, modules, work in FURTHER:
            if service == name and self.config[name][setting] == value:
                heap += modules + work
        return heap + _RESERVE + (0 if self.service("http") is None else self._page_bytes())

    def _start_service(self, entry, make, heap):
        try:
            if not resources.FROZEN and 0 < self._heap_free() < self._heap_to_start(entry.name, heap):
                raise MemoryError
            service = make(self)
            service.start()
        except MemoryError:
            entry.state = "no_memory"
            image = self.board.image or "an image with the firmware frozen into it"
            self.events.add(entry.name, "not started: no memory for it on this board; %s has room" % image)
            return
        except OSError as error:
            entry.state = "failed"
            self.events.add(entry.name, "not started: port %d: %r" % (entry.port, error))
            return
        entry.state = "running"
        entry.service = service
        self.supervisor.every_second(service.tick)
        if service.has_task:
            self.supervisor.keep_running(entry.name, service.run)

    async def _keep_link(self):
        if store.exists(_ERASE):
            from firmware import erase

            await erase.run(self.events)
        network = self.config["network"]
        is_new = not (network["ssid"] or network["ssid_2"] or network["ssid_3"])
        is_asked = True
        try:
            os.remove(_SET_UP)
        except OSError:
            is_asked = False
        if network["link"] == "wifi" and self.board.has_wifi and (is_new or is_asked):
            from firmware.setup.setup import SetUp

            self._set_up = SetUp(
                network, self.board, self.budget, self.events, self.config_store, self.buses, self.device,
                0 if is_new and not is_asked else _SET_UP_S,
            )  # fmt: skip
            await self._set_up.run()
        await link.keep_up(self.link, self.events, self._close_connections)

    def _close_connections(self):
        for slot in self.budget.connections[:]:
            slot.connection.close()

    def _tick(self):
        if self.config_store.is_reset:
            return  # and the restart is under way
        self._watch_button()
        uptime_s = self.clock.uptime_s()
        self.history.tick(uptime_s)
        self._seconds += 1
        if self._seconds >= _WATCH_CONFIG_S:
            self._seconds = 0
            if self._failed_starts:
                if uptime_s >= _SAFE_S:
                    self.device.reboot()
            elif not self._is_healthy and uptime_s >= _HEALTHY_S:
                self._is_healthy = True
                self.board.starts(0)
                self._end_trial()
            self.config_store.notice_change()
            if not self.config_store.is_confirmed and uptime_s >= _CONFIRM_S:
                self._confirm_config()

    def _end_trial(self):
        """Keeps the firmware that is on trial when every service runs and no task has died; else goes back."""
        if not store.exists("tree/use"):
            return
        from firmware import trees

        if trees.forget():
            self.events.add("app", "a new image was flashed: the update from before it is not used any more")
        ended = trees.end_trial(self._what_is_wrong(), self.board)
        if ended is None:
            return
        self.events.add("app", ended[0])
        if ended[1]:
            self.device.reboot()

    def _what_is_wrong(self):
        """Why an update cannot be kept; "" when all services run and no task has died."""
        wrong = ["%s %s" % (entry.name, entry.state) for entry in self.device.services if entry.state in _BAD]
        if self.supervisor.restarts:
            why = "a task has died"
            for _, source, text, _ in self.events.lines():
                if source == "tick" or text.startswith("task "):
                    why = "%s: %s" % (source, text)
            wrong.append(why)
        return ", ".join(wrong)

    def _watch_button(self):
        """A factory reset when the board's button is held for _HELD_S: for a device whose password nobody knows. When
        it is released before that, and after _WARN_S, a device that has Wi-Fi restarts into set-up mode."""
        is_held = self.board.button(self.config["system"].get("button"))
        held_s = self._held_s
        self._held_s = held_s + 1 if is_held else 0
        if not is_held and held_s >= _WARN_S and self.board.has_wifi and self.config["network"]["link"] != "none":
            self.events.add("app", "the button asks for set-up mode")
            with open(_SET_UP, "w"):
                pass
            self.device.reboot()
        if self._held_s == _WARN_S:
            self.events.add("app", "the button is held: all settings are removed in %d s" % (_HELD_S - _WARN_S))
        if self._held_s >= _HELD_S and not self.buses.paused:
            self.config_store.factory_reset()
            self.device.reboot()

    def _confirm_config(self):
        """Makes the configuration the last good one when it has brought up the page; gives it up when it has not."""
        if self._has_page():
            self.buses.pause(self._keep_config)  # or some seconds later, when they cannot rest now
            return
        try:
            self.config_store.reject()
            self.events.add("config", "no page with the new configuration: restarting by the one before it")
            self.device.reboot()
        except MemoryError:
            self.board.reset()  # at once, so that this start counts: the third one without a page gives it up, too

    def _has_page(self):
        if not self.config["http"]["enabled"]:
            return True
        if self.service("http") is None:
            return False
        free = self._heap_free()
        return not free or free >= self._page_bytes()

    def _page_bytes(self):
        return _SERVE_BYTES + _SAVE_FACTOR * self.config_store.file_size()

    def _keep_config(self):
        try:
            self.config_store.confirm()
        except (OSError, ValueError, MemoryError) as error:
            self.events.add("config", "not kept as the last good one: %r" % error)
        finally:
            self.buses.resume()

    def _write_what_waits(self):
        if self.config_store.is_reset:
            return
        self.history.commit()
        for name in ("posting", "mqtt"):
            service = self.service(name)
            if service is not None:
                service.keep()

    def _prepare_restart(self):
        self._write_what_waits()
        self.config_store.uncount_start()
        self.board.starts(0)

    async def main(self) -> None:
        """Runs until it is cancelled."""
        self.start()
        _collect_in_parts()
        self.events.add("app", "meterport runs on %s, %d sockets" % (self.board.name, self.budget.limit))
        while True:
            await seam.sleep_ms(_IDLE_MS)

    def close(self) -> None:
        """Closes every socket and line, so that the firmware can be started again at the REPL."""
        self._write_what_waits()
        self._close_connections()
        if self._set_up is not None:
            self._set_up.close()
        for entry in self.device.services:
            if entry.service is not None:
                entry.service.close()
        self.buses.close()
        self.board.release()


def _collect_in_parts():
    """Lets MicroPython collect the heap each time an eighth of it has been allocated. By default it uses up the whole
    heap first; what stays of that (a connection) would lie all over it amid garbage, with no large piece between."""
    if hasattr(gc, "threshold"):
        gc.collect()
        gc.threshold((gc.mem_free() + gc.mem_alloc()) // _GC_PARTS)


def run(board: "Any", failed_starts: int = 0) -> None:
    """Runs the gateway on `board` until it is interrupted, in safe mode after `failed_starts`. A crash is recorded and
    restarts the device. Raises KeyboardInterrupt and SystemExit."""
    seam.install()
    app = None
    try:
        app = App(board, failed_starts)
        seam.run(app.main())
    except KeyboardInterrupt:
        board.starts(0)
        if app is not None:
            app.config_store.uncount_start()
        raise
    except Exception as error:
        from firmware import crash

        crash.keep(repr(error), board.heap(), None if app is None else app.clock.uptime_s(), error)
        closing, app = app, None
        try:
            if closing is not None:
                closing.close()
        finally:
            board.crashed(error)
    finally:
        if app is not None:
            app.close()
        seam.install()  # a new loop: the tasks of the old one hold the heap that the REPL needs
