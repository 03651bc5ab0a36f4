"""Commands for the REPL, after Ctrl-C has ended the gateway: its serial lines by hand.

    from firmware import repl_tools
    repl_tools.scan(bauds=[9600, 19200], framings=["8N1", "8E1"])    finds meters; Ctrl-C stops it
    with repl_tools.UmodbusMaster() as line:                         a blocking umodbus master on the bus's UART
        print(line.read_input_registers(1, 0, 2))
    run()                                                            starts the gateway again

Lines are opened as the configuration says, and closed at the end in any case.
"""

from micropython import const

from firmware import board
from firmware.bus.scan import TIMEOUT_MS, Scan
from firmware.config import load
from firmware.events import Events
from firmware.net import seam
from firmware.net.clock import Clock

_TYPING = const(0)
if _TYPING:
    from typing import Any


def _bus(number):
    buses = load.load().config["buses"]
    if not 0 <= number < len(buses):
        raise ValueError("bus %s: the configuration has %d" % (number, len(buses)))
    if buses[number]["role"] != "master":
        raise ValueError("bus %d is not polled by this gateway" % number)
    return buses[number]


def scan(
    bus: int = 0, bauds: "list | None" = None, framings: "list | None" = None, first: int = 1, last: int = 247,
    timeout_ms: int = TIMEOUT_MS,
) -> list:  # fmt: skip
    """Asks units `first` to `last` of the bus at each baud rate and framing (as configured, where none is given).
    Returns a list of (unit, baud, framing, [names of profiles that fit]). Raises ValueError or OSError."""
    seam.install()
    search = Scan(_bus(bus), Events(Clock().uptime_s), bauds, framings, first, last, timeout_ms)
    search.on_progress = _print_progress
    try:
        seam.run(search.run(board.detect().open_line))
    except KeyboardInterrupt:
        print("stopped after %d of %d" % (search.done, search.total))
    return search.found


def _print_progress(search):
    if search.done % 25 == 0 or search.done == search.total:
        print("%d of %d asked, %d found" % (search.done, search.total, len(search.found)))


class UmodbusMaster:
    """A context manager: umodbus's Serial on the UART of a bus, closed at the end.

    Entering it raises ImportError when umodbus is not on the device (make build ARGS=--with-umodbus, then make deploy),
    or OSError."""

    def __init__(self, bus: int = 0) -> None:
        """`bus`: its number. Raises ValueError when the configuration has no such bus."""
        self._config = _bus(bus)
        self._serial: "Any" = None

    def __enter__(self) -> "Any":
        self._serial = board.detect().umodbus_master(self._config)
        return self._serial

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._serial._uart.deinit()  # umodbus has no close()
        self._serial = None
