"""Fakes of the gateway's parts, as services and unit 255 are given them. This is the one place for them: a test that
needs more of a part adds it here."""

from firmware.bus import BusStats
from firmware.net.budget import SERVICES


class FakeClock:
    """firmware.net.clock.Clock; `unix`: unix seconds, 0 while unknown; `set_to`: arguments of set_ms()."""

    def __init__(self, uptime_s):
        self.uptime_s = uptime_s
        self.unix = 0
        self.set_to = []

    def unix_s(self):
        return self.unix

    def set_ms(self, unix_ms):
        self.set_to.append(unix_ms)


class FakeConfigStore:
    """firmware.config.config_store.ConfigStore, as far as registers and status show it."""

    def __init__(self, name="meterport", errors=(), due=()):
        self.name = name
        self.hostname = "meterport"
        self.source = "last good"
        self.errors = list(errors)
        self.due = list(due)
        self.config = {"network": {"link": "wifi"}}

    def reboot_due(self):
        return self.due


class FakeLink:
    """The board's link; `known`: what details() gives."""

    ssid = "plant"

    def __init__(self):
        self.known = ("192.0.2.1", "255.255.255.0", "192.0.2.254", "192.0.2.254", "02:00:00:00:00:01", -60)

    def details(self):
        return self.known


class FakeBoard:
    """A board; `larger`: the image with more sockets, if there is one."""

    name = "unix"
    larger = ""

    def heap(self):
        return 70_001, 80_002


class FakeService:
    """A service that runs, with this in the status."""

    def __init__(self, **status):
        self.shown = status

    def status(self):
        return self.shown


class FakeEntry:
    """firmware.device.ServiceEntry."""

    def __init__(self, name, state, port=None, service=None):
        self.name = name
        self.state = state
        self.port = port
        self.service = service


class FakeDevice:
    """firmware.device.Device; `state`: of its services until run()."""

    def __init__(self, state="reserved"):
        self.board = FakeBoard()
        self.restarts = 3
        self.reboots = 0
        self.services = [FakeEntry(name, state) for name in SERVICES]

    def entry(self, name):
        return self.services[SERVICES.index(name)]

    def running(self, name):
        return self.entry(name).service

    def run(self, name, **status):
        entry = self.entry(name)
        entry.state, entry.service = "running", FakeService(**status)

    @property
    def is_restarting(self):
        return self.reboots > 0

    def reboot(self):
        self.reboots += 1


class FakeBus:
    """A bus that keeps what is submitted until the test answers it.

    `code`: exception code that submit() gives; `queued`: requests that wait, as waiting() tells them."""

    def __init__(self, number=0, code=0, queued=0):
        self.number = number
        self.config = {"uart": "bus0", "baud": 9600, "framing": "8N1", "role": "master"}
        self.counters = BusStats()
        self.wire = None
        self.line_error = None
        self.lessee = None
        self.code = code
        self.queued = queued
        self.requests = []
        self.withdrawn = []
        self.faults = {}  # text by unit

    def waiting(self):
        return self.queued

    def fault_text(self, meter):
        return self.faults.get(meter.unit, "")

    def submit(self, request):
        if not self.code:
            self.requests.append(request)
        return self.code

    def withdraw(self, request):
        self.withdrawn.append(request)

    def answer(self, data):
        """Ends the last request with this frame."""
        self.requests[-1].owner.on_answer(0, data, 0, len(data))


class FakeBuses(list):
    """firmware.bus.Buses; with `rests_at_once` False, pause() waits for rest()."""

    def __init__(self, *buses):
        super().__init__(buses)
        self.scan = None
        self.scans = []
        self.paused = False
        self.rests_at_once = True
        self.pauses = 0
        self._on_paused = None

    def pause(self, on_paused):
        if self.paused or (self.scan is not None and self.scan.running):
            return False
        self.paused = True
        self.pauses += 1
        self._on_paused = on_paused
        if self.rests_at_once:
            self.rest()
        return True

    def rest(self):
        """Ends the last transaction."""
        on_paused, self._on_paused = self._on_paused, None
        if on_paused is not None:
            on_paused()

    def resume(self):
        self.paused = False
        self._on_paused = None

    def start_scan(self, *given):
        self.scans.append(given)
