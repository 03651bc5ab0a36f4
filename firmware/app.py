"""Builds the gateway from its configuration, runs it, and watches over its tasks.

Services are imported only when they are enabled: code costs heap. Each gets what it uses as arguments. The supervisor
is the only one here that makes tasks; it starts one again that has died, later each time, and says so.
"""

import asyncio
import gc
import hashlib
import os
import sys

from firmware.bus import Router
from firmware.bus.bus import Bus
from firmware.events import Events
from firmware.net import link, seam
from firmware.net.budget import SERVICES, Budget
from firmware.net.clock import Clock
from firmware.points import Meter, Points
from firmware.readings import Readings

_TICK_MS = 1000
_RESTART_FIRST_S = 1
_RESTART_LAST_S = 60
_CONFIG = "data/config.json"
_CONFIG_TICKS = 5
_PACK = 2048
_BOOT_MODULES = (
    "firmware.config", "firmware.store", "firmware.profile_load", "firmware.schema", "firmware.strict_json",
)  # fmt: skip
BUILT = ("http", "modbus", "ntp")


class App:
    """The running gateway. Its parts are attributes; status methods are what services may ask."""

    def __init__(self, board):
        _pack(True)
        self.board = board
        self.clock = Clock(board.set_clock)
        self.events = Events(self.clock.uptime_s)
        # Values only: an instance of a class of that module would keep all of it in the heap.
        self._config_mark = _config_mark()
        self._config_digest = _config_digest()
        self._reboot_due = []
        self.config, self.config_source, self._config_errors = _load_config()
        config = self.config
        for error in self._config_errors:
            self.events.add("config", error)
        if self._config_errors:
            self.events.add("config", "running by the %s configuration" % self.config_source)
        limit = min(config["sockets"]["limit"], board.sockets)
        enabled = [name for name in SERVICES if config[name]["enabled"]]
        self.budget = Budget(
            limit, board.tcp, board.udp, enabled, config["http"]["max_connections"], self.clock.uptime_s, self.events
        )
        self.link = board.open_link(config["network"])
        self.readings = Readings(self.clock.uptime_s)
        self.points = _load_points(config["meters"])
        _forget(*_BOOT_MODULES)
        cause = board.reset_cause()
        if cause:
            self.events.add("app", "started after " + cause)
        self.buses = []
        for number, bus in enumerate(config["buses"]):
            meters = [meter for meter in self.points.meters if meter.bus == number]
            self.buses.append(
                Bus(number, bus, board.open_line, meters, self.events, self.clock.uptime_s)
            )
        self.router = Router(self.buses, self.points.meters, config["routes"])
        # What has become of them has all that is needed: with 32 meters these are 10 KB.
        del config["meters"], config["routes"]
        self.restarts = 0
        self.scan = None
        self.ntp = None
        self.modbus = None
        self.http = None
        self._tasks = []

    # -- what services may ask

    @staticmethod
    def forget(*names):
        """Gives modules back to the heap that were needed for one request only."""
        _forget(*names)

    def name(self):
        return self.config["name"]

    def hostname(self):
        return self.config["network"]["hostname"]

    def uptime_s(self):
        return self.clock.uptime_s()

    def unix_s(self):
        return self.clock.unix_s()

    def config_errors(self):
        return self._config_errors

    def reboot_due(self):
        """What waits for a reboot: services whose switch in the configuration is no longer what they were booted
        with, and "configuration" when anything else in it has changed. Until then all stays as it is, slots too."""
        return self._reboot_due

    def advice(self):
        """What would get more out of this device's sockets, as texts for the page."""
        texts = []
        if self.budget.refused_services:
            names = ", ".join(self.budget.refused_services)
            texts.append("not started for want of sockets: %s; switch off services that are not needed" % names)
        if self.board.larger:
            texts.append("a MicroPython build with room for all services and 10 connections: " + self.board.larger)
        return texts

    def look_at_config(self):
        """Looks at the configuration's file again when it has changed, and says what waits for a reboot. It is
        checked at the reboot only: the code for that is no longer in the heap."""
        mark = _config_mark()
        if mark == self._config_mark:
            return
        self._config_mark = mark
        due = []
        if _config_digest() != self._config_digest:
            due = self._switches()
            self.events.add("config", "a reboot is due for: " + ", ".join(due))
        self._reboot_due = due

    def _switches(self):
        """Services that the file on its way to become the configuration switches on or off; if none, all of it."""
        from firmware import strict_json

        try:
            raw = strict_json.load(_CONFIG)
            due = [name for name in SERVICES if raw.get(name, {}).get("enabled", True) != self.config[name]["enabled"]]
        except (OSError, ValueError, AttributeError) as error:
            self.events.add("config", "the new file will not do: %s" % error)
            due = []
        finally:
            _forget("firmware.strict_json")
        return due or ["configuration"]

    def service_state(self, name):
        """"running", "reserved" (enabled, and not part of this firmware yet), "failed", "no_room" or "off"."""
        if not self.config[name]["enabled"]:
            return "off"
        if name in self.budget.refused_services:
            return "no_room"
        if name not in BUILT:
            return "reserved"
        return "running" if getattr(self, name) is not None else "failed"

    def start_scan(self, number, bauds, framings, first, last, timeout_ms):
        """A search for meters on a bus, whose polling pauses meanwhile; `scan` is its state (firmware.bus.scan). Raises
        ValueError, or OSError when the line is taken."""
        from firmware.bus.scan import Scan

        if number >= len(self.buses):
            raise ValueError("bus: %d is not one of the %d in buses" % (number, len(self.buses)))
        bus = self.buses[number]
        search = Scan(bus.config, self.events, bauds, framings, first, last, timeout_ms)
        if not bus.invite(search):
            raise OSError("a scan is running")
        self.scan = search

    # -- running

    def start(self):
        """Opens the services and starts the tasks. A service that cannot start says so; the others do not suffer."""
        config = self.config
        if self.budget.service_slot("modbus"):
            self._start("modbus", self._start_modbus)
        if self.budget.service_slot("http"):
            self._start("http", self._start_http)
        if self.budget.service_slot("ntp"):
            from firmware.services.ntp.client import Client

            self.ntp = Client(config["ntp"], self.budget, self.events, self.clock, self.link)
            self._supervise("ntp", self.ntp.run)
        for bus in self.buses:
            self._supervise("bus %d" % bus.number, bus.run)
        self._supervise("link", self._keep_link)
        self._supervise("tick", self._tick)
        _pack(False)

    def _start(self, name, starter):
        try:
            starter()
        except (OSError, MemoryError) as error:
            self.events.add(name, "not started: port %d: %r" % (self.config[name]["port"], error))

    def _start_modbus(self):
        from firmware.services.modbus_tcp.server import Server
        from firmware.services.modbus_tcp.unit255 import Unit255

        gateway = Unit255(self, self.budget, self.points, self.readings, self.buses)
        self.modbus = Server(self.config["modbus"], self.budget, self.events, self.router, gateway)
        gateway.server_counters = self.modbus.counters

    def _start_http(self):
        from firmware.services.http.api import Api
        from firmware.services.http.server import Server

        self.http = Server(self.config["http"], self.budget, self.events, Api(self))

    async def _keep_link(self):
        await link.keep_up(self.link, self.events)

    async def _tick(self):
        """Once a second: the watchdog, and what must not wait for anybody to look."""
        self.board.watchdog(self.config["system"]["watchdog_s"])
        ticks = 0
        while True:
            self.board.feed()
            self.clock.uptime_s()
            for service in (self.modbus, self.http):
                if service is not None:
                    service.sweep()
            for bus in self.buses:
                bus.expire()
            ticks += 1
            if ticks % _CONFIG_TICKS == 0:
                self.look_at_config()
            await seam.sleep_ms(_TICK_MS)

    def _supervise(self, name, run):
        self._tasks.append(asyncio.create_task(self._keep_running(name, run)))

    async def _keep_running(self, name, run):
        """Runs a task that should never end, again and again."""
        wait_s = _RESTART_FIRST_S
        while True:
            try:
                await run()
                self.events.add(name, "task ended")
            except Exception as error:
                self.events.add(name, "task died: %r" % error)
                seam.print_exception(error)
            self.restarts += 1
            await seam.sleep_ms(1000 * wait_s)
            wait_s = min(2 * wait_s, _RESTART_LAST_S)

    async def main(self):
        self.start()
        self.events.add("app", "meterport runs on %s, %d sockets" % (self.board.name, self.budget.limit))
        gc.collect()
        while True:
            await seam.sleep_ms(_TICK_MS * 60)

    def close(self):
        """Gives back every socket and line, so that the firmware can be started again at the REPL."""
        for slot in self.budget.connections[:]:
            slot.connection.close()
        for service in (self.modbus, self.http):
            if service is not None:
                service.close()
        for bus in self.buses:
            bus.close()
        self.board.release()


