"""The RP2040 that tools/emulator runs: a Pico without Wi-Fi, whose network is PPP on UART 0.

Everything else is the Pico's. The name of the build says how many TCP connections its lwIP has, as there.
"""

import errno

import network
from machine import UART, Pin
from micropython import const

from firmware.board import rp2

_TYPING = const(0)
if _TYPING:
    from firmware.board import Link

_BAUD = 460800
# What lwIP sends has to fit: when it does not, the rest waits within lwIP, which is entered again from its own output,
# and the chip hangs for good. This is more than all connections may have queued (MEM_SIZE, 20000) at a time.
_TXBUF = 24000
_RXBUF = 4096


# Its buffers are the largest pieces of the heap: taken when the board is detected, before the heap is in pieces.
_uart = UART(0, _BAUD, tx=Pin(0), rx=Pin(1), rxbuf=_RXBUF, txbuf=_TXBUF)
_made = []  # the PPP object, once there is one


class Ppp:
    """The link; one for as long as the chip runs. Its buffers are large and lwIP does not give back a PPP's room, so a
    firmware that is started again at the REPL takes over the one that is there."""

    ssid = ""

    def up(self) -> bool:
        return bool(_made) and _made[0].isconnected()

    def address(self) -> str:
        return _made[0].ifconfig()[0] if self.up() else "0.0.0.0"

    def connect(self) -> None:
        """lwIP asks for a while by itself, and then has to be told to begin again."""
        if not _made:
            _made.append(network.PPP(_uart))
        try:
            _made[0].connect()
        except OSError as error:
            if error.errno != errno.EALREADY:
                raise

    def details(self) -> tuple:
        # The netmask of a point-to-point line says nothing of the network behind it.
        return (self.address(),) + (None,) * 5

    def trouble(self) -> str:
        return ""

    def dns_servers(self) -> list[str]:
        """None: the configuration has addresses where others have names."""
        return []


class Board(rp2.Board):
    """The Board (firmware.board) of the emulator."""

    name = "emulated_pico"

    def __init__(self) -> None:
        super().__init__()
        self.has_wifi = False
        if self.larger:
            self.larger = "tools/emulator with 24 TCP connections"

    def button(self, pin: "int | None") -> bool:
        return False  # the emulator has no pins of the flash

    def open_link(self, config: dict) -> "Link":
        if config["link"] != "none":
            return Ppp()
        from firmware.board.no_link import NoLink

        return NoLink()
