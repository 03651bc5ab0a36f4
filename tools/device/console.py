"""A board's console: its prompt, what it says, and a copy of its data (make repl, logs, backup)."""

import subprocess
import sys
import time
from pathlib import Path

import serial

from tools.device.deploy import DATA
from tools.device.port import REPL_BAUD, DeviceError, UsageError, call, mpremote, show


def repl(port, dry_run=False, say=print):
    """The board's prompt; the firmware, if it runs, goes on until Ctrl-C. Raises DeviceError."""
    command = mpremote(port, "resume", "repl")
    leaves = "Ctrl-] or Ctrl-X leaves"
    if "://" in port:  # mpremote's console wants a file descriptor, which pyserial's URLs do not have
        command = [sys.executable, "-m", "serial.tools.miniterm", "--raw", "--eol", "CR", port, str(REPL_BAUD)]
        leaves = "Ctrl-] leaves"
    if dry_run:
        say(show(command))
        return
    say(f"the prompt of the board at {port}: Ctrl-C interrupts the firmware, {leaves}")
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise DeviceError(f"failed with code {done.returncode}: {show(command)}")


def logs(port, seconds=None, dry_run=False, say=print):
    """Shows what the board says, and sends it nothing: the firmware runs on. Ends with Ctrl-C, or after `seconds`."""
    say(f"the console of the board at {port}; Ctrl-C ends this and not the firmware")
    if dry_run:
        return
    line = serial.serial_for_url(port, REPL_BAUD, timeout=0.2, do_not_open=True)
    if "://" not in port:
        line.dtr = line.rts = False  # on an ESP32 they are reset and BOOT
    line.open()
    end = None if seconds is None else time.monotonic() + seconds
    with line:
        while end is None or time.monotonic() < end:
            try:
                text = line.read(max(1, line.in_waiting))
            except serial.SerialException as error:
                raise DeviceError(f"the port {port} is gone: {error}") from None
            if text:
                sys.stdout.write(text.decode("utf-8", "replace"))
                sys.stdout.flush()


def backup(port, folder, dry_run=False, say=print):
    """Copies /data of the board, passwords included, to a new folder that only the user may read. Raises UsageError,
    DeviceError."""
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a new folder (--out)")
    say(
        f"copies /data of the board at {port} to {folder}: with all passwords; the gateway is interrupted and restarted"
    )
    commands = [mpremote(port, "cp", "--recursive", f":{DATA}", str(folder)), mpremote(port, "resume", "reset")]
    if dry_run:
        for command in commands:
            say(f"  {show(command)}")
        return
    folder.mkdir(mode=0o700, parents=True)
    for command in commands:
        call(command)
