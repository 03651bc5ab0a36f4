"""make flash, by esptool itself against a virtual ESP32 boot loader; the ESP Web Tools page."""

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from esptool.loader import StubFlasher
from esptool.targets import CHIP_DEFS, ESP32ROM

from host_tests import esp_image
from host_tests.esp_boot_loader import BootLoader
from host_tests.esp_image import OFFSET, VFS_AT, VFS_SIZE
from tools import image as images
from tools import littlefs_files, micropython
from tools.device import configuration, esp32, versions, web_installer
from tools.device.__main__ import main
from tools.device.port import DeviceError, UsageError, call
from tools.partition_table import APP, Row

# A pseudo-terminal has no RTS and no DTR.
OPTIONS = ("--before", "no-reset", "--after", "no-reset")
WAYS = {"by the stub": OPTIONS, "by the ROM": (*OPTIONS, "--no-stub")}
MADE_FOR_ESP32S2 = 2
ROM_BLOCK, STUB_BLOCK = 0x400, 0x4000  # bytes of a block of data


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "meterport.bin"
    path.write_bytes(esp_image.make())
    return path


@pytest.fixture(autouse=True)
def silent_board(monkeypatch):
    """The boot loader is no MicroPython, and mpremote takes ten seconds to find that out."""
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard())


def flash(port, image, config=b"{}", options=OPTIONS):
    """What make flash says."""
    lines = []
    esp32.flash(port, image, {configuration.PATH: config}, is_agreed=lambda: True, options=options, say=lines.append)
    return "\n".join(lines)


@pytest.fixture(params=list(WAYS))
def options(request):
    """Options of esptool: as make flash calls it, which loads a stub into the chip's RAM, and without the stub."""
    return WAYS[request.param]


def test_image_and_configuration_are_in_the_flash_as_a_whole(image, options):
    config = configuration.document({}, "wt32-eth01", "home", "correct horse")
    with BootLoader() as loader:
        text = flash(loader.path, image, config, options)
        written = bytes(loader.flash)
        assert loader.is_stub == (options is OPTIONS)
    content = image.read_bytes()
    assert written[OFFSET : OFFSET + len(content)] == content
    assert written[:OFFSET] == b"\x5a" * OFFSET
    assert littlefs_files.read(written[VFS_AT : VFS_AT + VFS_SIZE]) == {"data/config.json": config}
    assert json.loads(config) == {
        "board": "wt32-eth01", "network": {"link": "wifi", "ssid": "home", "password": "correct horse"},
    }  # fmt: skip
    assert "correct horse" not in text


@pytest.mark.parametrize("board", ["METERPORT_ESP32", "METERPORT_ESP32_S3"])
def test_our_own_tables_take_a_configuration_and_start_the_first_slot(image, board):
    rows = {row.label: row for row in images.partitions(board)}
    image.write_bytes(esp_image.make(rows=rows.values()))
    with BootLoader(size=8 << 20) as loader:
        flash(loader.path, image, b'{"name": "attic"}')
        written = bytes(loader.flash)
    vfs, otadata = rows["vfs"], rows["otadata"]
    assert littlefs_files.read(written[vfs.offset : vfs.offset + vfs.size]) == {
        "data/config.json": b'{"name": "attic"}'
    }
    assert set(written[otadata.offset : otadata.offset + otadata.size]) == {0xFF}  # whichever slot ran before
    assert written[rows["ota_0"].offset :].startswith(image.read_bytes()[0x10000 - OFFSET :])


def test_the_password_on_the_label_outlasts_a_new_file_system(image, monkeypatch):
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard((0, 1, 0), b"abcdefgh2345"))
    with BootLoader() as loader:
        text = flash(loader.path, image)
        files = littlefs_files.read(bytes(loader.flash[VFS_AT : VFS_AT + VFS_SIZE]))
    assert files == {"data/config.json": b"{}", "label/wifi": b"abcdefgh2345"}
    assert "abcdefgh2345" not in text


