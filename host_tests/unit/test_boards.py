"""The board definitions of tools/boards, as far as they say the same as each other and as the tools. What they say to
MicroPython's build is compared with its sources in host_tests/emulated/test_boards.py."""

import re

import pytest

from tools import image, partition_table
from tools.emulator import build

FOLDERS = sorted(path.name for path in image.BOARDS_DIR.glob("METERPORT_*"))
RP2 = sorted(name for name, board in image.BOARDS.items() if board.port == "rp2")
ESP32 = sorted(name for name, board in image.BOARDS.items() if board.port == "esp32")
KIB = 1024


def read(name, file):
    return (image.BOARDS_DIR / name / file).read_text(encoding="utf-8")


def headers(name):
    """mpconfigboard.h with what it includes from tools/boards."""
    text = read(name, "mpconfigboard.h")
    for included in re.findall(r'#include "\.\./(\w+\.h)"', text):
        text += read(".", included)
    return text


def test_the_tool_knows_every_definition():
    assert sorted(image.BOARDS) == FOLDERS
    assert sorted([*RP2, *ESP32]) == FOLDERS


@pytest.mark.parametrize("name", FOLDERS)
def test_a_definition_has_its_files_and_its_variants(name):
    files = {path.name for path in (image.BOARDS_DIR / name).iterdir()}
    assert {"mpconfigboard.cmake", "mpconfigboard.h", "manifest.py"} <= files
    variants = {f"mpconfigvariant_{variant}.cmake" for variant in image.BOARDS[name].variants}
    assert {file for file in files if file.startswith("mpconfigvariant")} == variants


@pytest.mark.parametrize("name", FOLDERS)
def test_the_firmware_finds_its_16_sockets_in_the_name(name):
    # firmware/board/*.py: "meterport" in os.uname().machine, and "W5500"
    wired = ", W5500" if "W5500" in name else ""
    assert re.findall(r"#define MICROPY_HW_BOARD_NAME (.*)", headers(name)) == [f'"meterport, 16 sockets{wired}"']


@pytest.mark.parametrize("name", FOLDERS)
def test_a_network_calls_the_device_meterport(name):
    assert re.findall(r"#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT (.*)", headers(name)) == ['"meterport"']


@pytest.mark.parametrize("name", FOLDERS)
def test_bluetooth_is_nowhere(name):
    cmake = read(name, "mpconfigboard.cmake")
    assert not re.search(r"BLUETOOTH|sdkconfig\.ble$", re.sub("#.*", "", cmake), re.MULTILINE)
    if name in ESP32:  # that port has it, unless it is told not to
        assert "#define MICROPY_PY_BLUETOOTH (0)\n" in headers(name)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_manifest_is_the_boards_own(name):
    # Else MicroPython takes the port's, and frozen_manifest() includes this one by its name.
    assert "set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)\n" in read(name, "mpconfigboard.cmake")


@pytest.mark.parametrize(("name", "flash"), [(name, 2048 if name != "METERPORT_PICO2_W" else 4096) for name in RP2])
def test_image_and_files_share_the_flash(name, flash):
    # CMake's number for MicroPython 1.29, the header's for those before; the tool checks the size of the image.
    [files] = re.findall(r"set\(MICROPY_HW_FLASH_STORAGE_BYTES (\d+)\)", read(name, "mpconfigboard.cmake"))
    [kib] = re.findall(r"#define MICROPY_HW_FLASH_STORAGE_BYTES \((\d+) \* 1024\)", read(name, "mpconfigboard.h"))
    assert int(files) == int(kib) * KIB
    assert int(files) % 4096 == 0  # a sector
    assert int(files) + image.BOARDS[name].room == flash * KIB


@pytest.mark.parametrize("name", RP2)
def test_each_number_may_come_from_outside(name):
    assert "if(NOT DEFINED MICROPY_HW_FLASH_STORAGE_BYTES)" in read(name, "mpconfigboard.cmake")
    assert "#ifndef MICROPY_HW_FLASH_STORAGE_BYTES" in read(name, "mpconfigboard.h")


@pytest.mark.parametrize("name", RP2)
def test_lwip_is_the_one_that_the_tests_run(name):
    assert '#include "lwip_for_16_sockets.h"' in headers(name)


@pytest.mark.parametrize("name", RP2)
def test_the_interpreter_is_the_one_that_the_tests_run(name):
    assert "include(${MICROPY_BOARD_DIR}/../interpreter.cmake)\n" in read(name, "mpconfigboard.cmake")
    assert "/interpreter.cmake)" in (build._BOARD_DIR / "mpconfigboard.cmake").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in RP2 if "W5500" in name])
def test_no_pin_of_the_w5500_has_a_name(name):
    wired = set(re.findall(r"#define MICROPY_HW_WIZNET_(?:SPI_[SM]\w+|PIN_\w+) \((\d+)\)", headers(name)))
    assert wired == {"16", "17", "18", "19", "20", "21"}
    named = {row.partition(",")[2] for row in read(name, "pins.csv").split()}
    assert not named & {f"GPIO{number}" for number in wired}
    assert {"GPIO4", "GPIO5", "GPIO8", "GPIO9"} <= named  # UART 1


