"""micropython-modbus as a gateway: its TCP server asks a meter by its RTU master before it answers a read.

The meter is on the serial device "bus0" of the folder that it runs in; on the host only.
"""

# mypy: ignore-errors
import select
import sys
import termios

import bench_place
import ffi

_BAUD = 115200
_METER = 9
_REGISTERS = 125
_FLAGS = 2 | 0o400 | 0o4000  # O_RDWR, O_NOCTTY, O_NONBLOCK
_RECEIVED = 256


class UART:
    """What umodbus uses of machine.UART, which the unix port has not: any(), read() and write()."""

    def __init__(self, device, **framing):
        fd = ffi.open(None).func("i", "open", "si")(device, _FLAGS)
        if fd < 0:
            raise OSError(device)
        self._stream = open(fd, "r+b")  # noqa: SIM115 (for as long as the program runs)
        termios.setraw(fd)
        self._poll = select.poll()
        self._poll.register(self._stream, select.POLLIN)

    def any(self):
        return len(self._poll.poll(0))

    def read(self):
        return self._stream.read(_RECEIVED)

    def write(self, frame):
        return self._stream.write(frame)


class machine:
    UART = UART
    Pin = object


sys.modules["machine"] = machine

from umodbus.serial import Serial  # noqa: E402
from umodbus.tcp import ModbusTCP  # noqa: E402


def serve():
    line = Serial(uart_id="bus0", baudrate=_BAUD, pins=(None, None))
    server = ModbusTCP()
    server.bind(local_ip=bench_place.ADDRESS, local_port=bench_place.MODBUS)

    def ask(reg_type, address, val):
        # The answer is made of these registers once this has returned.
        server.set_hreg(address, list(line.read_holding_registers(_METER, address, len(val), False)))

    server.setup_registers({"HREGS": {"ALL": {"register": 0, "len": _REGISTERS, "val": [0] * _REGISTERS}}})
    server.add_hreg(0, [0] * _REGISTERS, on_get_cb=ask)
    bench_place.started()
    while True:
        server.process()


serve()
