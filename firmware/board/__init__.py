"""Boards: the only files that know pins, UARTs, network interfaces, watchdog, clock and reset.

A board module has a class Board with:
    name                        "unix", "esp32", "rp2", "emulated_pico"
    sockets, tcp, udp           sockets that this port's MicroPython offers in all; TCP connections without listeners;
                                UDP sockets
    larger                      which MicroPython build offers more sockets than the one that runs, "" when none does
    image                       the name of our image for this board, "" where there is none
    heap()                      (bytes free, bytes used) of Python's heap; free is what may be taken without harm to the
                                port; (0, 0) where nobody knows
    open_line(bus_config)       a serial Line, or OSError
    umodbus_master(bus_config)  umodbus's master on the same UART, for a technician; ImportError or OSError
    open_link(network_config)   a Link
    set_clock(unix_s)           sets the clock of the port
    watchdog(timeout_s)         starts it; 0 does nothing.  feed() feeds it.  release() keeps it from biting at the REPL
    reset_cause()               why the device has started, as a text, when that is worth a line in the log; else ""
    reset()                     restarts the device; does not return
    crashed(error)              the firmware ended by an exception: a device says so, waits 10 s for Ctrl-C and restarts
A Line is one RS-485 side:
    stream                      what the loop polls for input
    receive(view, at) -> n      moves what has come to view[at:], a memoryview, as far as it fits; OSError when the
                                device is gone
    discard() -> n              throws away what has come
    send(buf, n)                turns the direction pin and starts sending buf[:n] (n <= 256, fits the driver's buffer)
    finish()                    waits (a few character times at most) until the last bit is out, and turns back
    jitter_ms                   how late this port may deliver a byte
    close()
A Link is the network interface:
    up() -> bool                has an address.   address() -> text
    connect()                   starts connecting; returns at once
    dns_servers() -> list       addresses as text
    details() -> tuple          (address, netmask, gateway, name server, MAC address, signal in dBm): texts and
                                a number, None for what is not known
"""

import os
import sys


def detect():
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
