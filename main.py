"""Starts the gateway, or leaves the REPL alone in safe mode.

Safe mode: a file /data/safe_mode (delete it to leave), for a device whose firmware does not let anybody in.
Ctrl-C ends the firmware with every socket closed and the watchdog released; the REPL stays, and run() starts it again
(import main; main.run() where it was not main.py that started it).
"""

import gc
import os
import sys

_EARLY = 4096  # bytes


def _exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _add_path():
    """On a board, packages lie in /lib, which is on the path already, or within the image; elsewhere beside this file.

    A whole firmware in the file system of an image goes before the one within, with its packages in /lib: so a
    developer tries it. A folder firmware/ without one, which an earlier image may have left, hides nothing.
    """
    if ".frozen" in sys.path:
        sys.path.remove(".frozen")
        files = _exists("firmware/__init__.mpy") or _exists("firmware/__init__.py")
        sys.path.insert(len(sys.path) if files else 0, ".frozen")
    # The port itself starts main.py without a __file__.
    path = globals().get("__file__", "main.py")
    here = path.rsplit("/", 1)[0] if "/" in path else "."
    for folder in (here, here + "/lib"):
        if folder not in sys.path and folder not in (".", "./lib"):
            sys.path.append(folder)


def run():
    """Runs the gateway until Ctrl-C. A crash restarts the device, after a pause in which the REPL can be had."""
    _add_path()
    # While the gateway is loaded and built the heap is collected every few kilobytes: what stays then lies together,
    # and not all over the heap amid garbage. firmware.app has another bound for later.
    if hasattr(gc, "threshold"):
        gc.threshold(_EARLY)
    # The board first: what it takes of the heap (network, buffers) are large pieces.
    from firmware import board

    port = board.detect()
    from firmware import app

    try:
        app.run(port)
    except Exception as error:
        port.crashed(error)


if _exists("data/safe_mode"):
    print("meterport: safe mode (data/safe_mode exists), the firmware is not started")
elif __name__ == "__main__":
    try:
        run()
    except KeyboardInterrupt:
        print("meterport: stopped; run() starts it again")
