"""The running gateway, and the supervisor of its tasks, which is the only one here that makes any: it starts one again
that has died, later each time, and says so.
"""

import asyncio
import gc
import hashlib
import os
import sys

from firmware.net import link, seam
from firmware.net.budget import SERVICES

_TICK_MS = 1000
_RESTART_FIRST_S = 1
_RESTART_LAST_S = 60
_CONFIG = "data/config.json"
_CONFIG_TICKS = 5
_REBOOT_MS = 500
_PACK = 2048
BUILT = ("http", "modbus", "ntp")


class App:
    """The running gateway. Its parts are attributes, methods are what services may ask."""

    def __init__(self, board):
        from firmware import starting

        self.pack(True)
        self.board = board
        self.mark_config()
        (
            self.clock, self.events, self.budget, self.link, self.readings, self.points, self.buses, self.config,
            self.config_source, self._config_errors,
        ) = starting.build(board, _forget)  # fmt: skip
        _forget("firmware.starting")
        self.budget.relieve = self.relieve
        self._reboot_due = []
        self._tasks = []
        self.restarts = 0
        self.ntp = self.modbus = self.http = self.history = None

    # -- what services may ask

    @staticmethod
    def pack(on):
        """The heap is collected before it is full, the more often the fuller it is, and most often while code is
        loaded: then what stays lies together, and large pieces are left. (With garbage in between, they would be of
        half a kilobyte.)"""
        gc.collect()
        if hasattr(gc, "threshold"):
            free = gc.mem_free()
            gc.threshold(_PACK if on else max(2 * _PACK, min(free, free // 16 * (free // 1024))))

    @staticmethod
    def forget(*names):
        """Gives modules back to the heap that were needed for one request only."""
        _forget(*names)

    def spare(self):
        """Somebody needs much of the heap for a moment: gives him what can be loaded again."""
        gc.collect()

    def relieve(self):
        """Somebody who polls, or the bus, was short of memory: the web server makes room for some seconds. Raises no
        MemoryError."""
        try:
            if self.http is not None and self.http.drop():
                self.events.add("http", "closed for some seconds: the memory is needed")
            self.spare()
        except MemoryError:
            gc.collect()  # what was given back so far may be enough

    def is_short(self):
        """Whether the heap is needed for somebody who looks at the page."""
        return self.http is not None and self.http.desk is not None

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

    def mark_config(self):
        """The configuration's file as it is now is what the device runs by."""
        self._config_mark = _config_mark()
        self._config_digest = _config_digest()

    def look_at_config(self, saved=False):
        """Looks at the configuration's file again when it has changed, or was `saved` just now, and says what waits for
        a reboot. Who writes it past the page is told at the reboot only what is wrong with it."""
        mark = _config_mark()
        if mark == self._config_mark and not saved:
            return
        self._config_mark = mark
        due = []
        if _config_digest() != self._config_digest:
            from firmware.config import difference as switches

            due = switches.due(_CONFIG, self.config, SERVICES, self.events)
            _forget("firmware.config.difference", "strict_json", "firmware.config.json_file")
            self.events.add("config", "a reboot is due for: " + ", ".join(due))
        self._reboot_due = due

    def hold(self, on):
        """Lets all buses rest, while something writes to flash, or go on. False when they rest for somebody already."""
        if on:
            return self.buses.pause(lambda: None)
        self.buses.resume()
        return True

    def reboot(self):
        """Restarts the device, once what was said has been sent."""
        self.events.add("app", "restarting")
        self._tasks.append(asyncio.create_task(self._restart()))

    async def _restart(self):
        await seam.sleep_ms(_REBOOT_MS)
        for slot in self.budget.connections[:]:
            slot.connection.close()
        await seam.sleep_ms(_REBOOT_MS)  # peers are told
        self.board.reset()

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
        self.buses.start_scan(number, bauds, framings, first, last, timeout_ms)

    @property
    def scan(self):
        return self.buses.scan

    # -- running

    def start(self):
        """Opens the services and starts the tasks. A service that cannot start says so; the others do not suffer."""
        from firmware import opening

        opening.start(self)
        _forget("firmware.opening")
        self.pack(False)

    async def keep_link(self):
        await link.keep_up(self.link, self.events)

    async def tick(self):
        """Once a second: the watchdog, and what must not wait for anybody to look."""
        self.board.watchdog(self.config["system"]["watchdog_s"])
        ticks = 0
        while True:
            self.board.feed()
            self.clock.uptime_s()
            for service in (self.modbus, self.http):
                if service is not None:
                    service.tick() if service is self.modbus else service.sweep()
            self.buses.tick()
            if self.history is not None:
                self.history.tick(self.clock.uptime_s())
            ticks += 1
            if ticks % _CONFIG_TICKS == 0:
                self.look_at_config()
            await seam.sleep_ms(_TICK_MS)

    def supervise(self, name, run):
        """A task that is started again when it ends."""
        self._tasks.append(asyncio.create_task(self._keep_running(name, run)))

    async def _keep_running(self, name, run):
        """Runs a task that should never end, again and again."""
        wait_s = _RESTART_FIRST_S
        while True:
            try:
                await run()
                self.events.add(name, "task ended")
            except MemoryError:
                self.relieve()
                self.events.add(name, "task died: no memory")
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