def test_another_chip_is_refused_before_anything_is_written(image):
    with BootLoader(chip="esp32s2") as loader:
        with pytest.raises((UsageError, DeviceError)):
            flash(loader.path, image)
        assert (loader.blocks, set(loader.flash)) == (0, {0x5A})
    with BootLoader() as loader:
        image.write_bytes(esp_image.make(MADE_FOR_ESP32S2))
        with pytest.raises(UsageError, match="has an esp32, and the image is for esp32s2: nothing was written"):
            flash(loader.path, image)
        assert (loader.blocks, set(loader.flash)) == (0, {0x5A})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-32] + bytes(32), "application in factory: its SHA-256 is wrong"),
        (lambda content: content[:-33] + bytes((content[-33] ^ 1,)) + content[-32:], "its checksum is wrong"),
        (lambda content: content[: len(content) * 9 // 10], "application in factory: End of file"),
        (lambda content: content[: len(content) // 2], "it ends before its application"),
        (lambda content: content[:40], "no partition table at 0x8000"),
        (lambda content: content[:40] + b"\1" + content[41:], "boot loader: its checksum is wrong"),
        (lambda content: content[:0x7008] + b"\1" + content[0x7009:], "MD5 of its partition table is wrong"),
        (lambda content: content[:-200] + b"\1" + content[-199:], "its checksum is wrong"),
    ],
)
def test_a_damaged_image_is_refused_before_anything_is_written(image, damage, message, flashing):
    content = image.read_bytes()
    image.write_bytes(damage(content))
    for files in (None, {configuration.PATH: b"{}"}):
        with pytest.raises(UsageError, match=message):
            esp32.flash("PORT", image, files, is_agreed=lambda: True, say=lambda text: None)
    assert flashing == []


def test_an_image_that_is_not_as_its_sum_says_is_refused(image, flashing, tmp_path):
    sums = image.with_name(image.name + ".sha256")
    sums.write_text(f"{hashlib.sha256(image.read_bytes()).hexdigest()}  {image.name}\n")
    esp32.flash("PORT", image, is_agreed=lambda: True, say=lambda text: None)
    assert len(flashing) == 2
    for text in ("", "0" * 64 + f"  {image.name}\n", "\u00e9"):
        sums.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=re.escape(sums.name)):
            esp32.flash("PORT", image, is_agreed=lambda: True, say=lambda text: None)
    assert main(["web-installer", "--image", str(image), "--out", str(tmp_path / "web")]) == 2
    assert len(flashing) == 2


def test_a_flash_that_is_too_small_is_refused_before_anything_is_written(image):
    with BootLoader(size=1024 * 1024) as loader:
        with pytest.raises(UsageError, match="has 1,048,576 bytes of flash, and 1,310,720 are needed"):
            flash(loader.path, image)
        assert loader.blocks == 0


def test_the_stub_is_loaded_whole_and_takes_larger_blocks(image):
    with BootLoader() as loader:
        flash(loader.path, image)
        stub = StubFlasher(ESP32ROM)
        assert loader.ram == {stub.text_start: stub.text, stub.data_start: stub.data}
        assert loader.largest == STUB_BLOCK
        with BootLoader() as other:
            flash(other.path, image, options=WAYS["by the ROM"])
            assert other.ram == {}
            assert other.largest == ROM_BLOCK


def test_a_gateway_runs_again_when_its_board_is_not_written(image, monkeypatch):
    resets = []
    monkeypatch.setattr(versions, "on_board", lambda port, say: versions.OnBoard((0, 0, 9)))
    monkeypatch.setattr(versions, "call", lambda command: resets.append(command[3:]))
    with BootLoader(size=1024 * 1024) as loader:
        with pytest.raises(UsageError, match="1,310,720 are needed"):
            flash(loader.path, image)
        assert resets == [["connect", loader.path, "resume", "reset"]]


def test_without_a_configuration_everything_is_erased_first(image):
    with BootLoader() as loader:
        esp32.flash(loader.path, image, is_agreed=lambda: True, options=OPTIONS, say=lambda text: None)
        content = image.read_bytes()
        assert loader.erased_whole == 1
        assert loader.flash[OFFSET : OFFSET + len(content)] == content
        assert set(loader.flash[:OFFSET] + loader.flash[OFFSET + len(content) :]) == {0xFF}


def test_esptool_reads_back_what_lies_in_the_flash(image, tmp_path):
    with BootLoader() as loader:
        flash(loader.path, image)
        size = image.stat().st_size
        words = ("read-flash", hex(OFFSET), str(size), str(tmp_path / "read"))
        call([sys.executable, "-m", "esptool", "--port", loader.path, *OPTIONS, *words])
    assert (tmp_path / "read").read_bytes() == image.read_bytes()


def test_blocks_that_lost_a_byte_are_sent_again(image, options):
    with BootLoader(lose=(0, 1, 3)) as loader:
        flash(loader.path, image, options=options)
        assert loader.refused == 3
        content = image.read_bytes()
        assert loader.flash[OFFSET : OFFSET + len(content)] == content


def test_a_line_that_is_cut_is_an_error_and_the_next_run_makes_it_whole(image, options):
    with BootLoader(cut_after=2) as loader:
        with pytest.raises(DeviceError, match="the board is not whole now: run the same again"):
            flash(loader.path, image, options=options)
        loader.cut_after = None
        loader.reset()
        flash(loader.path, image, options=options)
        content = image.read_bytes()
        assert loader.flash[OFFSET : OFFSET + len(content)] == content


def test_a_block_that_the_flash_does_not_take_is_found_though_the_stub_has_answered_it_already(image):
    with BootLoader(fail=(1,)) as loader:
        with pytest.raises(DeviceError, match="the board is not whole now: run the same again"):
            flash(loader.path, image)
        flash(loader.path, image)  # the stub still runs
        content = image.read_bytes()
        assert loader.flash[OFFSET : OFFSET + len(content)] == content


def test_an_image_without_a_file_system_or_firmware_takes_no_configuration(image):
    image.write_bytes(esp_image.make(rows=[Row("factory", APP, 0, 0x10000, 0xF0000)]))
    with pytest.raises(UsageError, match="partition table has no file system"):
        flash("nowhere", image)
    image.write_bytes(esp_image.make(frozen=b""))
    with pytest.raises(UsageError, match="has no firmware within"):
        flash("nowhere", image)


def test_a_board_that_does_not_exist_or_has_another_chip_is_refused(image):
    with pytest.raises(UsageError, match="none of the firmware; there are esp32-devkit, "):
        flash("nowhere", image, b'{"board": "nothing"}')
    with pytest.raises(UsageError, match="pico-w is a board of rp2, and the image is for esp32"):
        flash("nowhere", image, b'{"board": "pico-w"}')


@pytest.mark.parametrize("depth", [500, 1000, 5000, 100_000])
def test_a_configuration_that_is_nested_too_deep_is_an_error(image, tmp_path, capsys, depth):
    file = tmp_path / "config.json"
    file.write_text('{"a": ' + "[" * depth + "]" * depth + "}")
    assert main(["flash", "--port", "socket://x:1", "--image", str(image), "--config", str(file), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "too deep" in error or "the firmware would refuse this configuration" in error


def test_files_that_do_not_fit_are_an_error():
    with pytest.raises(UsageError, match="20,000 bytes in 1 files do not fit into 16,384 bytes"):
        configuration.file_system({"data/config.json": bytes(20000)}, 16384)


@pytest.mark.parametrize(
    ("board", "ssid", "given", "network"),
    [
        ("wt32-eth01", "", {}, {"link": "ethernet"}),
        ("mine", "", {"name": "attic"}, {"link": "ethernet"}),
        ("wt32-eth01", "home", {}, {"link": "wifi", "ssid": "home", "password": ""}),
        ("wt32-eth01", "", {"network": {"hostname": "attic"}}, {"hostname": "attic"}),
        ("esp32-devkit", "", {}, None),
        ("nosuch", "", {}, None),
        ("", "", {}, None),
    ],
)
def test_a_board_with_ethernet_uses_it_where_nothing_else_is_said(tmp_path, board, ssid, given, network):
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "mine.json").write_text('{"title": "Mine", "ethernet": {"phy": "lan8720"}}')
    path = tmp_path / "config.json"
    path.write_text(json.dumps(given))
    files = configuration.gather(str(path), board, ssid)
    assert json.loads(files[configuration.PATH]).get("network") == network
    assert configuration.link(files) == (network or {}).get("link", "")


def test_the_password_comes_from_standard_input_and_is_no_option(image, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\n"))
    given = {}
    monkeypatch.setattr(esp32, "flash", lambda port, image, files, *rest: given.update(files))
    arguments = ["flash", "--port", "socket://127.0.0.1:1", "--image", str(image), "--wifi", "home", "--yes"]
    assert main(arguments) == 0
    assert json.loads(given["data/config.json"])["network"] == {
        "link": "wifi",
        "ssid": "home",
        "password": "correct horse",
    }
    monkeypatch.setattr(sys, "stdin", io.StringIO("short\n"))
    assert main(arguments) == 2
    assert "8 to 63 characters" in capsys.readouterr().err


def test_a_dry_run_asks_for_nothing_and_says_what_it_would_do(image, capsys):
    assert main(["flash", "--port", "socket://x:1", "--image", str(image), "--wifi", "home", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "the file system (262,144 bytes at 0x100000) is replaced" in said
    assert "write-flash 0x1000" in said
    assert "Wi-Fi network: 'home'\n" in said


# -- command lines, and what is no image


DESCRIPTION = bytes.fromhex("3254CDAB")


def beginning(chip_id=0, at_32=b"\0\0\0\0", first=0xE9):
    """The beginning of an ESP image, long enough to be looked at."""
    header = bytes((first, 3, 2, 0x20)) + bytes(8) + chip_id.to_bytes(2, "little") + bytes(18) + at_32
    return header + bytes(100)


@pytest.fixture
def flashing(monkeypatch):
    """The command lines that flash() would run, without a board."""
    commands = []
    monkeypatch.setattr(esp32, "call", lambda command, capture=False: commands.append(command[2:]))
    monkeypatch.setattr(esp32, "check_chip", lambda *rest: None)
    monkeypatch.setattr(esp32, "_wait_for_micropython", lambda port, say: commands.append("wait"))
    monkeypatch.setattr(esp32, "deploy", lambda port, **options: commands.append("deploy"))
    return commands


@pytest.mark.parametrize(
    ("chip_id", "chip", "offset"), [(0, "esp32", "0x1000"), (9, "esp32s3", "0x0"), (18, "esp32p4", "0x2000")]
)
def test_flash_erases_writes_at_the_chips_offset_and_deploys(flashing, tmp_path, chip_id, chip, offset):
    file = tmp_path / "firmware.bin"
    file.write_bytes(esp_image.make(chip_id, offset=int(offset, 16), frozen=b""))
    said = []
    esp32.flash("PORT", file, is_agreed=lambda: True, say=said.append)
    assert flashing == [
        ["esptool", "--chip", chip, "--port", "PORT", "erase-flash"],
        ["esptool", "--chip", chip, "--port", "PORT", "--baud", "460800", "write-flash", offset, str(file)],
        "wait",
        "deploy",
    ]
    assert "everything on it is erased" in said[0]
    assert f"written at {offset}" in said[1]


@pytest.mark.parametrize("dry_run", [False, True])
def test_flash_copies_no_files_beside_an_image_that_has_the_firmware_within(flashing, tmp_path, dry_run):
    file = tmp_path / "meterport-METERPORT_ESP32-0.1.0.bin"
    file.write_bytes(esp_image.make(frozen=b"_boot.py\0firmware/app.py\0firmware/events.py\0"))
    said = []
    esp32.flash("PORT", file, is_agreed=lambda: True, dry_run=dry_run, say=said.append)
    assert [command for command in flashing if command in ("wait", "deploy")] == []
    assert len(flashing) == (0 if dry_run else 2)
    assert "which has the firmware within" in said[1]


def test_flash_does_nothing_without_a_yes(flashing, tmp_path, monkeypatch):
    file = tmp_path / "firmware.bin"
    file.write_bytes(esp_image.make())
    with pytest.raises(UsageError, match="nothing was done"):
        esp32.flash("PORT", file, is_agreed=lambda: False, say=lambda text: None)
    assert flashing == []


def test_a_dry_run_of_flash_prints_esptools_commands(flashing, tmp_path):
    file = tmp_path / "firmware.bin"
    file.write_bytes(esp_image.make(5, offset=0, frozen=b""))
    said = []
    esp32.flash("PORT", file, dry_run=True, say=said.append)
    assert "  python -m esptool --chip esp32c3 --port PORT erase-flash" in said
    assert f"  python -m esptool --chip esp32c3 --port PORT --baud 460800 write-flash 0x0 {file}" in said
    assert flashing == ["deploy"]  # which is a dry run itself


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"UF2\nWQ]\x9e" + bytes(100), "hold BOOTSEL"),
        (b"\x7fELF" + bytes(100), "is an ELF file"),
        (bytes(100), "must begin with the byte E9, not 00"),
        (b"", "must begin with the byte E9"),
        (beginning()[:20], "is no ESP32 image"),
        (beginning(at_32=DESCRIPTION), "application without bootloader"),
        (beginning(99), "give --chip, one of esp32,"),
    ],
)
def test_a_file_that_is_no_image_for_a_board_is_refused_with_advice(tmp_path, data, message):
    file = tmp_path / "firmware.bin"
    file.write_bytes(data)
    with pytest.raises(UsageError) as error:
        esp32.check_image(file, "auto")
    assert message in str(error.value)


def test_an_image_for_another_chip_is_refused(tmp_path):
    file = tmp_path / "firmware.bin"
    file.write_bytes(beginning(9))
    with pytest.raises(UsageError, match="is for esp32s3, not for esp32"):
        esp32.check_image(file, "esp32")
    file.write_bytes(beginning(99))
    assert esp32.check_image(file, "esp32c5") == ("esp32c5", 0x2000)


def test_chip_ids_and_offsets_are_those_of_esptool():
    for chip_id, chip in esp32.CHIP_IDS.items():
        assert chip_id == CHIP_DEFS[chip].IMAGE_CHIP_ID
    for chip, offset in esp32.OFFSETS.items():
        assert offset == CHIP_DEFS[chip].BOOTLOADER_FLASH_OFFSET
    assert set(esp32.CHIP_IDS.values()) == set(esp32.OFFSETS)


# -- ESP Web Tools


def test_the_web_installer_is_a_folder_that_esptool_could_flash_by(image, tmp_path):
    folder = tmp_path / "web"
    image.write_bytes(esp_image.make(version="0.0.5"))
    assert main(["web-installer", "--image", str(image), "--out", str(folder)]) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["version"] == "0.0.5"
    assert manifest["new_install_prompt_erase"] is True
    [build] = manifest["builds"]
    [part] = build["parts"]
    assert build["chipFamily"] == "ESP32"
    assert (folder / part["path"]).read_bytes() == image.read_bytes()
    assert part["offset"] == esp32.OFFSETS["esp32"]
    page = (folder / "index.html").read_text()
    assert 'manifest="manifest.json"' in page
    assert "://" not in page  # nothing comes from elsewhere
    scripts = folder / "esp-web-tools"
    assert f'src="{scripts.name}/install-button.js"' in page
    for imported in re.findall(r'(?:from|import\()\s*"\./([\w.-]+)"', (scripts / "install-button.js").read_text()):
        assert (scripts / imported).is_file(), imported
    with BootLoader() as loader:
        path = folder / part["path"]
        options = (*OPTIONS, "--chip", "esp32", "--port", loader.path)
        call([sys.executable, "-m", "esptool", *options, "write-flash", hex(part["offset"]), str(path)])
        assert loader.flash[part["offset"] :][: path.stat().st_size] == path.read_bytes()


def test_the_web_installer_keeps_no_image_of_before_and_no_option_that_does_nothing(image, tmp_path, capsys):
    scripts, folder, other = tmp_path / "scripts", tmp_path / "web", tmp_path / "older.bin"
    scripts.mkdir()
    other.write_bytes(image.read_bytes())
    web_installer.write_folder([(other, "esp32", 0x1000)], folder, "meterport", "0.1.0", scripts)
    (folder / "mine.bin").write_text("of the user")
    web_installer.write_folder([(image, "esp32", 0x1000)], folder, "meterport", "0.1.1", scripts)
    assert {path.name for path in folder.glob("*.bin")} == {image.name, "mine.bin"}
    (folder / "manifest.json").write_text("[1]")
    web_installer.write_folder([(image, "esp32", 0x1000)], folder, "meterport", "0.1.1", scripts)
    assert json.loads((folder / "manifest.json").read_text())["version"] == "0.1.1"
    with pytest.raises(SystemExit, match="^2$"):
        main(["web-installer", "--dry-run", "--image", str(image)])
    assert "unrecognized arguments: --dry-run" in capsys.readouterr().err


def test_two_images_for_one_chip_are_refused(image, tmp_path, capsys):
    other = tmp_path / "other.bin"
    other.write_bytes(image.read_bytes())
    arguments = ["web-installer", "--image", str(image), "--image", str(other), "--out", str(tmp_path / "web")]
    assert main(arguments) == 2
    assert "takes one for each chip" in capsys.readouterr().err
    other.write_bytes(esp_image.make(MADE_FOR_ESP32S2, version="0.0.5"))
    assert main(arguments) == 2
    assert "has the version 0.0.5, the first image 0.1.0" in capsys.readouterr().err
    assert not Path(tmp_path / "web").exists()


# -- on MicroPython

_MOUNT = """
import os, vfs
class Disk:
    def __init__(self, path):
        self.data = open(path, "rb").read()
    def readblocks(self, block, buf, at=0):
        begin = block * 4096 + at
        buf[:] = self.data[begin : begin + len(buf)]
    def ioctl(self, op, arg):
        return {4: len(self.data) // 4096, 5: 4096}.get(op, 0)
vfs.mount(vfs.VfsLfs2(Disk("disk"), readsize=32, progsize=32, lookahead=32), "/flash", readonly=True)
print(open("/flash/data/config.json").read())
"""


def test_micropython_mounts_the_file_system_and_reads_the_configuration(tmp_path):
    config = configuration.document({}, "wt32-eth01", "home", "correct horse")
    (tmp_path / "disk").write_bytes(configuration.file_system({"data/config.json": config}, VFS_SIZE))
    (tmp_path / "mount.py").write_text(_MOUNT)
    done = subprocess.run(
        [micropython.ensure(), "mount.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, config.decode()), done.stderr
