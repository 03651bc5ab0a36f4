"""Files into a littlefs and out of it; real MicroPython mounts one in test_flash_tool.py."""

import littlefs
import pytest

from tools import littlefs_files

FILES = {"data/config.json": b"{}", "data/boards/own.json": bytes(range(256)) * 40, "main.py": b"", "z": b"x"}


def test_files_come_back():
    assert littlefs_files.read(littlefs_files.make(FILES, 16 * littlefs_files.BLOCK)) == FILES


@pytest.mark.parametrize("version", [0x00020000, 0x00020001])
def test_what_was_written_in_another_version_of_the_disk_is_read(version):
    disk = littlefs.LittleFS(block_size=littlefs_files.BLOCK, block_count=16, disk_version=version)
    with disk.open("a", "wb") as file:
        file.write(b"content")
    assert littlefs_files.read(disk.context.buffer) == {"a": b"content"}


@pytest.mark.parametrize("content", [b"\xff", b"\0"], ids=["erased", "zeros"])
def test_what_is_none_is_said_so(content):
    with pytest.raises(littlefs_files.FileSystemError, match="^no littlefs: "):
        littlefs_files.read(content * 16 * littlefs_files.BLOCK)


def test_files_that_do_not_fit_are_said_with_their_size():
    with pytest.raises(littlefs_files.FileSystemError, match="^70,000 bytes in 1 files do not fit into 65,536 bytes: "):
        littlefs_files.make({"a": bytes(70_000)}, 65_536)
