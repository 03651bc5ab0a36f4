"""make flash of a UF2 image: with a configuration beside it, onto a drive, or by picotool."""

import hashlib
import json
import struct

import pytest

from host_tests import uf2_drive
from host_tests.uf2_drive import FLASH
from tools import littlefs_files
from tools.device import rp2, versions
from tools.device.__main__ import main
from tools.device.port import UsageError

RP2040, RP2350 = 0xE48BFF56, 0xE48BFF59
FILES_AT, FILES_SIZE = 0x30000, 0x20000


def program(place=FLASH + FILES_AT, size=FILES_SIZE, within=b"\0firmware/app.py\0meterport 0.1.0\0"):
    """A program as pico-sdk and MicroPython lay it out: binary info with two entries, the second the block device."""
    info = struct.pack("<IIIII", 0x7188EBF2, FLASH + 0x300, FLASH + 0x308, 0, 0xE71AA390)
    other = struct.pack("<2sHII", b"\x06\0", 0x5052, 0x02031C86, FLASH + 0x380)
    device = struct.pack("<HHIIIIH", 7, 0x504D, FLASH + 0x390, place, size, 0, 3)
    pointers = struct.pack("<II", FLASH + 0x320, FLASH + 0x340)
    flash = bytearray(0x1000)
    for at, piece in ((0x1D4, info), (0x300, pointers), (0x320, other), (0x340, device), (0x390, b"MicroPython\0")):
        flash[at : at + len(piece)] = piece
    return bytes(flash) + within


def uf2(flash=None, family=RP2040):
    """The UF2 image of a program; that of an RP2350 begins as picotool makes it."""
    flash = program() if flash is None else flash
    pieces = [(FLASH + at, flash[at : at + 256].ljust(256, b"\0")) for at in range(0, len(flash), 256)]
    first = b""
    if family == RP2350:
        first = rp2.make_uf2([(0x10FFFF00, b"\xef" * 256)], uf2_drive.ABSOLUTE)
    return first + rp2.make_uf2(pieces, family)


# -- image and configuration in one file


@pytest.mark.parametrize("family", [RP2040, RP2350])
def test_one_file_has_the_image_and_the_configuration_where_the_image_says(family):
    files = {"data/config.json": b'{"name": "attic"}', "data/boards/mine.json": b"{}"}
    flash = bytearray(b"\x5a" * (FILES_AT + FILES_SIZE))
    uf2_drive.copy(rp2.with_files(uf2(family=family), files), flash, family)
    assert flash[: len(program())] == program()
    assert littlefs_files.read(flash[FILES_AT:]) == files


@pytest.mark.parametrize("family", [RP2040, RP2350])
def test_the_file_is_whole_and_the_block_of_e10_stays_first(family):
    image = rp2.with_files(uf2(family=family), {"data/config.json": b"{}"})
    numbers = [struct.unpack_from("<II", block, 20) for block in uf2_drive.blocks(image)]
    if family == RP2350:
        assert uf2_drive.blocks(image)[0] == uf2_drive.blocks(uf2(family=family))[0]
        numbers = numbers[1:]
    assert numbers == [(k, len(numbers)) for k in range(len(numbers))]
    assert rp2.uf2_chip(image) == rp2.FAMILIES[family]


def test_blocks_that_the_file_system_does_not_use_are_not_written():
    image = rp2.with_files(uf2(), {"data/config.json": b"{}"})
    assert len(uf2_drive.blocks(image)) - len(uf2_drive.blocks(uf2())) < FILES_SIZE // 256 // 2


