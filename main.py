"""Starts the gateway, or leaves the REPL alone in safe mode.

Safe mode: a file /data/safe_mode (delete it to leave), for a device whose firmware does not let anybody in.
Ctrl-C ends the firmware with every socket closed and the watchdog released; the REPL stays, and run() starts it again
(import main; main.run() where it was not main.py that started it).
"""

import os
import sys


def _add_path():
    """On a board, packages lie in /lib, which is on the path already; elsewhere beside this file."""
    # The port itself starts main.py without a __file__.
    path = globals().get("__file__", "main.py")
    here = path.rsplit("/", 1)[0] if "/" in path else "."
    for folder in (here, here + "/lib"):
        if folder not in sys.path and folder not in (".", "./lib"):
            sys.path.append(folder)


def _safe_mode():
    try:
        os.stat("data/safe_mode")
    except OSError:
        return False
    return True


def run():
    """Runs the gateway until Ctrl-C. A crash restarts the device, after a pause in which the REPL can be had."""
    _add_path()
    from firmware import app, board

    port = board.detect()
    try:
        app.run(port)
    except Exception as error:
        port.crashed(error)


if _safe_mode():
    print("meterport: safe mode (data/safe_mode exists), the firmware is not started")
elif __name__ == "__main__":
    try:
        run()
    except KeyboardInterrupt:
        print("meterport: stopped; run() starts it again")
