"""Wi-Fi access points and wired networks on a Timeline, and MicroPython's interfaces to them.

Each class does and refuses what the sources of MicroPython 1.25.0 do and refuse; the file is named at each part. The
times are typical ones: none is promised by a driver.
"""

_FULL_SCAN_US = 2_200_000  # 13 channels, actively; nothing else of Python runs meanwhile
_JOIN_US = 800_000  # authentication, association, keys
_REFUSED_US = 3_500_000  # four handshakes that time out
_BEACONS_LOST_US = 6_000_000  # ESP-IDF, esp_wifi_set_inactive_time: 6 s; the CYW43's firmware about the same
_DHCP_US = 700_000
MAC = b"\x02\x00\x00\x00\x00\xab"
NOWHERE = "0.0.0.0"


class AccessPoint:
    def __init__(self, air, ssid, key, rssi, number, dhcp_us):
        self.ssid, self.key, self.rssi, self.dhcp_us = ssid, key, rssi, dhcp_us
        self.is_on = True
        self.is_hidden = False
        self.address = f"192.0.{number}.9"
        self.netmask = "255.255.255.0"
        self.gateway = f"192.0.{number}.254"
        self._air = air

    def switch(self, on):
        """Off: its stations notice when they have missed its beacons."""
        self.is_on = on
        if not on:
            for station in self._air.stations:
                station.point_gone(self)

    def reboot(self, off_s):
        self.switch(False)
        self._air.timeline.after(int(1e6 * off_s), self.switch, True)


class Air:
    """What stations hear."""

    def __init__(self, timeline):
        self.timeline = timeline
        self.points = []
        self.stations = []

    def add(self, ssid, key="", rssi=-60, dhcp_s=_DHCP_US / 1e6):
        point = AccessPoint(self, ssid, key, rssi, len(self.points) + 2, int(1e6 * dhcp_s))
        self.points.append(point)
        return point

    def strongest(self, ssid):
        heard = [point for point in self.points if point.is_on and point.ssid == ssid]
        return max(heard, key=lambda point: point.rssi, default=None)

    def records(self):
        """As scan() of both ports gives them: (ssid, bssid, channel, RSSI, security, ...)."""
        self.timeline.spend_us(_FULL_SCAN_US)
        return [
            (b"" if point.is_hidden else point.ssid.encode(), bytes(6), 6, point.rssi, 3 if point.key else 0, False)
            for point in self.points
            if point.is_on
        ]


class _Interface:
    """What all interfaces have: an address by DHCP, or a fixed one."""

    def __init__(self, timeline):
        self.timeline = timeline
        self.calls = []
        self.is_active = False
        self._fixed = None
        self._leased = None

    def config(self, name=None, **given):
        return MAC if name == "mac" else None

    def ifconfig(self, given=None):
        if given is not None:
            self._fixed = given
            return None
        if self._fixed is not None:
            return self._fixed
        return self._leased or (NOWHERE, "255.255.255.0", NOWHERE, NOWHERE)


class _Station(_Interface):
    """A try to join: it ends in _joined() or _failed(), and after the former in _addressed()."""

    def __init__(self, air):
        super().__init__(air.timeline)
        self.air = air
        self.tries = 0
        self._wanted = None
        self._point = None  # of the association
        self._pending = None
        air.stations.append(self)

    def _after(self, us, call, *args):
        self._cancel()
        self._pending = self.timeline.after(us, call, *args)

    def _cancel(self):
        if self._pending is not None and self._pending[2] is not None:
            self.timeline.cancel(self._pending)
        self._pending = None

    def _try(self):
        self.tries += 1
        ssid, key = self._wanted
        point = self.air.strongest(ssid)
        if point is None:
            self._after(_FULL_SCAN_US, self._failed, "no access point")
        elif point.key != key:
            self._after(_REFUSED_US, self._failed, "wrong password")
        else:
            self._after(_JOIN_US, self._joined, point)

    def _joined(self, point):
        if not point.is_on:
            self._failed("no access point")
            return
        self._point = point
        self._after(0 if self._fixed else point.dhcp_us, self._addressed)

    def _addressed(self):
        point = self._point
        self._leased = (point.address, point.netmask, point.gateway, point.gateway)

    def point_gone(self, point):
        if self._point is point:
            self._after(_BEACONS_LOST_US, self._lost)

    def _leave(self):
        self._cancel()
        self._point = None
        self._leased = None


