"""What a power cut leaves of an operation on the flash, and the journal that the emulated chip keeps of them."""

import json

import pytest

from tools.emulator import image

ERASE = image.Operation("erase", 4096, b"\xff" * 4096)
PROGRAM = image.Operation("program", 512, bytes(range(256)))


@pytest.fixture
def flash():
    return bytearray(b"\xa5" * 16384)


@pytest.mark.parametrize("operation", [ERASE, PROGRAM], ids=lambda operation: operation.name)
def test_a_torn_operation_touches_nothing_beyond_its_own_bytes(flash, operation):
    before = bytes(flash)
    end = operation.offset + len(operation.data)
    for tear in image.TEARS:
        operation.tear(flash, tear)
        assert flash[: operation.offset] == before[: operation.offset]
        assert flash[end:] == before[end:]


def test_torn_in_the_middle_the_first_half_is_done(flash):
    ERASE.tear(flash, "half")
    assert flash[4096:8192] == b"\xff" * 2048 + b"\xa5" * 2048


def test_torn_bit_by_bit_every_bit_is_the_old_or_the_new_one_and_both_occur(flash):
    PROGRAM.tear(flash, "bits")
    torn = flash[512:768]
    assert all((now ^ 0xA5) & (now ^ new) == 0 for now, new in zip(torn, PROGRAM.data, strict=True))
    assert torn not in (b"\xa5" * 256, PROGRAM.data)


def test_torn_before_it_began_nothing_is_done(flash):
    PROGRAM.tear(flash, "nothing")
    assert flash == b"\xa5" * 16384


def test_the_journal_is_in_order_and_leaves_out_an_incomplete_line(tmp_path):
    path = tmp_path / "flash.bin"
    image.keep_journal(path)
    assert image.read_journal(path) == []
    line = json.dumps({"program": 512, "data": PROGRAM.data.hex()})
    (tmp_path / "flash.bin.journal").write_text(f'{{"erase":4096}}\n{line}\n{line[:100]}')
    assert image.read_journal(path) == [ERASE, PROGRAM]