def _config_mark():
    """Changes when the configuration file does."""
    try:
        status = os.stat(_CONFIG)
    except OSError:
        return None
    return status[6], status[8]


def _config_digest():
    digest = hashlib.sha256()
    try:
        with open(_CONFIG, "rb") as f:
            piece = f.read(256)
            while piece:
                digest.update(piece)
                piece = f.read(256)
    except OSError:
        return b""
    return digest.digest()


def _load_config():
    from firmware import config

    loaded = config.load()
    return loaded.config, loaded.source, loaded.errors


def _load_points(configs):
    """Meters with their profiles, one profile for all meters of a kind."""
    from firmware import profile_load

    profiles = {}
    meters = []
    for one in configs:
        meters.append(Meter(one, profile_load.of_meter(one, profiles), profile_load.ratios(one)))
    return Points(meters)


def _pack(on):
    """While the firmware starts, the heap is collected often: then what stays lies together, and large pieces are left
    for what is loaded later. (With garbage in between, they would be of half a kilobyte.)"""
    if hasattr(gc, "threshold"):
        gc.threshold(_PACK if on else -1)


def _forget(*names):
    """Gives modules that are needed now and then only back to the heap: at boot 10 of its 128 KiB. They can be imported
    again, and work on for whoever still holds something of them."""
    for name in names:
        module = sys.modules.pop(name, None)
        package, _, last = name.rpartition(".")
        holder = sys.modules.get(package)
        if module is not None and hasattr(holder, last):
            delattr(holder, last)
    gc.collect()  # what follows is allocated for good, and should lie together


def run(board):
    """Runs the gateway on `board` until it is interrupted. KeyboardInterrupt and SystemExit are the caller's."""
    seam.install()
    app = App(board)
    try:
        seam.run(app.main())
    finally:
        app.close()
        seam.install()  # the loop's tasks hold all of it, and whoever is at the prompt now needs the heap
