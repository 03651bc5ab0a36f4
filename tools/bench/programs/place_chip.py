"""What the compared servers find on the emulated Pico: its network, which comes up with the import, and their ports.

On the chip this file is bench_place.py; place_host.py is it on the host.
"""

# mypy: ignore-errors
import gc
import socket
import time

import network
from machine import UART, Pin

ADDRESS, MODBUS, HTTP = "0.0.0.0", 502, 80
FUNCTION = 4  # that reads the registers
PROBED = False
_UP_MS = 20000


def _up():
    ppp = network.PPP(UART(0, 460800, tx=Pin(0), rx=Pin(1), rxbuf=4096, txbuf=12000))
    ppp.connect()
    begin = time.ticks_ms()
    while not ppp.isconnected():
        if time.ticks_diff(time.ticks_ms(), begin) > _UP_MS:
            raise OSError("PPP does not come up")
        time.sleep_ms(10)
    return ppp


_ppp = _up()


def listen(port):
    """A listening TCP socket on this port of all addresses."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ADDRESS, port))
    listener.listen(5)
    return listener


def started():
    """The server is about to serve."""
    gc.collect()
    print("ready")
