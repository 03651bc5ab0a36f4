"""The files in a littlefs of a board: written into a new one, and read out of one. Used by tools and tests.

In and out: {path: content}, and the bytes of the file system, in blocks of BLOCK bytes. It is programmed in 256 bytes,
as on an RP2; a port that programs fewer at once mounts it too.
"""

from littlefs import LittleFS, LittleFSError

BLOCK = 4096
_PROGRAM = 256
_READ = 32
# Versions of the disk: 2.0, which every MicroPython with littlefs 2 mounts; and the newest that is known here, for the
# first write of a newer MicroPython makes it 2.1.
_OLDEST = 0x00020000
_NEWEST = 0


class FileSystemError(ValueError):
    """Files that do not fit, or what is no littlefs."""


def _disk(size: int, version: int, mount: bool) -> LittleFS:
    return LittleFS(
        block_size=BLOCK, block_count=size // BLOCK, read_size=_READ, prog_size=_PROGRAM, disk_version=version,
        mount=mount,
    )  # fmt: skip


def make(files: "dict[str, bytes]", size: int) -> bytes:
    """A littlefs of `size` bytes with these files. Raises FileSystemError when they do not fit."""
    disk = _disk(size, _OLDEST, mount=True)
    try:
        for path, content in sorted(files.items()):
            folder = path.strip("/").rpartition("/")[0]
            if folder:
                disk.makedirs(folder, exist_ok=True)
            with disk.open(path, "wb") as file:
                file.write(content)
    except (OSError, LittleFSError) as error:
        needed = sum(map(len, files.values()))
        raise FileSystemError(
            f"{needed:,} bytes in {len(files)} files do not fit into {size:,} bytes: {error}"
        ) from error
    disk.unmount()
    return bytes(disk.context.buffer)


def read(content: "bytes | bytearray") -> "dict[str, bytes]":
    """The files of a littlefs. Raises FileSystemError when it is none."""
    disk = _disk(len(content), _NEWEST, mount=False)
    disk.context.buffer[:] = content
    files = {}
    try:
        disk.mount()
        for folder, _, names in disk.walk("/"):
            for name in names:
                path = f"{folder.strip('/')}/{name}".strip("/")
                with disk.open(path, "rb") as file:
                    files[path] = file.read()
    except (OSError, LittleFSError) as error:
        raise FileSystemError(f"no littlefs: {error}") from error
    return files
