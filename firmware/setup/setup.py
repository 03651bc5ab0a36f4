"""Set-up mode: opens the access point, tries the networks that the user names, and saves the one that was joined.

A network is tried before it is saved; one that cannot be joined leaves the access point as it was, and the user tries
again. After success the access point stays for two minutes, so that the page can show the new address; then the device
restarts.
"""

import json

from micropython import const

from firmware.config.label import label_password
from firmware.net import seam
from firmware.setup.console import ImprovConsole
from firmware.setup.portal import FAILED, JOINED, TRYING, WAITING, Portal

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.board import Board
    from firmware.bus import Buses
    from firmware.config.config_store import ConfigStore
    from firmware.device import Device
    from firmware.events import Events
    from firmware.net.budget import Budget

_TICK_MS = const(1000)
_TRY_MS = const(25000)
_AGAIN_MS = const(10000)  # within a try the port is asked to join once more
_LOOK_MS = const(250)
_REST_S = const(20)  # the longest that a save waits for the buses
_STAYS_S = const(120)
_PRINT_S = const(60)
_LISTED_MAX = const(16)  # networks
_SSID_MAX = const(32)  # bytes: IEEE 802.11, 9.4.2.2
_KEY_LEAST, _KEY_MAX = const(8), const(63)  # characters: IEEE 802.11, J.4.1


