"""What lies in a littlefs."""

from littlefs import LittleFS


def read(content):
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