class Esp32Station(_Station):
    """ports/esp32/network_wlan.c, and of ESP-IDF's esp_wifi what it calls."""

    def __init__(self, air):
        super().__init__(air)
        self._requested = False  # wifi_sta_connect_requested
        self._connected = False  # wifi_sta_connected
        self._reason = 0  # wifi_sta_disconn_reason
        self._connecting = False

    def _refuse_while_connecting(self):
        if self._connecting:  # esp_wifi_set_config: "sta is connecting, cannot set config"
            raise OSError("Wifi Internal State Error")

    def active(self, on=None):
        if on is not None:
            self.is_active = on
            if not on:
                self._leave()
                self._connecting = self._connected = False
        return self.is_active

    def config(self, name=None, **given):
        if given:
            self._refuse_while_connecting()  # any setting ends in esp_wifi_set_config
        return super().config(name)

    def connect(self, ssid=None, key=None):
        self.calls.append((self.timeline.now_us, "connect", ssid))
        if not self.is_active:
            raise OSError("Wifi Not Started")
        if ssid is not None:
            self._refuse_while_connecting()
            self._wanted = (ssid, key or "")
        elif self._wanted is None:
            raise OSError("Wifi SSID Invalid")
        self._begin()
        self._requested = True

    def _begin(self):
        self._leave()
        self._connected = False
        self._connecting = True
        self._try()

    def disconnect(self):
        self.calls.append((self.timeline.now_us, "disconnect", None))
        if not self.is_active:
            raise OSError("Wifi Not Started")
        self._requested = self._connecting = self._connected = False
        self._leave()
        self._reason = 8  # WIFI_REASON_ASSOC_LEAVE

    def _failed(self, why):
        # WIFI_EVENT_STA_DISCONNECTED: the port tries again at once. A wrong password is mostly seen as
        # WIFI_REASON_4WAY_HANDSHAKE_TIMEOUT, which status() does not tell from connecting.
        self._reason = 201 if why == "no access point" else 15
        self._connecting = False
        if self._requested:
            self._begin()

    def _joined(self, point):
        self._connecting = False
        super()._joined(point)

    def _addressed(self):
        super()._addressed()
        self._connected = True
        self._reason = 0

    def _lost(self):
        self._leave()
        self._connected = False
        self._failed("no access point")
        self._reason = 200  # WIFI_REASON_BEACON_TIMEOUT

    def isconnected(self):
        return self._connected

    def status(self, name=None):
        if name == "rssi":
            if self._point is None:
                raise OSError("Wifi Not Connected")
            return self._point.rssi
        if self._connected:
            return 1010
        if self._reason in (201, 202):
            return self._reason
        if self._reason == 8:
            return 1000
        return 1001 if self._requested else self._reason or 1000

    def scan(self):
        if not self.is_active:
            raise OSError("STA must be active")
        if self._connecting:  # esp_wifi_scan_start fails, and the port gives what it has: nothing
            return []
        return self.air.records()


class Cyw43Station(_Station):
    """extmod/network_cyw43.c, and of cyw43-driver's cyw43_lwip.c and cyw43_ctrl.c what it calls. It never joins again
    by itself."""

    def __init__(self, air):
        super().__init__(air)
        self._link = 0  # cyw43_wifi_link_status: 0 down, 1 joined or joining, -1 to -3 failed

    def active(self, on=None):
        if on is not None:
            self.is_active = on
        return self.is_active

    def connect(self, ssid, key=None):
        self.calls.append((self.timeline.now_us, "connect", ssid))
        if not self.is_active:
            raise OSError(1)  # EPERM
        self._wanted = (ssid, key or "")
        self._leave()
        self._link = 1
        self._try()

    def disconnect(self):
        self.calls.append((self.timeline.now_us, "disconnect", None))
        self._leave()
        self._link = 0

    def _failed(self, why):
        self._link = -2 if why == "no access point" else -3

    def _lost(self):
        self._leave()
        self._link = 0

    def status(self, name=None):
        if name == "rssi":
            return 0 if self._point is None else self._point.rssi
        # cyw43_tcpip_link_status: joined is 1 until the link is up, then 2 without an address
        if self._link == 1 and self._point is not None:
            return 3 if self._fixed or self._leased else 2
        return self._link

    def isconnected(self):
        return self.status() == 3

    def scan(self):
        if not self.is_active:
            raise OSError(1)
        return self.air.records()


class AccessPointInterface:
    """network.WLAN(network.AP_IF) of either port: its address is the same, and its DHCP server gives it as the name
    server (ESP-IDF's dhcpserver; shared/netutils/dhcpserver.c). `is_esp32`: esp_wifi_set_config fails before the mode
    is set."""

    def __init__(self, is_esp32):
        self.is_active = False
        self.given = {}
        self._is_esp32 = is_esp32

    def active(self, on):
        self.is_active = on

    def config(self, **given):
        if self._is_esp32 and not self.is_active:
            raise OSError("Wifi Invalid Mode")
        if not 8 <= len(given.get("key", "8 or more")) <= 63:
            raise OSError("Wifi Invalid Password")
        self.given |= given

    def ifconfig(self):
        return ("192.168.4.1", "255.255.255.0", "192.168.4.1", "192.168.4.1")


class Wire(_Interface):
    """A cable to a switch: ports/esp32/network_lan.c with the PHYs of ESP-IDF, extmod/network_wiznet5k.c with lwIP.
    Both find an address again by themselves when the cable is back."""

    def __init__(self, timeline, dhcp_s=_DHCP_US / 1e6):
        super().__init__(timeline)
        self.dhcp_us = int(1e6 * dhcp_s)
        self._plugged = True
        self._pending = None

    def active(self, on=None):
        if on is not None:
            begins = on and not self.is_active  # a second active(True) does nothing
            self.is_active = on
            if begins and self._plugged:
                self._ask()
        return self.is_active

    def cable(self, plugged):
        self._plugged = plugged
        if self._pending is not None and self._pending[2] is not None:
            self.timeline.cancel(self._pending)
        self._leased = None
        if plugged and self.is_active:
            self._ask()

    def _ask(self):
        self._pending = self.timeline.after(self.dhcp_us, self._addressed)

    def _addressed(self):
        self._leased = ("192.0.2.9", "255.255.255.0", "192.0.2.254", "192.0.2.254")

    def isconnected(self):
        return self.is_active and self._plugged and (self._fixed or self._leased) is not None
