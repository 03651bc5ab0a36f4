"""For a technician at the REPL, after Ctrl-C has ended the gateway: the same serial lines, by hand.

    from firmware import technician
    technician.scan(bauds=[9600, 19200], framings=["8N1", "8E1"])    finds meters; Ctrl-C stops it
    with technician.master() as line:                                a blocking umodbus master on the bus's UART
        print(line.read_input_registers(1, 0, 2))
    run()                                                            the gateway goes on

Lines are opened as the configuration says and given back at the end, whatever it was.
"""

from firmware import board
from firmware.bus.scan import TIMEOUT_MS, Scan
from firmware.config import load as config
from firmware.events import Events
from firmware.net import seam
from firmware.net.clock import Clock


def _bus(number):
    buses = config.load().config["buses"]
    if not 0 <= number < len(buses):
        raise ValueError("bus %s: the configuration has %d" % (number, len(buses)))
    return buses[number]


def scan(bus=0, bauds=None, framings=None, first=1, last=247, timeout_ms=TIMEOUT_MS):
    """Asks units `first` to `last` of the bus at each baud rate and framing (as configured, where none is given).
    Returns a list of (unit, baud, framing, [names of profiles that fit]). Raises ValueError or OSError."""
    seam.install()
    search = Scan(_bus(bus), Events(Clock().uptime_s), bauds, framings, first, last, timeout_ms)
    search.on_progress = _progress
    try:
        seam.run(search.run(board.detect().open_line))
    except KeyboardInterrupt:
        print("stopped after %d of %d" % (search.done, search.total))
    return search.found


def _progress(search):
    if search.done % 25 == 0 or search.done == search.total:
        print("%d of %d asked, %d found" % (search.done, search.total, len(search.found)))


class master:
    """A context manager that gives umodbus's Serial on the UART of the bus. Raises ImportError when umodbus is not on
    the device (make build ARGS=--with-umodbus, then make deploy), ValueError, or OSError."""

    def __init__(self, bus=0):
        self._config = _bus(bus)
        self._line = None

    def __enter__(self):
        self._line = board.detect().umodbus_master(self._config)
        return self._line

    def __exit__(self, kind, error, trace):
        self._line._uart.deinit()  # umodbus has no close()
        self._line = None
