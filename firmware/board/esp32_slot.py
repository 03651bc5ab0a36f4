"""The other OTA partition of an ESP32, as a file that an update writes. Imported when it is used.

ports/esp32/esp32_partition.c: writeblocks() of whole blocks of 4096 bytes erases before it writes; set_boot() has
ESP-IDF check the image (esp_ota_set_boot_partition). The boot loader starts a new image once on trial, and the old one
again when it is not marked valid before the next reset (CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE in sdkconfig.base).
"""

import errno

import esp32
from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Any

_BLOCK = const(4096)
_BLOCK_COUNT = const(4)  # MP_BLOCKDEV_IOCTL_BLOCK_COUNT


class ImageSlot:
    """`size`: bytes of the partition; `label`: its name."""

    def __init__(self) -> None:
        """Raises OSError with a text where the partition table has one slot only, as the stock tables have."""
        try:
            self._partition: "Any" = esp32.Partition(esp32.Partition.RUNNING).get_next_update()  # type: ignore[arg-type]
        except OSError:
            raise OSError(
                errno.ENODEV, "the partition table of this board has no second slot for an image: flash it by cable"
            ) from None
        self.label: str = self._partition.info()[4]
        self.size = _BLOCK * self._partition.ioctl(_BLOCK_COUNT, 0)
        self._block = bytearray(_BLOCK)
        self._at = 0  # number of the next block
        self._filled = 0  # bytes of it

    def write(self, data: memoryview) -> None:
        """Writes what makes a whole block, and keeps the rest. Raises OSError."""
        at = 0
        while at < len(data):
            n = min(_BLOCK - self._filled, len(data) - at)
            self._block[self._filled : self._filled + n] = data[at : at + n]
            self._filled += n
            at += n
            if self._filled == _BLOCK:
                self._write_block()

    def _write_block(self):
        self._partition.writeblocks(self._at, self._block)
        self._at += 1
        self._filled = 0

    def close(self) -> None:
        """Ends the writing: the last block is filled with what an erased flash holds. The next read() is of the first
        bytes. Raises OSError."""
        if self._filled:
            for k in range(self._filled, _BLOCK):
                self._block[k] = 0xFF
            self._write_block()
        self._at = self._filled = 0

    def read(self, size: int) -> memoryview:
        """The next bytes, `size` at most and none beyond a block; valid until the next call. Raises OSError."""
        if not self._filled:
            self._partition.readblocks(self._at, self._block)
            self._at += 1
            self._filled = _BLOCK
        begin = _BLOCK - self._filled
        n = min(size, self._filled)
        self._filled -= n
        return memoryview(self._block)[begin : begin + n]

    def end_reading(self) -> None:
        """Ends it: nothing is written."""
        self._at = self._filled = 0

    def switch(self) -> None:
        """Has the next start run the new image. Raises OSError when ESP-IDF finds it damaged, or for another chip."""
        try:
            self._partition.set_boot()
        except OSError as error:
            text = "ESP-IDF refuses the image (%s): it is damaged, or for another chip" % error
            raise OSError(errno.EINVAL, text) from None