@pytest.mark.parametrize(
    ("flash", "message"),
    [
        (program(within=b"MicroPython"), "no firmware within .* make deploy PORT"),
        (program().replace(b"\xf2\xeb\x88\x71", bytes(4)), "does not say where its file system lies.* mpremote mkdir"),
        (program().replace(b"\x07\0MP", b"\x07\0XX"), "does not say where its file system lies"),
        (program(place=FLASH), "file system at 0x10000000, where it cannot be"),
        (program(place=FLASH + FILES_AT + 256), "where it cannot be"),
        (program(size=4096 + 256), "where it cannot be"),
        (program(size=0), "where it cannot be"),
    ],
)
def test_an_image_whose_file_system_is_not_known_takes_no_configuration(flash, message):
    with pytest.raises(UsageError, match=message):
        rp2.with_files(uf2(flash), {"data/config.json": b"{}"})


@pytest.mark.parametrize(
    "content",
    [
        b"", b"UF2\n", uf2()[:700], uf2()[:-512], uf2()[512:], uf2(family=0x12345678), uf2() + uf2(family=RP2350),
        uf2()[:-4] + bytes(4),
        rp2.make_uf2([(0x20000000, bytes(256))], RP2040),
    ],
)  # fmt: skip
def test_what_is_no_whole_uf2_of_a_known_chip_is_refused(content):
    with pytest.raises(UsageError):
        rp2.program(content)


# -- onto the board


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "meterport.uf2"
    path.write_bytes(uf2())
    return path


@pytest.fixture
def drives(tmp_path):
    for name, board in (("a", "RPI-RP2"), ("b", "RP2350")):
        folder = tmp_path / "media" / name
        folder.mkdir(parents=True)
        (folder / "INFO_UF2.TXT").write_text(f"UF2 Bootloader v3.0\r\nModel: Raspberry Pi\r\nBoard-ID: {board}\r\n")
    return tmp_path / "media"


