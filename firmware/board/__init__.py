"""Boards: the only files that know pins, UARTs, network interfaces, watchdog, clock and reset.

Each port has a module with a class Board; Board, Line and Link below are the contract.
"""

import os
import sys

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Board(Protocol):
        """What the firmware asks of a board.

        name      "unix", "esp32", "rp2", "emulated_pico"
        sockets   sockets that this port's MicroPython offers in all
        tcp, udp  TCP connections without listeners; UDP sockets
        larger    name of a MicroPython build that offers more sockets than the one that runs, "" when none does
        image     name of our image for this board, "" where there is none
        has_wifi  whether it has Wi-Fi, and so access_point()
        answers_mdns  whether the port answers for the host name by multicast DNS, and so holds port 5353
        """

        name: str
        sockets: int
        tcp: int
        udp: int
        larger: str
        image: str
        has_wifi: bool
        answers_mdns: bool

        def heap(self) -> tuple[int, int]:
            """(free, used) bytes of Python's heap; `free` is what may be taken without harm to the port. (0, 0) where
            the port does not say."""

        def identity(self) -> tuple[str, str]:
            """(model, serial): what is written on the board, and what no other device has. ASCII, without " and \\."""

        def led(self, pin: "int | None") -> "Callable[[int], Any] | None":
            """Sets the LED at that GPIO, or without one the board's own, to 0 or 1; None where there is none."""

        def open_line(self, config: dict) -> "Line":
            """Opens the serial line of a section "buses" of the configuration. Raises OSError, with a text when the
            section names a UART or a pin that this board cannot offer."""

        def umodbus_master(self, config: dict) -> Any:
            """umodbus's master on the same UART, for a technician. Raises ImportError or OSError."""

        def open_link(self, config: dict) -> "Link":
            """The network interface of the section "network"; a NoLink when there is none, or it cannot be opened."""

        def access_point(self, ssid: str, password: str) -> "Radio":
            """Opens an access point of the device's own (WPA2) beside the station. Raises what the port raises."""

        def console(self) -> "Console":
            """Takes the console's line as bytes, Ctrl-C too, until its close(). Raises OSError where there is none."""

        def set_clock(self, unix_s: int) -> None:
            """Sets the clock of the port, which keeps UTC."""

        def watchdog(self, timeout_s: int) -> None:
            """Starts the watchdog; 0 does nothing."""

        def feed(self) -> None:
            """Feeds the watchdog, if it runs."""

        def release(self) -> None:
            """Stops the watchdog, or gives it a day where it cannot be stopped."""

        def button(self, pin: "int | None") -> bool:
            """Whether the button at `pin` is held down, which pulls it low; None: the chip's own. False where there is
            none, or its pin is used otherwise."""

        def starts(self, count: "int | None" = None) -> int:
            """The number of starts, 0 to 255, that is kept over a reset but not over a power cut; sets it to `count`
            first."""

        def reset_cause(self) -> str:
            """A text for the log where the cause of the last restart is worth a line, else ""."""

        def reset(self) -> None:
            """Restarts the device; does not return."""

        def crashed(self, error: Exception) -> None:
            """Ends a firmware that has crashed: a device prints the traceback, leaves 10 s for Ctrl-C and restarts."""

    class Line(Protocol):
        """One RS-485 side.

        stream     what the event loop polls for input
        jitter_ms  how late this port may deliver a byte
        turn_ms    how long before the last bit finish() has to be called; 0 without a direction pin
        error      why the device is gone, None while it works. No call raises it: a frame that catches it has
                   more than 11 words, and is made in the heap for each request
        """

        stream: Any
        jitter_ms: int
        turn_ms: int
        error: OSError | None

        def receive(self, view: memoryview, at: int) -> int:
            """Moves received bytes to view[at:], as far as they fit; returns how many, 0 when the device is gone."""

        def discard(self) -> int:
            """Drops received bytes; returns how many."""

        def send(self, buf: bytearray, n: int) -> None:
            """Sets the direction pin and starts sending buf[:n], n <= 256, which the driver's buffer holds."""

        def finish(self) -> None:
            """Waits busily until the last bit is out, `turn_ms` and a few characters at most, and releases the
            direction pin."""

        def close(self) -> None:
            """Gives the UART back."""

    class Console(Protocol):
        """The line on which the REPL is when no firmware runs. print() writes to it as well.

        stream   what the event loop polls for input"""

        stream: Any

        def read(self) -> bytes:
            """The next byte, after the stream was ready; b"" at the end of the line."""

        def write(self, data: bytes) -> None:
            """Writes bytes as they are."""

        def close(self) -> None:
            """Lets Ctrl-C interrupt again."""

    class Radio(Protocol):
        """The access point, and the station beside it. The port's DHCP server names the device as the name server.

        address   of the device in it
        dns_port  where its stations ask for names"""

        address: str
        dns_port: int

        def networks(self) -> list:
            """The Wi-Fi networks that a scan sees, as the port gives them: tuples of SSID (bytes), BSSID, channel,
            RSSI, security (0: none), and more. Waits for the scan, 2 s."""

        def leave(self) -> None:
            """Gives up a connection, or the try to make one."""

        def close(self) -> None:
            """Ends the access point."""

    class Link(Protocol):
        """The network interface. `ssid`: of the Wi-Fi network that it is in, or tries to join; "" without Wi-Fi."""

        ssid: str

        def up(self) -> bool:
            """True while it has an address."""

        def address(self) -> str:
            """The IPv4 address; "0.0.0.0" without one."""

        def connect(self) -> None:
            """Starts connecting, and returns at once or after a scan. Raises what the port raises: OSError, and on the
            ESP32 RuntimeError and MemoryError."""

        def trouble(self) -> str:
            """Why it is not up, as far as the port says it; else ""."""

        def dns_servers(self) -> list[str]:
            """IPv4 addresses of name servers."""

        def details(self) -> tuple:
            """(address, netmask, gateway, name server, MAC address, signal in dBm): texts and a number, None for what
            is not known."""


def detect() -> "Board":
    """The Board for the port that this runs on."""
    if sys.platform == "esp32":
        from firmware.board import esp32 as port
    elif sys.platform == "rp2":
        if "Emulated Pico" in os.uname().machine:
            from firmware.board import emulated_pico as port
        else:
            from firmware.board import rp2 as port
    else:
        from firmware.board import unix as port
    return port.Board()
