"""Variants of the emulated firmware: what an image's name depends on, and what is built again. Nothing is compiled."""

import argparse
import os
import re
import shutil

import pytest

from tools import sources, steps
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated, variant
from tools.emulator.build import Variant


def quiet(text):
    pass


# Variants


def test_images_of_users_and_tests_have_the_same_number_of_connections():
    text = build._LWIP_BEFORE.read_text(encoding="utf-8")
    assert re.findall(r"#define MEMP_NUM_TCP_PCB \((\d+)\)", text) == [str(build.OUR_PCBS)]
    assert Variant().tcp_pcbs == build.OUR_PCBS


def test_a_stock_image_has_none_of_our_options():
    assert Variant(build.STOCK_PCBS).header.splitlines() == [
        "#pragma once",
        '#define METERPORT_BOARD_NAME "Emulated Pico, stock"',
    ]


def test_any_other_image_has_our_options_and_its_own_number():
    header = Variant(16).header
    assert "#define MEMP_NUM_TCP_PCB (16)" in header
    assert '#include "lwip_for_16_sockets.h"' in header
    assert '"Emulated Pico, meterport"' in header


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((4,), r"tcp_pcbs 4 is not one of 5\.\.64"),
        ((5, False, "1.24"), r"micropython 1\.24 is not one of 1\.25, 1\.26"),
        ((5, False, "1.25", 512), r"ram_kib 512 is not one of 264, 520"),
    ],
)
def test_an_image_that_cannot_be_is_refused(values, text):
    with pytest.raises(ValueError, match=text):
        Variant(*values)


def test_a_bare_number_is_one_of_connections():
    assert Variant.of(16) == Variant(16, False, "1.25")
    assert Variant.of(Variant(16)) == Variant(16)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], Variant(24, True, "1.25")),
        (["--tcp-pcbs", "5", "--files"], Variant(5, False, "1.25")),
        (["--micropython", "1.26"], Variant(24, True, "1.26")),
        (["--ram", "520"], Variant(24, True, "1.25", 520)),
    ],
)
def test_the_command_line_names_a_variant(words, wanted):
    parser = argparse.ArgumentParser()
    variant.add_options(parser)
    assert variant.from_options(parser.parse_args(words)) == wanted
    assert variant.from_options(emulate.parse(words)) == wanted


SCRIPT = """MEMORY
{
    FLASH(rx) : ORIGIN = 0x10000000, LENGTH = 2048k
    RAM(rwx) : ORIGIN =  0x20000000, LENGTH = 256k
    SCRATCH_X(rwx) : ORIGIN = 0x20040000, LENGTH = 4k
    SCRATCH_Y(rwx) : ORIGIN = 0x20041000, LENGTH = 4k
}
"""


def test_the_larger_ram_is_in_the_linker_script_and_the_smaller_one_is_the_ports():
    assert Variant().linker_script(SCRIPT) == SCRIPT
    assert Variant(ram_kib=520).linker_script(SCRIPT).splitlines()[2:6] == [
        "    FLASH(rx) : ORIGIN = 0x10000000, LENGTH = 2048k",
        "    RAM(rwx) : ORIGIN =  0x20000000, LENGTH = 512k",
        "    SCRATCH_X(rwx) : ORIGIN = 0x20080000, LENGTH = 4k",
        "    SCRATCH_Y(rwx) : ORIGIN = 0x20081000, LENGTH = 4k",
    ]


def test_a_linker_script_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="the port's linker script does not say: RAM"):
        Variant(ram_kib=520).linker_script(SCRIPT.replace("256k", "200k"))


def test_every_release_has_sources():
    assert tuple(sources.RELEASES) == variant.RELEASES
    assert len({release.name for release in sources.RELEASES.values()}) == len(variant.RELEASES)


# Names


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board definition and lwIP options of the test's own, a compiler that is not asked, two modules to freeze."""
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "mpconfigboard.h").write_text("1", encoding="utf-8")
    (tmp_path / "lwip.h").write_text("1", encoding="utf-8")
    (tmp_path / "lwipopts.h").write_text("1", encoding="utf-8")
    modules = [tmp_path / "a.py", tmp_path / "b.py"]
    for path in modules:
        path.write_text("1", encoding="utf-8")
    monkeypatch.setattr(build, "_BOARD_DIR", folder)
    monkeypatch.setattr(build, "_LWIP_BEFORE", tmp_path / "lwip.h")
    monkeypatch.setattr(build, "_LWIP_BEHIND", tmp_path / "lwipopts.h")
    monkeypatch.setattr(build, "_compiler_version", lambda: b"gcc 12")
    monkeypatch.setattr(build.device, "frozen_manifest", lambda machine_code: ("freeze()", modules))
    return tmp_path


