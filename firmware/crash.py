"""The record of the last crash: why, where, after how long, with how much heap. It survives a reset and a power cut.

Imported only when there is something to record or to show. data/crash holds it as a JSON object, kept by config/store:
{"version": text, "reason": text, "traceback": text or null, "uptime_s": number or null, "heap_free", "heap_used"}.
"""

import io
import json
import sys

from micropython import const

from firmware import VERSION
from firmware.config import store

PATH = "data/crash"
_REASON_MAX = const(160)  # characters
_TRACEBACK_MAX = const(1000)


def keep(reason: str, heap: "tuple[int, int]", uptime_s: "int | None", error: "Exception | None" = None) -> None:
    """Records a crash in place of the last one. `heap`: (free, used) in bytes. Never raises, so that the device
    restarts in any case."""
    try:
        document = {
            "version": "%d.%d.%d" % VERSION,
            "reason": reason[:_REASON_MAX],
            "traceback": None if error is None else _traceback(error)[-_TRACEBACK_MAX:],
            "uptime_s": uptime_s,
            "heap_free": heap[0],
            "heap_used": heap[1],
        }
        store.save(PATH, json.dumps(document).encode())
    except (OSError, ValueError, MemoryError) as failure:
        print("meterport: the crash is not recorded: %r" % failure)


def _traceback(error):
    """The traceback as the port prints it; its end is where the error was raised."""
    out = io.StringIO()
    if hasattr(sys, "print_exception"):
        sys.print_exception(error, out)
    else:
        import traceback  # type: ignore[import-not-found]  # CPython's

        traceback.print_exception(error, file=out)
    return out.getvalue()


def last() -> "bytes | None":
    """The record as JSON; None without one."""
    try:
        return store.load(PATH)
    except OSError:
        return None


def reason() -> str:
    """Why the last crash happened, "" without a record."""
    record = last()
    return "" if record is None else json.loads(record)["reason"]
