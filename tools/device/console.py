"""A board's console: its prompt, what it says, and a copy of its data (make repl, logs, backup)."""

import codecs
import contextlib
import subprocess
import sys
import time
from pathlib import Path

from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from tools.device import versions
from tools.device.deploy import DATA
from tools.device.port import REPL_BAUD, DeviceError, UsageError, call, mpremote, show

_READ_S = 0.2


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
    title = f"the console of the board at {port}; Ctrl-C ends this and not the firmware"
    if dry_run:
        say(title)
        return
    try:
        # mpremote opens a port with DTR and RTS set at once, and closes it with RTS off first: RTS without DTR resets
        # an ESP32. Without DTR an RP2 drops what it says.
        transport = SerialTransport(port, REPL_BAUD, timeout=_READ_S)
    except TransportError as error:
        raise DeviceError(str(error)) from None
    say(title)  # now: a Ctrl-C within the imports of what opens a port may be lost
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character may come in two pieces
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while end is None or time.monotonic() < end:
            text = decoder.decode(transport.serial.read(max(1, transport.serial.in_waiting)))
            sys.stdout.write(text)
            sys.stdout.flush()
    except OSError as error:
        raise DeviceError(f"the port {port} is gone: {error}") from None
    finally:
        with contextlib.suppress(OSError):  # gone
            transport.close()


def backup(port, folder, dry_run=False, say=print):
    """Copies /data of the board, passwords included, to a new folder that only the user may read. What was copied
    before a failure stays. Raises UsageError, DeviceError."""
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a new folder (--out)")
    say(
        f"copies /data of the board at {port} to {folder}: with all passwords; the gateway is interrupted and restarted"
    )
    copy = mpremote(port, "cp", "--recursive", f":{DATA}", str(folder))
    reset = mpremote(port, "resume", "reset")
    if dry_run:
        for command in (copy, reset):
            say(f"  {show(command)}")
        return
    folder.mkdir(mode=0o700, parents=True)
    try:
        with versions.started_again_on_failure(port, say):
            call(copy)
    except BaseException:
        try:
            folder.rmdir()
        except OSError:
            say(f"{folder} is not whole")
        raise
    call(reset)
