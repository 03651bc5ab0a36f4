"""What the boot ROM of an RP2040 or RP2350 does with a UF2 file that is copied to its drive, on a flash of bytes."""

import struct

FLASH = 0x10000000
BLOCK, SECTOR, PAGE = 512, 4096, 256
ABSOLUTE = 0xE48BFF57  # of the block that RP2350 errata E10 asks for


def blocks(image):
    """The 512-byte blocks of a file."""
    return [image[at : at + BLOCK] for at in range(0, len(image), BLOCK)]


def copy(image, flash, family):
    """Writes the blocks of that family into `flash`, a bytearray: a sector is erased before its first page. Fails where
    the ROM would wait for ever: on a number that is missing, a page that is not whole."""
    erased, numbers = set(), []
    of_family = [block for block in blocks(image) if struct.unpack_from("<I", block, 28) == (family,)]
    others = {struct.unpack_from("<I", block, 28)[0] for block in blocks(image)} - {family}
    assert others <= {ABSOLUTE}
    for block in of_family:
        _, _, _, address, size, number, count = struct.unpack_from("<7I", block)
        assert (size, address % PAGE, count) == (PAGE, 0, len(of_family))
        numbers.append(number)
        begin = address - FLASH
        sector = begin // SECTOR * SECTOR
        if sector not in erased:
            erased.add(sector)
            flash[sector : sector + SECTOR] = b"\xff" * SECTOR
        flash[begin : begin + PAGE] = block[32 : 32 + PAGE]
    assert numbers == list(range(len(of_family)))
