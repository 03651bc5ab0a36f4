"""tools/memory.py: the bounds of flash, and the report of what was built."""

import pytest

from tools import image, memory

RP2 = [name for name, board in image.BOARDS.items() if board.port == "rp2"]


@pytest.mark.parametrize("name", RP2)
def test_an_image_leaves_room_for_its_driver_and_for_what_comes(name):
    assert image.BOARDS[name].room - memory.image_max(name) == memory.DRIVERS[name] + memory.FLASH_LEFT


def test_the_firmware_fits_the_smallest_slot_beside_micropython():
    slots = {row.size for name in ("METERPORT_ESP32", "METERPORT_ESP32_S3") for row in image.partitions(name)
             if row.label.startswith("ota_")}  # fmt: skip
    assert (
        memory.ESP32_SLOT_OF_MICROPYTHON
        - memory.BLUETOOTH
        - memory.LEFT_OUT
        - memory.MACHINE_CODE
        + memory.firmware_max()
        == min(slots)
    )


def test_what_was_built_is_reported_beside_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_FLASH", tmp_path / "flash")
    assert memory.flash_report() == ""
    memory.record_flash("METERPORT_PICO_W", 1_000_000)
    memory.record_flash("firmware", 480_000)
    left = memory.image_max("METERPORT_PICO_W") - 1_000_000
    assert f"| METERPORT_PICO_W | 1,000,000 | {1_000_000 + left:,} | {left:,} |" in memory.flash_report()
    assert f"| firmware | 480,000 | {memory.firmware_max():,} |" in memory.flash_report()


def test_the_report_replaces_the_tables_of_a_document_only(tmp_path, monkeypatch, capsys):
    names = ("modbus", "bacnet", "posting")
    monkeypatch.setattr(memory, "heap_of_services", lambda is_frozen: dict.fromkeys(names, 1000))
    document = tmp_path / "images.md"
    document.write_text("before\n<!-- memory -->\nold\n<!-- end of memory -->\nafter\n")
    assert memory.main([str(document)]) == 0
    text = document.read_text()
    assert text.startswith("before\n<!-- memory -->\n| service |")
    assert text.endswith("|\n<!-- end of memory -->\nafter\n")
    document.write_text("no marks")
    assert memory.main([str(document)]) == 1
    assert memory.main([str(tmp_path / "none")]) == 1
    assert document.read_text() == "no marks"
    capsys.readouterr()
    with pytest.raises(SystemExit, match="^0$"):
        memory.main(["--help"])
    assert "FILE" in capsys.readouterr().out
