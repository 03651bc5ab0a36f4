"""Images of MicroPython: the one with the firmware within, and what the board definitions that users build have in
common with those that the tests run."""

import gzip
import json
import pathlib
import re
import subprocess
import urllib.request

import pytest

from tools import image, memory, page, sources, virtual_meters
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BOARDS = ROOT / "tools" / "boards"
DOCUMENT = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
EMULATED = ROOT / "tools" / "emulator" / "board" / build.BOARD
HEAP_AT_REST = ROOT / "host_tests" / "on_micropython" / "heap_at_rest.py"
FROZEN = build.Variant(frozen=True)
# In use at rest: 86 KiB, more than on the unix port for the board and multicast DNS, and the buffers of the emulator's
# PPP line (firmware/board/emulated_pico.py).
FROZEN_HEAP = 86 * 1024 + 24_000 + 4_096
READY_S = 300
ANSWER_S = 240
MEASURE_S = 300
# What the boards differ in, lwIP's options set aside.
NOT_LWIP = ("MICROPY_", "CYW43_", "METERPORT_")

pytestmark = pytest.mark.timeout(900)  # the first run builds, and after each change in the firmware one image anew


@pytest.fixture
def make_emulator(tmp_path):
    """make_emulator(files={}) gives an emulator, not started, whose image has the firmware within."""

    def make(files=None):
        return emulated.Emulator(
            tmp_path,
            firmware=build.ensure_firmware(FROZEN),
            files=emulated.device_files(emulate.configuration(), frozen=True) | (files or {}),
            meters=virtual_meters.default_meters(),
            ports={"http": 0, "modbus": 0},
        )

    return make


@pytest.fixture(scope="module")
def tree():
    """MicroPython's sources."""
    build.ensure_firmware(build.OUR_PCBS)
    return sources.ensure(build.Variant().micropython)


def test_the_firmware_takes_no_more_flash_than_the_smallest_slot_has():
    plain = build.ensure_firmware(build.OUR_PCBS)
    size = build.ensure_firmware(FROZEN).stat().st_size - plain.stat().st_size
    memory.record_flash("firmware", size)
    assert 400_000 < size <= memory.firmware_max(), f"{size} bytes"
    [documented] = re.findall(r"the ([\d,]+) bytes\s+that the frozen firmware adds", DOCUMENT)
    assert abs(size - int(documented.replace(",", ""))) < 0.1 * size, f"{size} bytes: docs/images.md"


def test_the_firmware_within_the_image_starts_with_its_configuration_alone(make_emulator):
    with make_emulator() as emulator:
        assert list(emulator.files) == ["data/config.json"]
        emulator.wait_ready(READY_S)
        address = f"http://{emulated.HOST}:{emulator.ports['http']}"
        asked = urllib.request.Request(f"{address}/", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked, timeout=ANSWER_S) as answer:
            assert gzip.decompress(answer.read()).rstrip().endswith(b"</html>")
        with urllib.request.urlopen(f"{address}/api/readings", timeout=ANSWER_S) as answer:
            assert [len(meter["points"]) > 0 for meter in json.load(answer)["meters"]] == [True] * 3


def test_modules_within_the_image_take_no_heap(make_emulator):
    with make_emulator({"data/safe_mode": b""}) as emulator:
        output = emulator.exec(HEAP_AT_REST.read_text(encoding="utf-8"), timeout=MEASURE_S)
    assert json.loads(output.splitlines()[-1])["running"] < FROZEN_HEAP


def test_files_within_the_image_are_read_from_its_flash(make_emulator):
    code = """
import gc, json
from firmware import resources
gc.collect()
before = gc.mem_alloc()
page, profile = resources.read("services/http/page.html.gz"), resources.read("meters/profiles/pzem-004t-v3.json")
gc.collect()
print(json.dumps([gc.mem_alloc() - before, len(page), json.loads(profile)["name"]]))
"""
    with make_emulator({"data/safe_mode": b""}) as emulator:
        output = emulator.exec(code, timeout=MEASURE_S)
    used, size, name = json.loads(output.splitlines()[-1])
    assert (size, name) == (len(page.packed()), "PZEM-004T v3, PZEM-016")
    assert used < 100


def macros(tree, *includes):
    """The macros that lwIP is compiled with, but for the board's own, where a board's folders are included first."""
    folders = [*includes, tree, *(tree / name for name in ("ports/rp2/lwip_inc", "extmod/lwip-include"))]
    command = ["gcc", "-E", "-dM", "-xc", "-", *(f"-I{folder}" for folder in (*folders, tree / "lib/lwip/src/include"))]
    text = subprocess.run(command, input='#include "lwip/opt.h"', capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2)[1:] for line in text.splitlines())
    return {name: value for name, *value in rows if not name.startswith(NOT_LWIP)}


@pytest.mark.parametrize("name", [name for name, board in image.BOARDS.items() if board.port == "rp2"])
def test_lwip_is_the_same_in_what_users_build_and_in_what_the_tests_run(tree, tmp_path, name):
    # All that lwIP takes from MicroPython's configuration is the board's.
    (tmp_path / "py").mkdir()
    (tmp_path / "py" / "mpconfig.h").write_text('#include "mpconfigboard.h"\n', encoding="utf-8")
    (tmp_path / "variant.h").write_text(build.Variant().header, encoding="utf-8")

    users = macros(tree, tmp_path, BOARDS / name, BOARDS / "lwip")
    assert users["MEMP_NUM_TCP_PCB"] == [f"({build.OUR_PCBS})"]
    assert users == macros(tree, tmp_path, BOARDS, EMULATED / "lwip", BOARDS / "lwip", EMULATED)
