"""The Link of a board without an interface. Imported where it is needed: at rest it would take heap."""


class NoLink:
    """A Link without an interface. With an `error` it stands for one that could not be opened: it is never up, and
    connect() raises. Without one the network is brought up by something else (a boot script, the REPL): always up.

    An interface that failed is not opened again before the next restart: the ESP32's drivers (network_lan.c,
    network_wlan.c) would register a second time what the first attempt has left behind, which ends in an abort."""

    ssid = ""

    def __init__(self, error: "str | None" = None) -> None:
        self._error = error

    def up(self) -> bool:
        return self._error is None

    def address(self) -> str:
        return "0.0.0.0"

    def connect(self) -> None:
        if self._error is not None:
            raise OSError(self._error)

    def details(self) -> tuple:
        return (None,) * 6

    def trouble(self) -> str:
        return ""

    def dns_servers(self) -> list:
        return []