@pytest.mark.parametrize("name", ESP32)
def test_an_esp32_has_room_for_16_sockets(name):
    options = dict(row.split("=") for row in read(name, "sdkconfig.board").splitlines() if row.startswith("CONFIG_"))
    assert options["CONFIG_LWIP_MAX_SOCKETS"] == "16"
    assert int(options["CONFIG_LWIP_MAX_ACTIVE_TCP"]) >= 24  # those that are closing count too
    assert options["CONFIG_FREERTOS_HZ"] == "1000"
    buffers = sum(int(options[f"CONFIG_LWIP_TCP_{kind}_DEFAULT"]) for kind in ("SND_BUF", "WND"))
    if name == "METERPORT_ESP32":  # without PSRAM
        assert 16 * buffers < 96 * KIB
        assert min(buffers // 2, 2440) == 2440  # Kconfig's least
    wifi = {key: int(value) for key, value in options.items() if key.startswith("CONFIG_ESP_WIFI_")}
    if wifi:  # Kconfig: dynamic ones at least as many as static ones
        assert wifi["CONFIG_ESP_WIFI_DYNAMIC_RX_BUFFER_NUM"] >= wifi["CONFIG_ESP_WIFI_STATIC_RX_BUFFER_NUM"]


@pytest.mark.parametrize(("name", "target"), [("METERPORT_ESP32", "esp32"), ("METERPORT_ESP32_S3", "esp32s3")])
def test_the_chip_is_said_first(name, target):
    # An IDF_TARGET in the environment would win otherwise.
    lines = [line for line in read(name, "mpconfigboard.cmake").splitlines() if line and not line.startswith("#")]
    assert lines[0] == f"set(IDF_TARGET {target})"


# Partition tables of the ESP32 boards, by the rules of ESP-IDF's gen_esp32part.py.

ESP32_FLASH = {"METERPORT_ESP32": 4096 * KIB, "METERPORT_ESP32_S3": 8192 * KIB}
BOOT_LOADER_AT = {"METERPORT_ESP32": 0x1000, "METERPORT_ESP32_S3": 0}
SECTOR, APP_ALIGNMENT, TABLE_END = 4096, 64 * KIB, 0x9000


def by_label(name):
    rows = image.partitions(name)
    found = {row.label: row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("name", ESP32)
def test_partitions_lie_one_behind_the_other_from_the_table_to_the_end_of_the_flash(name):
    end = TABLE_END
    for row in image.partitions(name):
        assert row.offset == end
        assert row.offset % (APP_ALIGNMENT if row.type == partition_table.APP else SECTOR) == 0
        assert row.size > 0
        assert row.size % SECTOR == 0
        assert 0 < len(row.label) < 16
        end = row.offset + row.size
    assert end == ESP32_FLASH[name]


@pytest.mark.parametrize("name", ESP32)
def test_there_are_two_slots_for_images_and_what_ota_needs(name):
    rows = by_label(name)
    apps = [row for row in rows.values() if row.type == partition_table.APP]
    assert [(row.label, row.subtype) for row in apps] == [("ota_0", 0x10), ("ota_1", 0x11)]  # and no factory
    assert apps[0].size == apps[1].size
    assert (rows["otadata"].subtype, rows["otadata"].size) == (0x00, 0x2000)  # ESP-IDF takes no other size
    assert rows["nvs"].subtype == 0x02
    assert rows["nvs"].size >= 3 * SECTOR
    assert rows["phy_init"].subtype == 0x01


@pytest.mark.parametrize("name", ESP32)
def test_micropython_finds_the_file_system_by_its_label(name):
    # modules/flashbdev.py: Partition.find(Partition.TYPE_DATA, label="vfs"); main.c of 1.26 and later makes one at the
    # start only where the table has none.
    row = by_label(name)["vfs"]
    assert (row.type, row.subtype) == (partition_table.DATA, 0x81)
    assert row.size >= 192 * KIB


@pytest.mark.parametrize("name", ESP32)
def test_an_image_by_cable_erases_which_slot_ran(name):
    # MicroPython's makeimg.py fills what lies between boot loader, table and first image with FF.
    rows = by_label(name)
    assert BOOT_LOADER_AT[name] < rows["nvs"].offset < rows["otadata"].offset < rows["ota_0"].offset


def test_as_much_of_4_mib_as_may_be_is_for_images():
    rows = by_label("METERPORT_ESP32")
    assert rows["vfs"].size < 192 * KIB + 2 * APP_ALIGNMENT  # two more pieces would be for the images


@pytest.mark.parametrize("name", ESP32)
def test_a_new_image_runs_on_trial(name):
    assert "CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y\n" in read(name, "sdkconfig.board")
    assert "${OWN_PARTITIONS}\n    ${MICROPY_BOARD_DIR}/sdkconfig.board\n)" in read(name, "mpconfigboard.cmake")


def test_a_binary_table_reads_as_its_csv_file():
    rows = image.partitions("METERPORT_ESP32")
    table = b"".join(map(partition_table.pack, rows))
    assert list(partition_table.rows(table + b"\xeb\xeb" + b"\xff" * 62)) == rows
    assert list(partition_table.rows(table[:-1])) == rows[:-1]
