"""make flash, by esptool itself against a virtual ESP32 boot loader; UF2 onto a drive; the ESP Web Tools page."""

import io
import json
import re
import select
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from littlefs import LittleFS

from host_tests.esp_boot_loader import BootLoader
from tools import device, flash_image, micropython
from tools.flash_image import FlashError

OFFSET = 0x1000
VFS_AT, VFS_SIZE = 0x100000, 0x40000
OPTIONS = ("--before", "no-reset", "--after", "no-reset", "--no-stub")
MADE_FOR_ESP32S2 = 2


def row(kind, subtype, offset, size, label):
    return struct.pack("<HBBII16sI", 0x50AA, kind, subtype, offset, size, label, 0)


def make_image(chip_id=0, rows=None, vfs_size=VFS_SIZE):
    """An image as MicroPython's build makes it, with something incompressible for an application."""
    header = bytes((0xE9, 1, 2, 0x20)) + bytes(8) + chip_id.to_bytes(2, "little") + bytes(9) + b"\1"
    segment = struct.pack("<II", 0x3FFF0000, 16) + bytes(16)
    boot = (header + segment).ljust(0x8000 - OFFSET, b"\xff")
    if rows is None:
        rows = [row(1, 2, 0x9000, 0x6000, b"nvs"), row(0, 0, 0x10000, 0xF0000, b"factory"),
                row(1, 0x81, VFS_AT, vfs_size, b"vfs")]  # fmt: skip
    table = b"".join(rows).ljust(0x10000 - 0x8000, b"\xff")
    noise = b"".join((k * 2654435761 & 0xFFFFFFFF).to_bytes(4, "little") for k in range(8192))
    return boot + table + noise + b"\0firmware/app.py\0" + bytes(100)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "meterport.bin"
    path.write_bytes(make_image())
    return path


def flash(port, image, config=b"{}", **options):
    lines = []
    device.flash_whole(port, image, config, yes=True, options=OPTIONS, baud=115200, say=lines.append, **options)
    return "\n".join(lines)


def read_tree(content):
    """{path: bytes} of a littlefs."""
    disk = LittleFS(block_size=4096, block_count=len(content) // 4096, mount=False)
    disk.context.buffer = bytearray(content)
    disk.mount()
    found = {}
    for folder, _, names in disk.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}".lstrip("/")
            with disk.open(path, "rb") as file:
                found[path] = file.read()
    return found


def test_image_and_configuration_are_in_the_flash_as_a_whole(image):
    config = flash_image.configuration({}, "wt32-eth01", "home", "correct horse")
    with BootLoader() as loader:
        text = flash(loader.path, image, config, board="wt32-eth01")
        written = bytes(loader.flash)
    content = image.read_bytes()
    assert written[OFFSET : OFFSET + len(content)] == content
    assert written[:OFFSET] == b"\x5a" * OFFSET
    assert read_tree(written[VFS_AT : VFS_AT + VFS_SIZE]) == {"data/config.json": config}
    assert json.loads(config) == {
        "board": "wt32-eth01", "network": {"link": "wifi", "ssid": "home", "password": "correct horse"},
    }  # fmt: skip
    assert "correct horse" not in text


def test_another_chip_is_refused_before_anything_is_written(image):
    with BootLoader(chip="esp32s2") as loader:
        with pytest.raises((device.UsageError, device.DeviceError)):
            flash(loader.path, image)
        assert (loader.blocks, set(loader.flash)) == (0, {0x5A})
    with BootLoader() as loader:
        image.write_bytes(make_image(MADE_FOR_ESP32S2))
        with pytest.raises(device.UsageError, match="has an esp32, and the image is for esp32s2: nothing was written"):
            flash(loader.path, image)
        assert (loader.blocks, set(loader.flash)) == (0, {0x5A})


def test_a_flash_that_is_too_small_is_refused_before_anything_is_written(image):
    with BootLoader(size=1024 * 1024) as loader:
        with pytest.raises(device.UsageError, match="has 1,048,576 bytes of flash, and 1,310,720 are needed"):
            flash(loader.path, image)
        assert loader.blocks == 0


def test_blocks_that_lost_a_byte_are_sent_again(image):
    with BootLoader(lose=(0, 3, 7)) as loader:
        flash(loader.path, image)
        assert loader.refused == 3
        content = image.read_bytes()
        assert loader.flash[OFFSET : OFFSET + len(content)] == content


def test_a_line_that_is_cut_is_an_error_and_the_next_run_makes_it_whole(image):
    with BootLoader(cut_after=4) as loader:
        with pytest.raises(device.DeviceError, match="the board is not whole now: run the same again"):
            flash(loader.path, image)
        loader._cut_after = None
        flash(loader.path, image)
        content = image.read_bytes()
        assert loader.flash[OFFSET : OFFSET + len(content)] == content


def test_an_image_without_a_file_system_or_firmware_takes_no_configuration(image):
    image.write_bytes(make_image(rows=[row(0, 0, 0x10000, 0xF0000, b"factory")]))
    with pytest.raises(FlashError, match="partition table has no file system"):
        flash("nowhere", image)
    image.write_bytes(make_image().replace(b"firmware/app.py", b"something/else."))
    with pytest.raises(device.UsageError, match="has no firmware within"):
        flash("nowhere", image)


