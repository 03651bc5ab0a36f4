"""make flash of a UF2 image."""

import struct

import pytest

from tools.device import rp2
from tools.device.__main__ import main
from tools.device.port import UsageError


def uf2(family, blocks=2, count=2):
    block = struct.pack("<IIIIIIII", 0x0A324655, 0x9E5D5157, 0x2000, 0x10000000, 256, 0, count, family)
    return block.ljust(512, b"\0") * blocks


@pytest.fixture
def drives(tmp_path):
    for name, board in (("a", "RPI-RP2"), ("b", "RP2350")):
        folder = tmp_path / "media" / name
        folder.mkdir(parents=True)
        (folder / "INFO_UF2.TXT").write_text(f"UF2 Bootloader v3.0\r\nModel: Raspberry Pi\r\nBoard-ID: {board}\r\n")
    return tmp_path / "media"


@pytest.mark.parametrize(("family", "drive"), [(0xE48BFF56, "a"), (0xE48BFF59, "b")])
def test_a_uf2_goes_to_the_drive_of_its_chip(tmp_path, drives, family, drive):
    path = tmp_path / "meterport.uf2"
    path.write_bytes(uf2(family))
    assert main(["flash", "--image", str(path), "--yes", "--drive", str(drives)]) == 0
    assert [file.parent.name for file in drives.rglob("*.uf2")] == [drive]


def test_a_uf2_for_a_chip_that_is_not_there_is_copied_nowhere(tmp_path, drives, capsys):
    path = tmp_path / "meterport.uf2"
    path.write_bytes(uf2(0xE48BFF56))
    assert main(["flash", "--image", str(path), "--yes", "--drive", str(drives / "b")]) == 2
    assert "no RP2040 in BOOTSEL" in capsys.readouterr().err
    assert not list(drives.rglob("*.uf2"))


@pytest.mark.parametrize("content", [uf2(0x12345678), uf2(0xE48BFF56, 1), b"UF2\n", uf2(0xE48BFF56)[:700]])
def test_what_is_no_whole_uf2_of_a_known_chip_is_refused(content):
    with pytest.raises(UsageError):
        rp2.uf2_chip(content)
