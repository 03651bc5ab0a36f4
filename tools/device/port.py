"""A board's port: what is there, and command lines for it."""

import os
import shlex
import subprocess
import sys

from tools import build

CALL_TIMEOUT_S = 600
REPL_BAUD = 115200
# USB ids of serial ports. MicroPython on an RP2 has Raspberry Pi's vendor id; so have its debug probes.
_RASPBERRY_PI, _PROBES = 0x2E8A, (0x0004, 0x000C)
_ESPRESSIF = 0x303A
# The bridges of ESP32 boards: CP210x; CH340, CH343, CH9102; FT232R, FT2232, FT231X.
_BRIDGES = {
    (0x10C4, 0xEA60), (0x1A86, 0x7523), (0x1A86, 0x55D3), (0x1A86, 0x55D4), (0x0403, 0x6001), (0x0403, 0x6010),
    (0x0403, 0x6015),
}  # fmt: skip
RP2, ESP32 = "rp2", "esp32"


class DeviceError(RuntimeError):
    """Something on the way to the board failed; the text says what and what to do."""


class UsageError(ValueError):
    """An argument is wrong; the text says which and what would be right."""


def serial_ports():
    """["/dev/ttyUSB0 (description)"] of the serial ports that there are."""
    from serial.tools import list_ports  # slow to import, and wanted in two messages only

    return [f"{port.device} ({port.description})" for port in sorted(list_ports.comports())]


def kind_of_board(vendor, product):
    """RP2 or ESP32 for the USB id of a serial port that such a board may have, None for others."""
    if vendor == _RASPBERRY_PI and product not in _PROBES:
        return RP2
    if vendor == _ESPRESSIF or (vendor, product) in _BRIDGES:
        return ESP32
    return None


def find_port(kinds, say):
    """The one serial port whose USB id is that of a board of these kinds; "" without one, or with several."""
    from serial.tools import list_ports

    found = [port for port in list_ports.comports() if kind_of_board(port.vid, port.pid) in kinds]
    if len(found) != 1:
        return ""
    say(f"PORT={found[0].device} is taken: the one board that is found by its USB id ({found[0].description})")
    return found[0].device


def check_port(port, example):
    """Raises UsageError when no port is given or its device does not exist."""
    if port and not (port.startswith("/") and not os.path.exists(port)):
        return
    what = f"there is no {port}" if port else "no port is given"
    found = "\n".join(f"  {line}" for line in serial_ports()) or "  none: is the board connected?"
    raise UsageError(f"{what}; for example: {example}\nserial ports found:\n{found}")


def mpremote(port, *words):
    """The command line of mpremote for a port."""
    return [sys.executable, "-m", "mpremote", "connect", port, *(str(word) for word in words)]


def show(command):
    """A command line as a user would type it."""
    words = [str(word) for word in command]
    if words[:2] == [sys.executable, "-m"]:
        words = ["python", *words[1:]]
    return shlex.join([os.path.relpath(word) if word.startswith(str(build.ROOT)) else word for word in words])


def call(command, capture=False):
    """Runs a command; its standard output when captured. Raises DeviceError."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE if capture else None, text=True, timeout=CALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"no end after {CALL_TIMEOUT_S} s: {show(command)}") from None
    if done.returncode:
        output = f"\n{done.stdout.strip()}" if capture and done.stdout.strip() else ""
        raise DeviceError(f"failed with code {done.returncode}: {show(command)}{output}")
    return done.stdout


def confirmed():
    """Whether the user says yes; no where nobody can be asked."""
    if not sys.stdin.isatty():
        return False
    return input("go on? [y/N] ").strip().lower() in ("y", "yes")
