"""Counts the starts by a configuration file that has not brought up its page yet.

A file that was saved runs on trial. data/config.trial holds how often the device has started by it, and the file's
SHA-256. Once the page is up it is PROVEN. After three starts without a page, or as soon as it is known that there is
none, it has FAILED, and does not run again until it is changed or saved anew.
"""

from micropython import const

from firmware.config import load, store

PATH = "data/config.trial"  # "STARTS SHA-256"
PROVEN = const(0)  # in place of the number of starts
FAILED = const(4)


def begin() -> int:
    """Counts one more start by the file. PROVEN (also without a file), FAILED, or the number of this start."""
    try:
        checksum = store.checksum(load.PATH)
    except OSError:
        return PROVEN
    starts = _recorded(checksum)
    if starts is None:
        if store.holds(load.LAST_GOOD, load.PATH):
            return PROVEN
        starts = 0
    elif starts == PROVEN or starts >= FAILED:
        return min(starts, FAILED)
    try:
        _write(starts + 1, checksum)
    except OSError:
        return 1  # a flash that cannot be written does not stop the device
    return starts + 1


def _recorded(checksum):
    """The number in the record, when that is of the file with this checksum; else None."""
    try:
        starts, _, of = store.read(PATH).partition(b" ")
    except OSError:
        return None
    return int(starts) if of == checksum and starts.isdigit() else None


def _write(starts, checksum):
    store.replace(PATH, (b"%d " % starts, checksum))


def record(starts: int) -> None:
    """Records PROVEN or FAILED for the file as it is now. Raises OSError."""
    _write(starts, store.checksum(load.PATH))
