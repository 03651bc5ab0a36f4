"""Brings up the network of the emulated Pico for servers other than our firmware, in the same way."""

# mypy: ignore-errors
import time

import network
from machine import UART, Pin

_UP_MS = 20000


def up():
    """Returns the PPP object once it is connected. Raises OSError."""
    ppp = network.PPP(UART(0, 460800, tx=Pin(0), rx=Pin(1), rxbuf=4096, txbuf=12000))
    ppp.connect()
    begin = time.ticks_ms()
    while not ppp.isconnected():
        if time.ticks_diff(time.ticks_ms(), begin) > _UP_MS:
            raise OSError("PPP does not come up")
        time.sleep_ms(10)
    return ppp