def test_a_board_that_does_not_exist_or_has_another_chip_is_refused(image):
    with pytest.raises(device.UsageError, match="there is no board nothing; the boards are esp32-devkit, "):
        flash("nowhere", image, board="nothing")
    with pytest.raises(device.UsageError, match="pico-w is a board of rp2, and the image is for esp32"):
        flash("nowhere", image, board="pico-w")


def test_files_that_do_not_fit_are_an_error():
    with pytest.raises(FlashError, match="the files do not fit into 16,384 bytes"):
        flash_image.file_system({"data/config.json": bytes(20000)}, 16384)


def test_the_password_comes_from_standard_input_and_is_no_option(image, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\n"))
    given = {}
    monkeypatch.setattr(device, "flash_whole", lambda port, image, config, *rest: given.update(json.loads(config)))
    arguments = ["flash", "--port", "socket://127.0.0.1:1", "--image", str(image), "--wifi", "home", "--yes"]
    assert device.main(arguments) == 0
    assert given["network"] == {"link": "wifi", "ssid": "home", "password": "correct horse"}
    monkeypatch.setattr(sys, "stdin", io.StringIO("short\n"))
    assert device.main(arguments) == 2
    assert "8 to 63 characters" in capsys.readouterr().err


def test_a_dry_run_asks_for_nothing_and_says_what_it_would_do(image, capsys):
    assert device.main(["flash", "--port", "socket://x:1", "--image", str(image), "--wifi", "home", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "the file system (262,144 bytes at 0x100000) is replaced" in said
    assert "write-flash 0x1000" in said


# -- UF2


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
    assert device.main(["flash", "--image", str(path), "--yes", "--drive", str(drives)]) == 0
    assert [file.parent.name for file in drives.rglob("*.uf2")] == [drive]


def test_a_uf2_for_a_chip_that_is_not_there_is_copied_nowhere(tmp_path, drives, capsys):
    path = tmp_path / "meterport.uf2"
    path.write_bytes(uf2(0xE48BFF56))
    assert device.main(["flash", "--image", str(path), "--yes", "--drive", str(drives / "b")]) == 2
    assert "no RP2040 in BOOTSEL" in capsys.readouterr().err
    assert not list(drives.rglob("*.uf2"))


@pytest.mark.parametrize("content", [uf2(0x12345678), uf2(0xE48BFF56, 1), b"UF2\n", uf2(0xE48BFF56)[:700]])
def test_what_is_no_whole_uf2_of_a_known_chip_is_refused(content):
    with pytest.raises(FlashError):
        flash_image.uf2_chip(content)


# -- ESP Web Tools


def test_the_web_installer_is_a_folder_that_esptool_could_flash_by(image, tmp_path):
    folder = tmp_path / "web"
    assert device.main(["web-installer", "--image", str(image), "--out", str(folder)]) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["new_install_prompt_erase"] is True
    [build] = manifest["builds"]
    [part] = build["parts"]
    assert build["chipFamily"] == "ESP32"
    assert (folder / part["path"]).read_bytes() == image.read_bytes()
    assert part["offset"] == device.OFFSETS["esp32"]
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
        device.call([sys.executable, "-m", "esptool", *options, "write-flash", hex(part["offset"]), str(path)])
        assert loader.flash[part["offset"] :][: path.stat().st_size] == path.read_bytes()


def test_two_images_for_one_chip_are_refused(image, tmp_path, capsys):
    other = tmp_path / "other.bin"
    other.write_bytes(image.read_bytes())
    arguments = ["web-installer", "--image", str(image), "--image", str(other), "--out", str(tmp_path / "web")]
    assert device.main(arguments) == 2
    assert "takes one for each chip" in capsys.readouterr().err
    assert not Path(tmp_path / "web").exists()


# -- logs, backup


def test_logs_show_what_the_board_says_and_send_nothing(capsys):
    received = []

    def board():
        connection, _ = listener.accept()
        with connection:
            while not select.select([connection], [], [], 0.02)[0]:  # until it is closed, or something is sent
                connection.sendall(b"app: meterport runs\r\n")
            received.append(connection.recv(100))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=board)
        thread.start()
        device.logs(f"socket://127.0.0.1:{listener.getsockname()[1]}", seconds=1, say=lambda text: None)
        thread.join(10)
    assert "app: meterport runs\r\n" in capsys.readouterr().out
    assert received == [b""]


def test_a_backup_is_a_new_folder_for_the_user_only(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(device, "call", lambda command: calls.append([str(word) for word in command[3:]]))
    folder = tmp_path / "backup"
    device.backup("PORT", folder, say=lambda text: None)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert calls == [["connect", "PORT", "cp", "--recursive", ":/data", str(folder)],
                     ["connect", "PORT", "resume", "reset"]]  # fmt: skip
    with pytest.raises(device.UsageError, match="is there already"):
        device.backup("PORT", folder, say=lambda text: None)


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
    config = flash_image.configuration({}, "wt32-eth01", "home", "correct horse")
    (tmp_path / "disk").write_bytes(flash_image.file_system({"data/config.json": config}, VFS_SIZE))
    (tmp_path / "mount.py").write_text(_MOUNT)
    done = subprocess.run(
        [micropython.ensure(), "mount.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, config.decode()), done.stderr
