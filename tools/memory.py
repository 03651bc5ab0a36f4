"""The memory report: heap of each service, frozen and as files; the sum of each board; the flash of the images that
were built here last (make memory).

The heap is measured on 32-bit MicroPython on this machine, which has the chips' word length; the flash by the tests
that build images, host_tests/emulated, which leave the numbers in build/flash. docs/images.md has the tables;
host_tests/system/test_heap_of_services.py compares those of the heap, host_tests/emulated/test_boards.py and
test_images.py those of the flash.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from tools import build, gateway, image, micropython, partition_table

_SCRIPT = build.ROOT / "host_tests" / "on_micropython" / "heap_of_services.py"
_LIMIT_S = 60
AT_REST = 76 * 1024  # of the firmware frozen, with three meters: AT_REST_BYTES in test_heap_gates.py
TLS = 45_000  # one session: two records, and the handshake
# Python's heap of each image, bytes (docs/images.md, Memory), and whether TLS lies within it: on the ESP32 it takes
# ESP-IDF's. An ESP32 without PSRAM: after its heap has grown once.
BOARDS = {
    "METERPORT_PICO2_W": (451_560, True),
    "METERPORT_PICO_W": (193_912, True),
    "METERPORT_W5500_EVB_PICO2": (452_744, True),
    "METERPORT_W5500_EVB_PICO": (195_088, True),
    "METERPORT_ESP32": (111_936, False),
}
_FLASH = build.ROOT / "build" / "flash"  # a file for each number, named as it is
# Bytes of flash that CI cannot build: the drivers of the radio and of the W5500, which are in no package. The first is
# what an image linked by hand with the real one took more, the second a guess on the safe side.
DRIVERS = {"METERPORT_PICO2_W": 245_000, "METERPORT_PICO_W": 245_000, "METERPORT_W5500_EVB_PICO2": 16_000,
           "METERPORT_W5500_EVB_PICO": 16_000}  # fmt: skip
FLASH_LEFT = 64 * 1024  # that an image must leave, for what comes: a slot or the place before the files never grows
# An ESP32 image is not built here. MicroPython's own with -Os fits this slot, with Bluetooth, which ours is without.
# How much NimBLE and its controller take is an assumption, and so is how much the packages that our manifest leaves out
# (umqtt, requests, mip, webrepl and others: about 42 KB of source).
ESP32_SLOT_OF_MICROPYTHON, BLUETOOTH, LEFT_OUT = 0x180000, 180_000, 16_000
# The firmware is measured in an image for the RP2, whose machine code (tools/boards/rp2) an ESP32 is without: 21 KB of
# .mpy by mpy-cross -march=armv6m.
MACHINE_CODE = 20_000
_TABLE = 0.977  # of the area; the rest is the collector's table
EXTRA = ("bacnet", "posting")  # that are not on by default, and so not within AT_REST


def heap_of_services(is_frozen: bool, without: tuple[str, ...] = ()) -> dict[str, int]:
    """{service: bytes of heap that its modules take}, in the order of starting, without some: what they share is the
    first one's. Behind them "service.setting" for each of firmware.app.FURTHER. Raises RuntimeError."""
    if is_frozen:
        interpreter, path = gateway.find_frozen(print), ".frozen"
    else:
        tree = gateway.build_device(False, print)
        interpreter, path = micropython.ensure(), f"{tree}:{tree}/lib:.frozen"
    with tempfile.TemporaryDirectory(prefix="meterport-memory-") as folder:
        done = subprocess.run(
            [str(interpreter), "-X", "heapsize=512K", str(_SCRIPT), *without],
            cwd=folder, env={"MICROPYPATH": path}, capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def sums(frozen: dict[str, int]) -> dict[str, tuple[int, int, int, int]]:
    """{image: (Python's heap, services beyond the default ones, TLS, what is left)} in bytes."""
    extra = sum(frozen[name] for name in EXTRA)
    result = {}
    for name, (area, has_tls) in BOARDS.items():
        tls = TLS if has_tls else 0
        result[name] = (area, extra, tls, int(area * _TABLE) - AT_REST - extra - tls)
    return result


def firmware_max() -> int:
    """Bytes of flash that the frozen firmware may take in an image for the RP2, or the smallest ESP32 image would not
    fit its slot."""
    slot = min(row.size for row in image.partitions("METERPORT_ESP32") if row.type == partition_table.APP)
    return slot - ESP32_SLOT_OF_MICROPYTHON + BLUETOOTH + LEFT_OUT + MACHINE_CODE


def image_max(name: str) -> int:
    """Bytes of flash that an image may take when it is built without its driver. RP2 only."""
    room = image.BOARDS[name].room
    assert room is not None
    return room - DRIVERS[name] - FLASH_LEFT


def record_flash(name: str, size: int) -> None:
    """Keeps the bytes of flash of an image that was just built, or of the "firmware" within, for the report."""
    _FLASH.mkdir(parents=True, exist_ok=True)
    (_FLASH / name).write_text(f"{size}\n", encoding="ascii")


def flash_report() -> str:
    """A table of what was recorded, with the bounds; empty when nothing was."""
    lines = []
    for path in sorted(_FLASH.glob("*")):
        size, most = int(path.read_text(encoding="ascii")), firmware_max()
        if path.name in image.BOARDS:
            most = image_max(path.name)
        lines.append(f"| {path.name} | {size:,} | {most:,} | {most - size:,} |")
    head = ["", "| built here, without drivers | flash | at most | left |", "|---|--:|--:|--:|"]
    return "\n".join(head + lines) if lines else ""


def report(frozen: dict[str, int], files: dict[str, int]) -> str:
    """The two tables of docs/images.md."""
    lines = ["| service | frozen | as files |", "|---|--:|--:|"]
    lines += [f"| `{name}` | {frozen[name]:,} | {files[name]:,} |" for name in frozen]
    lines += ["", "| image | Python's heap | firmware at rest | BACnet and posting | TLS | left |"]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for name, (area, extra, tls, left) in sums(frozen).items():
        lines.append(f"| {name} | {area:,} | {AT_REST:,} | {extra:,} | {tls or 'ESP-IDF'} | {left:,} |")
    return "\n".join(lines).replace("45000", "45,000")


def parts(text: str) -> tuple[str, str]:
    """What stands before the tables in a document, and after them, marks included. Raises ValueError."""
    before, begin, rest = text.partition("<!-- memory -->\n")
    _, end, after = rest.partition("<!-- end of memory -->")
    if not begin or not end:
        raise ValueError("has no <!-- memory --> and <!-- end of memory -->")
    return before + begin, end + after


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.memory", description="Measures the heap of each service.")
    parser.add_argument("into", nargs="?", type=pathlib.Path, metavar="FILE", help="a document; default: shown only")
    into = parser.parse_args(arguments).into
    try:
        before, after = parts(into.read_text(encoding="utf-8")) if into else ("", "")
    except (OSError, ValueError) as error:
        print(f"{into}: {error}", file=sys.stderr)
        return 1
    text = report(heap_of_services(True), heap_of_services(False))
    if into:
        into.write_text(f"{before}{text}\n{after}", encoding="utf-8")
    else:
        print(text)
        print(flash_report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