ALL = [Variant(), Variant(16), Variant(5), Variant(frozen=True), Variant(5, True), Variant(micropython="1.26")]
ALL += [Variant(ram_kib=520), Variant(frozen=True, ram_kib=520)]


def test_every_variant_has_a_name_of_its_own_which_stays(board):
    names = [build.firmware_name(wanted) for wanted in ALL]
    assert len(set(names)) == len(ALL)
    assert names == [build.firmware_name(wanted) for wanted in ALL]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("board/mpconfigboard.h", set(ALL)),
        ("board/new/file.h", set(ALL)),
        ("lwip.h", set(ALL)),
        ("lwipopts.h", set(ALL)),
        ("b.py", {wanted for wanted in ALL if wanted.frozen}),
    ],
)
def test_what_goes_into_an_image_is_in_its_name(board, name, changed):
    before = {wanted: build.firmware_name(wanted) for wanted in ALL}
    (board / name).parent.mkdir(exist_ok=True)
    (board / name).write_text("2", encoding="utf-8")
    assert {wanted for wanted in ALL if build.firmware_name(wanted) != before[wanted]} == changed


def test_the_place_of_the_checkout_is_not_in_an_images_name(board, tmp_path, monkeypatch):
    def names(root):
        monkeypatch.setattr(build.device, "ROOT", root)
        monkeypatch.setattr(build.device, "frozen_manifest", lambda machine_code: (f"freeze({str(root)!r})", []))
        monkeypatch.setattr(build, "_BOARD_DIR", shutil.copytree(board / "board", root / "board"))
        return [build.firmware_name(wanted) for wanted in ALL]

    assert names(tmp_path / "one") == names(tmp_path / "two")


def test_another_compiler_is_another_image(board, monkeypatch):
    before = build.firmware_name(Variant())
    monkeypatch.setattr(build, "_compiler_version", lambda: b"gcc 13")
    assert build.firmware_name(Variant()) != before


def test_the_variants_of_a_release_share_a_directory(board):
    assert len({build._work_name(wanted) for wanted in ALL}) == 2


# Building


class Workshop:
    """Stands in for the steps of a build: writes down which ran, and makes an image of the variant's header."""

    def __init__(self, cache):
        self.cache = cache
        self.ran = []
        self.broken = False

    def run(self, what, command, folder, epoch="0"):
        self.ran.append(what)
        if what == "objcopy":
            (folder / "firmware.bin").write_bytes((folder / "firmware.elf").read_bytes())

    def make(self, command, folder, epoch, on_line):
        self.ran.append("make")
        (folder / "object.o").write_text("half")
        if self.broken:
            raise steps.BuildError("make failed")
        header, manifest = (folder / "variant" / name for name in ("variant.h", "manifest.py"))
        (folder / "firmware.elf").write_bytes(header.read_bytes() + manifest.read_bytes())

    def ensure(self, wanted):
        """The steps that ran, and the image."""
        self.ran.clear()
        image = build.ensure_firmware(wanted, quiet, self.cache)
        return list(self.ran), image.read_text(encoding="utf-8")

    def fail(self, wanted, progress):
        raise steps.BuildError("make failed")

    @property
    def work(self):
        (folder,) = self.cache.glob("work-*")
        return folder


@pytest.fixture
def workshop(board, monkeypatch):
    workshop = Workshop(board / "cache")
    port = workshop.cache / "tree" / "ports" / "rp2"
    port.mkdir(parents=True)
    (port / "memmap_mp_rp2040.ld").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setattr(build, "ensure_tools", quiet)
    monkeypatch.setattr(sources, "ensure", lambda release, progress: workshop.cache / "tree")
    monkeypatch.setattr(steps, "run", workshop.run)
    monkeypatch.setattr(steps, "make", workshop.make)
    return workshop


FIRST, NEXT = ["cmake", "make", "objcopy"], ["make", "objcopy"]


