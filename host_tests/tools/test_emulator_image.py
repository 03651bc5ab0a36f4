"""The flash image of the emulated Pico, and the options of `make emulate`; nothing here needs the emulator itself."""

import pytest

from tools import sim
from tools.emulator import __main__ as emulate
from tools.emulator import build, image


@pytest.fixture
def firmware(tmp_path):
    path = tmp_path / "firmware.bin"
    path.write_bytes(b"program")
    return path


def test_files_come_back_from_the_image(tmp_path, firmware):
    files = {"main.py": b"1", "firmware/net/seam.mpy": bytes(range(256)) * 40, "data/config.json": b"{}", "e": b""}
    target = tmp_path / "new" / "flash.bin"
    image.make(target, firmware, files)
    assert image.read(target) == files


def test_the_program_lies_at_the_beginning_and_the_files_behind_it(tmp_path, firmware):
    image.make(tmp_path / "flash.bin", firmware, {"x": b"y"})
    data = (tmp_path / "flash.bin").read_bytes()
    assert len(data) == image.FLASH_BYTES == 4 * 1024 * 1024
    assert data[:8] == b"program\xff"
    assert b"littlefs" in data[image.STORAGE_AT : image.STORAGE_AT + 64]


def test_too_many_files_are_refused_with_their_size(tmp_path, firmware):
    files = {f"f{number}": b"x" * 100_000 for number in range(27)}
    with pytest.raises(image.ImageError, match="2,700,000 bytes in 27 files do not fit"):
        image.make(tmp_path / "flash.bin", firmware, files)


def test_a_program_that_reaches_into_the_files_is_refused(tmp_path, firmware):
    firmware.write_bytes(b"x" * (image.STORAGE_AT + 1))
    with pytest.raises(image.ImageError, match=f"{image.STORAGE_AT} have room"):
        image.make(tmp_path / "flash.bin", firmware, {})


@pytest.mark.parametrize("content", [b"short", b"\xff" * image.FLASH_BYTES], ids=["short", "erased"])
def test_what_is_no_image_is_said_so(tmp_path, content):
    path = tmp_path / "flash.bin"
    path.write_bytes(content)
    with pytest.raises(image.ImageError, match=r"flash\.bin"):
        image.read(path)


def test_the_configuration_is_a_valid_one_for_the_chip():
    from firmware.config import load as schema

    config = emulate.configuration({"meters": [], "name": "mine"})
    assert (config["http"]["port"], config["modbus"]["port"]) == (80, 502)
    assert config["buses"] == [{"uart": 1, "baud": 19200, "framing": "8N1"}]
    assert (config["name"], config["meters"]) == ("mine", [])
    assert schema.validate(config)[1] == []


def test_a_port_that_is_not_forwarded_is_refused():
    with pytest.raises(sim.SimError, match=r"http\.port: 81 is not 80"):
        emulate.configuration({"http": {"port": 81}})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--http-port", "70000"], "must be 0..65535"),
        (["--http-port", "8000", "--modbus-port", "8000"], "cannot both have port 8000"),
    ],
    ids=["no port", "same port"],
)
def test_a_wrong_option_ends_with_2_and_says_what_would_be_right(capsys, arguments, text):
    with pytest.raises(SystemExit) as ended:
        emulate.parse(arguments)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("pcbs", [0, 4, 65])
def test_a_number_of_connections_that_lwip_cannot_have_is_refused(pcbs):
    with pytest.raises(ValueError, match=r"5\.\.64"):
        build.ensure_firmware(pcbs)
