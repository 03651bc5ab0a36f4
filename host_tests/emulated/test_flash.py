"""A UF2 image with a configuration, as make flash copies it to the drive: laid into the flash of the emulated RP2040 as
its boot ROM would, it starts the firmware with this configuration."""

import json

import pytest

import firmware
from host_tests import uf2_drive
from host_tests.system.rig import HOST
from tools.device import rp2, versions
from tools.device_api import Device
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated, image

pytestmark = pytest.mark.timeout(900)

RP2040 = 0xE48BFF56
LABEL = b"abcdefgh2345"
READY_S = 240
ANSWER_S = 60


@pytest.fixture(scope="module")
def program():
    return build.ensure_firmware(build.Variant(frozen=True)).read_bytes()


@pytest.fixture(scope="module")
def uf2(program):
    pages = range(0, len(program), uf2_drive.PAGE)
    pieces = [(uf2_drive.FLASH + at, program[at : at + uf2_drive.PAGE].ljust(uf2_drive.PAGE, b"\0")) for at in pages]
    return rp2.make_uf2(pieces, RP2040)


def test_the_image_says_where_the_file_system_is_and_which_firmware_is_within(program, uf2):
    place = rp2.file_system_place(rp2.program(uf2))
    assert (place.offset, place.offset + place.size) == (image.STORAGE_AT, image.FLASH_BYTES)
    assert versions.has_firmware(program)
    assert versions.in_image(program) == firmware.VERSION


def test_the_firmware_runs_with_the_configuration_that_came_in_the_same_file(uf2, program, tmp_path):
    config = emulate.configuration({"name": "flashed with it", "meters": []})
    files = {"data/config.json": json.dumps(config).encode(), versions.LABEL: LABEL}
    before = {"data/config.json": b'{"name": "before"}', "data/crash": b"stale" * 5000}
    flash = bytearray(program.ljust(image.STORAGE_AT, b"\0") + image.make_storage(before))
    uf2_drive.copy(rp2.with_files(uf2, files), flash, RP2040)
    folder = tmp_path / "chip"
    folder.mkdir()
    (folder / "flash.bin").write_bytes(flash)
    with emulated.Emulator(folder, ports={"http": 0, "modbus": 0}) as chip:
        chip.network.wait_up(READY_S, 1)
        with Device(
            HOST, timeout=ANSWER_S, connect=lambda: chip.network.connect(chip.ports["http"], ANSWER_S)
        ) as device:
            assert device.session()["name"] == "flashed with it"
        found = versions.on_board(f"socket://{HOST}:{chip.repl_port}", print)
        assert found == versions.OnBoard(firmware.VERSION, LABEL, "Emulated Pico, meterport with RP2040")
    kept = image.read(folder / "flash.bin")
    assert json.loads(kept["data/config.json"]) == config
    assert "data/crash" not in kept
