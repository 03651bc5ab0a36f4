"""A firmware that an update has brought, and that does not run, on the emulated chip with an RP2350's RAM: it gives way
to the one within the image, by itself. The flash is as a switch leaves it (test_update.py)."""

import pytest

from host_tests.emulated.chip import Chip
from host_tests.system.packages import name_of_image, package, switched
from host_tests.system.rig import METERS
from tools.emulator import build, image
from tools.emulator.variant import Variant

pytestmark = pytest.mark.timeout(900)

IMAGE = Variant(frozen=True, ram_kib=520)
OLD = "0.1.0"
# In place of firmware/app.py. Each hangs idle, as it costs the emulator less; the interpreter runs on as in any loop.
CRASHES = b"def run(board, failed_starts=0):\n    board.crashed(ValueError('a fault of this test'))\n"
HANGS = b"""\
import time

def run(board, failed_starts=0):
    print("hangs")
    while True:
        time.sleep_ms(100)
"""
HANGS_IN_ITS_LOOP = HANGS.replace(b"    print", b"    board.watchdog(2)\n    print")


@pytest.mark.parametrize(
    ("app", "use", "causes", "line"),
    [
        (CRASHES, "- a 0", ["software"] * 3, "ValueError: a fault of this test"),
        (HANGS_IN_ITS_LOOP, "- a 0", ["watchdog"] * 3, "hangs"),
        # The last of its three starts: each takes a minute.
        (HANGS, "- a 2", ["software"], "meterport: the loop does not run after 60 s, restarting"),
    ],
    ids=["crashes", "hangs", "hangs before its loop"],
)
def test_an_update_that_does_not_run_gives_way_after_three_starts(tmp_path, app, use, causes, line):
    files = switched(package({"firmware/app": app}), use)
    files["tree/a/image"] = name_of_image(build.ensure_firmware(IMAGE).read_bytes())
    with Chip(tmp_path, IMAGE, {"meters": list(METERS[:1])}, files=files) as chip:
        lines = list(chip.emulator.lines)
        assert [event["cause"] for event in chip.emulator.events if event["event"] == "reset"] == causes
        assert lines.count(line) == len(causes)
        chip.emulator.lines.clear()  # the tracebacks of this test are no findings
        chip.wait_polled()
        assert chip.get("/api/status")["version"] == OLD
        chip.emulator.power_cut()
        assert image.read(chip.emulator.flash)["tree/use"] == b"- - 0"