def test_only_the_first_build_is_configured_and_existing_images_are_kept(workshop):
    assert workshop.ensure(5) == (FIRST, Variant(5).header + build._PLAIN_MANIFEST)
    assert workshop.ensure(24) == (NEXT, Variant(24).header + build._PLAIN_MANIFEST)
    assert workshop.ensure(Variant(frozen=True)) == (NEXT, Variant().header + "freeze()")
    assert workshop.ensure(5) == ([], Variant(5).header + build._PLAIN_MANIFEST)
    assert workshop.ensure(Variant(5, ram_kib=520)) == (NEXT, Variant(5, ram_kib=520).header + build._PLAIN_MANIFEST)
    assert "LENGTH = 512k" in (workshop.work / "variant" / "memmap.ld").read_text(encoding="utf-8")


def test_an_unchanged_header_keeps_its_age_and_modules_are_frozen_again(workshop):
    workshop.ensure(24)
    header = workshop.work / "variant" / "variant.h"
    os.utime(header, (1, 1))
    (workshop.work / "frozen_mpy").mkdir()
    workshop.ensure(Variant(frozen=True))
    assert header.stat().st_mtime == 1
    assert not (workshop.work / "frozen_mpy").exists()


def test_after_a_build_that_failed_the_next_one_begins_anew(workshop):
    workshop.ensure(24)
    workshop.broken = True
    with pytest.raises(build.BuildError, match="make failed"):
        workshop.ensure(5)
    assert not (workshop.cache / build.firmware_name(Variant(5))).exists()

    workshop.broken = False
    (workshop.work / "left over").touch()
    assert workshop.ensure(5)[0] == FIRST
    assert not (workshop.work / "left over").exists()


def test_in_a_cache_that_was_moved_the_next_build_begins_anew(workshop):
    workshop.ensure(24)
    workshop.cache = workshop.cache.rename(workshop.cache.with_name("elsewhere"))
    assert workshop.ensure(24)[0] == []
    assert workshop.ensure(5)[0] == FIRST


def test_the_build_sees_copies_of_the_definitions(workshop):
    workshop.ensure(24)
    assert (workshop.work / "board" / "mpconfigboard.h").read_text(encoding="utf-8") == "1"
    for header in (build._LWIP_BEFORE, build._LWIP_BEHIND):
        header.write_text("2", encoding="utf-8")
        assert workshop.ensure(24)[0] == NEXT
        assert (workshop.work / "variant" / header.name).read_text(encoding="utf-8") == "2"
    workshop.ensure(build.STOCK_PCBS)
    copy = workshop.work / "variant" / build._LWIP_BEHIND.name
    assert copy.read_text(encoding="utf-8") == '#include_next "lwipopts.h"\n', "a stock image has lwIP's own"


def test_only_the_last_used_images_are_kept(workshop):
    for pcbs in range(10, 10 + build._KEEP):
        workshop.ensure(pcbs)
        os.utime(workshop.cache / build.firmware_name(Variant(pcbs)), (pcbs, pcbs))
    workshop.ensure(10)  # used again
    workshop.ensure(9)
    names = {pcbs: build.firmware_name(Variant(pcbs)) for pcbs in range(9, 10 + build._KEEP)}
    kept = {pcbs for pcbs, name in names.items() if (workshop.cache / name).exists()}
    assert kept == {9, 10, *range(12, 10 + build._KEEP)}


def test_a_wrong_variant_and_a_failed_build_end_with_1(workshop, monkeypatch, capsys):
    assert build.main(["--tcp-pcbs", "3"]) == 1
    assert "tcp_pcbs 3 is not one of 5..64" in capsys.readouterr().err
    monkeypatch.setattr(build, "ensure_firmware", workshop.fail)
    assert build.main([]) == 1
    assert capsys.readouterr().err == "make failed\n"


def test_the_percentages_of_the_build_are_passed_on_every_ten():
    said = []
    on_line = build._percent(said.append)
    for line in ["[  1%] a", "[ 12%] b", "[ 19%] c", "none", "[ 40%] d", "[100%] e"]:
        on_line(line)
    assert said == [f"emulator: {percent} %" for percent in (12, 40, 100)]


def test_an_image_with_the_firmware_within_needs_no_file_of_it():
    assert list(emulated.device_files({"name": "x"}, quiet, frozen=True)) == ["data/config.json"]