@pytest.fixture
def picotool(tmp_path, monkeypatch):
    """picotool(TEXT) puts a program of that name on the PATH, which shows TEXT for `info` and records its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def install(shows):
        path = folder / "picotool"
        path.write_text(
            f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\ncase $1 in info) printf "{shows}";;'
            f" load) cp $4 {tmp_path}/loaded;; esac\n"
        )
        path.chmod(0o755)
        return lambda: (tmp_path / "calls").read_text().splitlines()

    return install


@pytest.mark.parametrize(("family", "drive"), [(RP2040, "a"), (RP2350, "b")])
def test_a_uf2_goes_to_the_drive_of_its_chip(image, drives, family, drive):
    image.write_bytes(uf2(family=family))
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(drives)]) == 0
    [copied] = drives.rglob("*.uf2")
    assert (copied.parent.name, copied.read_bytes()) == (drive, image.read_bytes())


def test_a_uf2_for_a_chip_that_is_not_there_is_copied_nowhere(image, drives, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # without picotool
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(drives / "b")]) == 2
    assert "no RP2040 in BOOTSEL" in capsys.readouterr().err
    assert not list(drives.rglob("*.uf2"))


def test_a_uf2_is_known_by_what_is_in_it(image, drives):
    other = image.rename(image.with_suffix(".bin"))
    assert main(["flash", "--image", str(other), "--yes", "--drive", str(drives)]) == 0
    assert (drives / "a" / "meterport.bin").read_bytes() == other.read_bytes()


def test_a_configuration_goes_with_the_image(image, drives, tmp_path, capsys):
    config = tmp_path / "config.json"
    config.write_text('{"name": "attic"}')
    arguments = ["flash", "--image", str(image), "--yes", "--drive", str(drives), "--board", "pico-w"]
    assert main([*arguments, "--config", str(config)]) == 0
    assert f"file system ({FILES_SIZE:,} bytes at {FILES_AT:#x}) is replaced by one with data/config.json" in (
        capsys.readouterr().out
    )
    flash = bytearray(FILES_AT + FILES_SIZE)
    uf2_drive.copy((drives / "a" / image.name).read_bytes(), flash, RP2040)
    assert json.loads(littlefs_files.read(flash[FILES_AT:])["data/config.json"]) == {"name": "attic", "board": "pico-w"}


def test_a_board_of_another_chip_is_refused(image, drives, capsys):
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(drives), "--board", "wt32-eth01"]) == 2
    assert "wt32-eth01 is a board of esp32, and the image is for RP2040" in capsys.readouterr().err
    assert not list(drives.rglob("*.uf2"))


@pytest.mark.parametrize(
    ("machine", "board", "takes"),
    [
        ("meterport, 16 sockets, W5500", "pico-w", "pico-w takes METERPORT_PICO_W"),
        ("W5500-EVB-Pico", "pico-w", "pico-w takes METERPORT_PICO_W"),
        ("meterport, 16 sockets", "w5500-evb-pico", "w5500-evb-pico takes METERPORT_W5500_EVB_PICO"),
        ("meterport, 16 sockets", "pico-w", ""),
        ("meterport, 16 sockets, W5500", "w5500-evb-pico", ""),
    ],
)
def test_an_image_for_another_network_is_refused(machine, board, takes, image, drives, capsys):
    image.write_bytes(uf2(program() + machine.encode() + b" with RP2040\0"))
    arguments = ["flash", "--image", str(image), "--yes", "--drive", str(drives), "--board", board]
    assert main(arguments) == (2 if takes else 0)
    assert takes in capsys.readouterr().err
    assert len(list(drives.rglob("*.uf2"))) == (0 if takes else 1)


def test_picotool_loads_where_no_drive_is_mounted(image, tmp_path, picotool):
    calls = picotool("Device Information\\n type:        RP2040\\n")
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(tmp_path / "none")]) == 0
    *info, load = calls()
    assert set(info) == {"info -d"}
    assert load.startswith("load -v -x /")
    assert (tmp_path / "loaded").read_bytes() == image.read_bytes()


@pytest.mark.parametrize("shows", ["Device Information\\n type:  RP2350\\n", "", " type: RP2040\\n type: RP2040\\n"])
def test_picotool_loads_nothing_onto_another_chip_or_one_of_several(image, tmp_path, picotool, shows, capsys):
    calls = picotool(shows)
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(tmp_path / "none")]) == 2
    assert set(calls()) == {"info -d"}
    assert "the image is for one RP2040" in capsys.readouterr().err


@pytest.mark.parametrize("is_mounted", [True, False])
@pytest.mark.parametrize(("size", "is_taken"), [("192K", False), ("320K", True), ("2048K", True)])
def test_an_image_that_needs_more_flash_than_the_board_has_is_refused(
    image, drives, picotool, capsys, size, is_taken, is_mounted
):
    """The file system of the program ends at 320 KiB."""
    calls = picotool(f"Device Information\\n type:        RP2040\\n flash size:   {size}\\n")
    where = drives if is_mounted else drives / "none"
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(where)]) == (0 if is_taken else 2)
    if not is_taken:
        assert "the board has 196,608 bytes of flash, and 327,680 are needed: nothing" in capsys.readouterr().err
        assert calls() == ["info -d", "reboot"]
    assert len(list(drives.rglob("*.uf2"))) == (is_taken and is_mounted)


def test_without_picotool_the_flash_that_is_needed_is_said(image, drives, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(drives)]) == 0
    assert "needs 327,680 bytes of flash; whether the board has them, only picotool" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("machine", "error"),
    [
        ("meterport, 16 sockets with RP2350", "is a meterport, 16 sockets with RP2350, and the image is for RP2040"),
        ("W5500-EVB-Pico with RP2040", "and the image is for a meterport, 16 sockets"),
        ("Generic ESP32 module with ESP32", "and the image is for RP2040"),
        ("Raspberry Pi Pico W with RP2040", ""),
        ("", ""),
    ],
)
def test_a_board_that_is_another_one_is_refused_before_it_is_put_into_bootsel(
    machine, error, image, drives, monkeypatch, capsys
):
    called = []
    image.write_bytes(uf2(program() + b"meterport, 16 sockets with RP2040\0"))
    for module in (rp2, versions):
        monkeypatch.setattr(module, "call", called.append)
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard((0, 0, 9), machine=machine))
    arguments = ["flash", "--image", str(image), "--yes", "--drive", str(drives), "--port", "socket://x:1"]
    assert main(arguments) == (2 if error else 0)
    assert error in capsys.readouterr().err
    assert [command[-1] for command in called] == (["reset"] if error else ["bootloader"])
    assert len(list(drives.rglob("*.uf2"))) == (0 if error else 1)


def test_a_board_at_a_port_is_put_into_bootsel(image, drives, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(rp2, "call", called.append)
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard((0, 0, 9), b"abcdefgh2345"))
    assert main(["flash", "--image", str(image), "--yes", "--drive", str(drives), "--port", "socket://x:1"]) == 0
    assert [command[3:] for command in called] == [["connect", "socket://x:1", "resume", "bootloader"]]
    assert "firmware: 0.0.9 on the board -> 0.1.0" in capsys.readouterr().out
    assert (drives / "a" / image.name).read_bytes() == image.read_bytes()


def test_a_board_that_stays_in_bootsel_is_said(image, drives, monkeypatch, capsys, tmp_path):
    """Nobody has mounted its drive."""
    monkeypatch.setenv("PATH", str(tmp_path))  # without picotool
    monkeypatch.setattr(rp2, "_BOOTSEL_S", 0)
    monkeypatch.setattr(rp2, "call", lambda command: None)
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard((0, 0, 9)))
    arguments = ["flash", "--image", str(image), "--yes", "--drive", str(drives / "b"), "--port", "socket://x:1"]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "no RP2040 in BOOTSEL" in said.err
    assert "the board may wait in BOOTSEL now: mount its drive" in said.out


def test_the_password_on_the_label_outlasts_a_new_file_system(image, drives, monkeypatch):
    monkeypatch.setattr(rp2, "call", lambda command: None)
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard((0, 0, 9), b"abcdefgh2345"))
    arguments = ["flash", "--image", str(image), "--yes", "--drive", str(drives), "--port", "socket://x:1"]
    assert main([*arguments, "--board", "pico-w"]) == 0
    flash = bytearray(FILES_AT + FILES_SIZE)
    uf2_drive.copy((drives / "a" / image.name).read_bytes(), flash, RP2040)
    assert littlefs_files.read(flash[FILES_AT:])["label/wifi"] == b"abcdefgh2345"


def test_a_gateway_that_was_interrupted_runs_again_when_nobody_agrees(image, drives, monkeypatch):
    called = []
    monkeypatch.setattr(versions, "call", called.append)
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard((0, 0, 9), b"abcdefgh2345"))
    with pytest.raises(UsageError, match="not confirmed"):
        rp2.flash_uf2(image, port="socket://x:1", drives=[drives], is_agreed=lambda: False, say=lambda text: None)
    assert [command[3:] for command in called] == [["connect", "socket://x:1", "resume", "reset"]]
    assert not list(drives.rglob("*.uf2"))


def test_a_dry_run_says_both_ways_and_writes_nothing(image, drives, capsys):
    assert main(["flash", "--image", str(image), "--drive", str(drives), "--board", "pico-w", "--dry-run"]) == 0
    assert "copied to its drive, or: picotool load -v -x meterport.uf2" in capsys.readouterr().out
    assert not list(drives.rglob("*.uf2"))


def test_an_image_that_is_not_as_its_sum_says_is_refused(image, drives, capsys):
    arguments = ["flash", "--image", str(image), "--yes", "--drive", str(drives)]
    sums = image.with_name(image.name + ".sha256")
    sums.write_text(f"{'0' * 64}  {image.name}\n")
    assert main(arguments) == 2
    assert f"is not as {sums.name} says" in capsys.readouterr().err
    assert not list(drives.rglob("*.uf2"))
    sums.write_text(f"{hashlib.sha256(image.read_bytes()).hexdigest()}  {image.name}\n")
    assert main(arguments) == 0
