"""A board (firmware.board) made of the simulated parts: limits as firmware/board states them for the profile."""


class SimReset(BaseException):
    """The device restarts: `reason` is "watchdog" or "reset". A BaseException, for nothing may hold a restart up."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class SimLink:
    """Up from the start; down() and back() are the test's."""

    ssid = ""

    def __init__(self, ip, dns):
        self._ip = ip
        self._dns = dns
        self._up = True

    def up(self):
        return self._up

    def address(self):
        return self._ip

    def connect(self):
        """The access point decides."""

    def details(self):
        return (self._ip, "255.255.255.0", None, None, "02:00:00:00:00:01", -60) if self._up else (None,) * 6

    def trouble(self):
        return ""

    def dns_servers(self):
        return list(self._dns) if self._up else []

    def down(self):
        self._up = False

    def back(self):
        self._up = True


class SimBoard:
    """`wires` are the buses in the order of the configuration; `dns`: addresses of name servers."""

    def __init__(self, profile, timeline, wires, ip, dns=()):
        self.name = profile.board
        self.sockets = profile.sockets
        self.tcp = profile.tcp
        self.udp = profile.udp
        self.larger = "" if profile.sockets >= 16 and profile.tcp >= 16 else "a build for 16 sockets"
        self.image = ""
        self.has_wifi = False
        self.answers_mdns = True  # the simulated network has no multicast
        self.link = SimLink(ip, dns)
        self.unix_s = None
        self.fed = 0
        self.released = False
        self.started = 0
        self.held = False
        self._timeline = timeline
        self._wires = list(wires)
        self._opened = {}
        self._timeout_us = 0
        self._watchdog_max_s = profile.watchdog_max_s
        self._fed_us = 0

    def heap(self):
        return (0, 0)

    def identity(self):
        return "simulated", "0200000001"

    def led(self, pin):
        return None

    def open_line(self, config):
        """config["uart"] is the number of the wire."""
        return self._wires[config["uart"]].open()

    def open_link(self, config):
        return self.link

    def console(self):
        raise OSError("no console")

    def set_clock(self, unix_s):
        self.unix_s = unix_s

    def watchdog(self, timeout_s):
        if timeout_s:
            self._timeout_us = int(1e6 * min(timeout_s, self._watchdog_max_s))
            self.feed()
            self._timeline.after(self._timeout_us, self._bite)

    def feed(self):
        self.fed += 1
        self._fed_us = self._timeline.now_us

    def _bite(self):
        due_us = self._fed_us + self._timeout_us
        if self.released:
            return
        if self._timeline.now_us >= due_us:
            raise SimReset("watchdog")
        self._timeline.at(due_us, self._bite)

    def release(self):
        self.released = True

    def button(self, pin):
        self.button_pin = pin
        return self.held

    def starts(self, count=None):
        """As in a register of the chip."""
        if count is not None:
            self.started = count
        return self.started

    def reset_cause(self):
        return ""

    def reset(self):
        raise SimReset("reset")

    def crashed(self, error):
        raise error