class SetUp:
    """`config`: the section "network". `limit_s`: the device restarts when no network was named for so long; 0: never.

    state     WAITING for the user, TRYING a network, FAILED to join it, JOINED and saved
    ssid      of the network that is tried, or was last
    reason    why it was not joined
    networks  [(SSID as bytes of UTF-8, RSSI, True without a password)], the strongest first"""

    def __init__(
        self, config: dict, board: "Board", budget: "Budget", events: "Events",
        config_store: "ConfigStore", buses: "Buses", device: "Device",
        limit_s: int = 0,
    ) -> None:  # fmt: skip
        self.state = WAITING
        self.ssid = ""
        self.reason = ""
        self.networks: list = []
        self.address = ""  # of the device in the network that it has joined
        self._password = ""
        self._config = config
        self._board = board
        self._radio: "Any" = None
        self._budget = budget
        self._events = events
        self._store = config_store
        self._buses = buses
        self._device = device
        self._limit_s = limit_s
        self._waker = seam.Waker()
        self._is_saved: "bool | None" = None
        self._console: "ImprovConsole | None" = None
        self._open: list = []  # what close() has to close

    def begin(self, ssid: str, password: str) -> str:
        """Has a network tried. Returns "", or what is wrong with it."""
        if self.state in (TRYING, JOINED):
            return "a network is tried already"
        if not 1 <= len(ssid.encode()) <= _SSID_MAX:
            return "the name of a network has 1 to 32 bytes"
        if password and not _KEY_LEAST <= len(password) <= _KEY_MAX:
            return "a Wi-Fi password has 8 to 63 characters"
        self.ssid = ssid
        self._password = password
        self.state = TRYING
        self._waker.wake()
        return ""

    def refuse(self, reason: str) -> None:
        """Has the page show what is wrong with a network that begin() refused."""
        if self.state != TRYING and self.state != JOINED:
            self.state = FAILED
            self.reason = reason

    async def run(self) -> None:
        """Runs for ever; after success, and after `limit_s`, it restarts the device."""
        ssid = "meterport-" + self._board.identity()[1][-4:]
        password = label_password()
        try:
            self._open_console()  # first: ESP Web Tools asks soon after the start
            self._radio = self._board.access_point(ssid, password)
            self._open.append(self._radio)
            self._scan()
            portal = Portal(self, self._radio, self._budget, self._device.running("http"))
            self._open.append(portal)
            portal.open()
            self._events.add("setup", "access point %s, page http://%s/setup" % (ssid, portal.host))
            await self._serve(portal, ssid, password)
        finally:
            self.close()

    def close(self) -> None:
        """Ends the access point, and gives the console back. May be called twice."""
        while self._open:
            self._open.pop().close()

    def _open_console(self):
        try:
            console = self._board.console()
        except OSError:
            return
        self._console = ImprovConsole(self, console, self._board.name, self._store.name)
        self._open.append(self._console)

    async def _serve(self, portal, ssid, password):
        seconds = 0
        while self.state != JOINED and not 0 < self._limit_s <= seconds:
            if seconds % _PRINT_S == 0:  # printed and not logged: the log can be read over the network
                print('meterport: set-up: Wi-Fi "%s", password %s, http://%s/setup' % (ssid, password, portal.host))
            seconds += 1
            self._waker.clear()
            if self.state != TRYING:
                await self._waker.wait_ms(_TICK_MS)
            portal.tick()
            if self.state == TRYING:
                await self._try()
                seconds = 0
        for _ in range(_STAYS_S if self.state == JOINED else 0):
            portal.tick()
            await seam.sleep_ms(_TICK_MS)
        self._device.reboot()
        while True:
            await seam.sleep_ms(_TICK_MS)

    def _scan(self):
        try:
            found = self._radio.networks()
        except Exception as error:  # the ESP32 raises RuntimeError and MemoryError too
            self._events.add("setup", "cannot scan: %r" % error)
            return
        strongest: dict = {}
        for record in found:
            ssid, rssi = record[0], record[3]
            if ssid and _is_utf8(ssid) and (ssid not in strongest or strongest[ssid][0] < rssi):
                strongest[ssid] = rssi, record[4] == 0
        listed = [(-rssi, ssid, is_open) for ssid, (rssi, is_open) in strongest.items()]
        listed.sort()
        self.networks = [(ssid, -rssi, is_open) for rssi, ssid, is_open in listed[:_LISTED_MAX]]

    async def _try(self):
        config = dict(self._config)
        config["ssid"] = self.ssid
        config["password"] = self._password
        self._events.add("setup", "tries %s" % self.ssid)
        reason = ""
        try:
            self._radio.leave()
            link = self._board.open_link(config)
            reason = await self._join(link)
            if not reason:
                self.address = link.address()
                reason = await self._save()
            if reason:
                self._radio.leave()
        except Exception as error:  # as above; the access point must stay
            reason = "%r" % error
        self.reason = reason
        self.state = FAILED if reason else JOINED
        text = "not joined: " + reason if reason else "joined %s, saved; http://%s/" % (self.ssid, self.address)
        self._events.add("setup", text)
        if self._console is not None:
            self._console.tell()
        if reason:
            self._scan()

    async def _join(self, link):
        """Returns why it is not joined, "" when it is."""
        waited_ms = 0
        trouble = ""
        while waited_ms < _TRY_MS and not trouble:
            if waited_ms % _AGAIN_MS == 0:
                link.connect()
            await seam.sleep_ms(_LOOK_MS)
            waited_ms += _LOOK_MS
            if link.up():
                return ""
            if waited_ms % _AGAIN_MS == 0:
                trouble = link.trouble()
        return trouble or "no connection within %d s; is the password right?" % (_TRY_MS // 1000)

    async def _save(self):
        """Saves the network. Returns what is wrong, or ""."""
        document = self._store.public()
        section = document.get("network")
        if not isinstance(section, dict):
            section = document["network"] = {}
        section["link"] = "wifi"
        section["ssid"] = self.ssid
        section["password"] = self._password
        checked, wrong = self._store.check(json.dumps(document).encode())
        if wrong:
            return wrong[0]
        self._is_saved = None

        def write():
            try:
                self._store.write(checked, self._store.reboot_due_after(checked))
                self._is_saved = True
            except (OSError, MemoryError):
                self._is_saved = False
            finally:
                self._buses.resume()

        for _ in range(_REST_S):
            if self._buses.pause(write):
                break
            await seam.sleep_ms(_TICK_MS)
        for _ in range(_REST_S):
            if self._is_saved is not None:
                break
            await seam.sleep_ms(_TICK_MS)
        if self._is_saved is None:
            self._buses.resume()
        return "" if self._is_saved else "the configuration cannot be saved"


def _is_utf8(ssid):
    try:
        ssid.decode()
    except UnicodeError:
        return False
    return min(ssid) >= 32
