"""The board definitions of tools/boards against the sources of MicroPython 1.25: what CMake, the compiler, the linker
and MicroPython's own tools say to them.

The RP2 boards are built as a whole, with stand-ins for the drivers of W5500 and Wi-Fi chip. For ESP-IDF there is no
package: of its two boards, files and names are compared. Names that MicroPython's port does not use itself are in
KCONFIG, with the file of ESP-IDF that has them.
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from host_tests.emulated import checkout
from tools import image, memory, partition_table
from tools.device import rp2, versions

RP2 = [name for name, board in image.BOARDS.items() if board.port == "rp2"]
ESP32 = [name for name, board in image.BOARDS.items() if board.port == "esp32"]
WIFI = [name for name in RP2 if "W5500" not in name]
SDK = pathlib.Path("lib") / "pico-sdk"
TITLE = "meterport, 16 sockets"  # of the Wi-Fi's boards
FLASH = dict.fromkeys(RP2, 2048 * 1024) | {"METERPORT_PICO2_W": 4096 * 1024}
DOCUMENT = (image.ROOT / "docs" / "images.md").read_text(encoding="utf-8")
SOCKETS = 24  # MEMP_NUM_TCP_PCB

# Of ESP-IDF 5.2 to 5.5: component's Kconfig that has the name.
KCONFIG = {
    "LWIP_MAX_SOCKETS": "lwip",
    "LWIP_TCP_SND_BUF_DEFAULT": "lwip",
    "LWIP_TCP_WND_DEFAULT": "lwip",
    "LWIP_TCPIP_RECVMBOX_SIZE": "lwip",
    "ESP_WIFI_STATIC_RX_BUFFER_NUM": "esp_wifi",
    "ESP_WIFI_DYNAMIC_RX_BUFFER_NUM": "esp_wifi",
    "ESP_WIFI_DYNAMIC_TX_BUFFER_NUM": "esp_wifi",
    "ESP_WIFI_RX_BA_WIN": "esp_wifi",
    "FREERTOS_HZ": "freertos",
}
# What a CMake fragment sets for MicroPython 1.29 (ports/rp2/CMakeLists.txt), which 1.25 leaves to the header.
NEWER = {"MICROPY_HW_FLASH_STORAGE_BYTES"}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return checkout.make(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def configured(tree, tmp_path_factory):
    """configured(name) gives the folder where CMake ran for this board."""
    done = {}

    def configure(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name)
            checkout.configure(name, tree, done[name])
        return done[name]

    return configure


def compile_command(folder, file):
    """The words that compile a source file of the build, but for source and object."""
    rows = json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))
    [row] = [row for row in rows if row["file"].endswith(file)]
    words = shlex.split(row["command"])
    at = words.index("-o")
    return row["file"], [word for word in words[:at] + words[at + 2 :] if word not in ("-c", row["file"])]


def compile_text(folder, text, *options, like="/lwip/src/core/init.c"):
    """Compiles a text as that file is compiled; what the compiler wrote."""
    command = [*compile_command(folder, like)[1], *options, "-xc", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=folder)
    assert not done.returncode, done.stderr
    return done.stdout


# RP2


@pytest.mark.parametrize("name", RP2)
def test_the_board_of_pico_sdk_exists_and_is_of_the_right_chip(tree, name):
    text = (image.BOARDS_DIR / name / "mpconfigboard.cmake").read_text(encoding="utf-8")
    [board] = re.findall(r'set\(PICO_BOARD "(\w+)"\)', text)
    [chip] = re.findall(r'set\(PICO_PLATFORM "(\w+)"\)', text)
    places = (image.BOARDS_DIR / name, tree / SDK / "src" / "boards" / "include" / "boards")
    [header] = [place / f"{board}.h" for place in places if (place / f"{board}.h").is_file()]
    assert re.search(rf"// pico_cmake_set PICO_PLATFORM *= *{chip}\n", header.read_text(encoding="utf-8"))
    assert chip.upper() in image.BOARDS[name].title.upper()


@pytest.mark.parametrize("name", RP2)
def test_cmake_knows_what_a_fragment_sets(tree, name):
    fragments = [image.BOARDS_DIR / name / "mpconfigboard.cmake"]
    text = fragments[0].read_text(encoding="utf-8")
    for included in re.findall(r"include\(\$\{MICROPY_BOARD_DIR\}/\.\./(\S+)\)", text):
        text += (image.BOARDS_DIR / included).read_text(encoding="utf-8")
    readers = [tree / "ports" / "rp2" / "CMakeLists.txt", tree / "extmod" / "extmod.cmake"]
    readers += [*(tree / SDK).glob("*.cmake"), *(tree / SDK / "cmake").glob("*.cmake")]
    known = "".join(path.read_text(encoding="utf-8") for path in readers)
    names = set(re.findall(r"(?:set\(|list\(APPEND )(\w+)", text))
    assert {name for name in names if not re.search(rf"\b{name}\b", known)} <= NEWER


@pytest.mark.parametrize("name", RP2)
def test_lwip_takes_the_configuration(configured, name):
    # core/init.c has lwIP's own checks, which end with #error.
    folder = configured(name)
    source, command = compile_command(folder, "/lwip/src/core/init.c")
    assert "-Werror" in command
    subprocess.run([*command, "-fsyntax-only", source], check=True, cwd=folder)


PROBE = """
#include "py/mpconfig.h"
#include "lwip/opt.h"
_Static_assert(MEMP_NUM_TCP_PCB == %(sockets)d, "sockets");
_Static_assert(MEMP_NUM_UDP_PCB == 8 && !LWIP_MDNS_RESPONDER, "UDP");
_Static_assert(MICROPY_HW_FLASH_STORAGE_BYTES == %(flash)d - %(room)d, "files");
_Static_assert(PICO_FLASH_SIZE_BYTES == %(flash)d, "flash");
#if !MICROPY_PY_NETWORK || !MICROPY_PY_LWIP || !MICROPY_PY_SSL || MICROPY_PY_BLUETOOTH
#error "modules"
#endif
_Static_assert(sizeof(MICROPY_HW_BOARD_NAME) == sizeof("%(title)s"), "name");
_Static_assert(sizeof(MICROPY_HW_MCU_NAME) == 7, "RP2040 or RP2350");
"""


def title(name):
    """The name of the board that the firmware finds in os.uname()."""
    return TITLE + (", W5500" if "W5500" in name else "")


@pytest.mark.parametrize("name", RP2)
def test_the_ports_configuration_has_what_the_header_says(configured, name):
    values = {"sockets": SOCKETS, "flash": FLASH[name], "room": image.BOARDS[name].room, "title": title(name)}
    assert compile_text(configured(name), PROBE % values, "-fsyntax-only") == ""


@pytest.mark.parametrize("name", RP2)
def test_every_macro_of_a_header_is_one_that_micropython_asks_for(tree, name):
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (image.BOARDS_DIR / name / "mpconfigboard.h", *image.BOARDS_DIR.glob("rp2_*.h"))
    )
    folders = ("ports/rp2", "py", "extmod", "shared", "lib/pico-sdk/src/rp2_common/pico_cyw43_driver")
    sources = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for folder in folders
        for path in (tree / folder).rglob("*.[ch]")
        if "boards" not in path.parts
    )
    unknown = {word for word in re.findall(r"#define (\w+)", text) if not re.search(rf"\b{word}\b", sources)}
    # The two that only the Wi-Fi driver itself reads (its cyw43_config.h); MicroPython's own boards have them.
    own = (tree / "ports/rp2/boards/RPI_PICO_W/mpconfigboard.h").read_text(encoding="utf-8")
    assert {word for word in unknown if word not in own} == set()


@pytest.mark.parametrize("name", WIFI)
def test_the_wifi_drivers_bus_finds_its_header_and_micropythons_configuration(configured, tree, name):
    # Without Bluetooth nothing but our include line leads to the first; and it must not lead to the second.
    text = '#include "pico/cyw43_driver.h"\n#include "cyw43_configport.h"\n'
    # -MG: what the build would make first is not there.
    found = compile_text(configured(name), text, "-M", "-MG", like="/pico_cyw43_driver/cyw43_bus_pio_spi.c")
    files = [str(pathlib.Path(word).resolve()) for word in found.replace("\\\n", " ").split() if "cyw43" in word]
    # The files are links to the sources.
    driver = (tree / SDK / "src/rp2_common/pico_cyw43_driver/include/pico/cyw43_driver.h").resolve()
    assert str(driver) in files
    assert str((tree / "ports" / "rp2" / "cyw43_configport.h").resolve()) in files
    assert [name for name in files if name.endswith("pico_cyw43_driver/include/cyw43_configport.h")] == []


# Both chips and both drivers every day, the other two combinations when there is time.
EVERY_DAY = ("METERPORT_PICO2_W", "METERPORT_W5500_EVB_PICO")


@pytest.mark.parametrize(
    "name", [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.long) for name in RP2]
)
def test_an_image_is_made(tree, tmp_path, monkeypatch, name):
    checkout.without_picotool(monkeypatch, tree)
    said = []
    plan = checkout.plan(name, tree, tmp_path)
    target = image.make(plan, said.append)

    assert target.name == f"meterport-{name}-{'.'.join(map(str, image.firmware.VERSION))}.uf2"
    blocks = target.read_bytes()
    assert blocks[:8] == b"UF2\nWQ]\x9e"  # its two magic numbers
    assert int.from_bytes(blocks[28:32], "little") == image.BOARDS[name].family
    subprocess.run(["sha256sum", "--check", "--strict", f"{target.name}.sha256"], cwd=tmp_path, check=True)
    size, _ = image.measure(plan)
    memory.record_flash(name, size)
    assert 600_000 < size <= memory.image_max(name), f"{size} bytes of flash"
    if name == "METERPORT_W5500_EVB_PICO":  # the one whose size in docs/images.md is measured here
        documented = re.search(rf"^\| {name} \| [\d,]+ \| ([\d,]+) \(a\)", DOCUMENT, re.MULTILINE)[1]
        assert abs(size - int(documented.replace(",", ""))) < 0.1 * size, f"{size} bytes of flash: docs/images.md"
    program = rp2.program(blocks)  # as make flash sees it
    place = rp2.file_system_place(program)
    assert (place.offset, place.size) == (image.BOARDS[name].room, FLASH[name] - image.BOARDS[name].room)
    assert rp2.uf2_chip(blocks) in image.BOARDS[name].title
    assert versions.has_firmware(program)
    assert versions.in_image(program) == image.firmware.VERSION
    flat = (plan.work / "firmware.bin").read_bytes()
    assert f"{title(name)} with RP2".encode() in flat
    assert b"firmware/app.py" in flat
    assert any("100 %" in text for text in said)


# ESP32


def cmake_list(board, port, *defines):
    """SDKCONFIG_DEFAULTS as this board's fragment makes it, in a port's folder."""
    script = pathlib.Path(defines[0])
    rows = (f"include({board}/mpconfigboard.cmake)", "foreach(NAME ${SDKCONFIG_DEFAULTS})", 'message("${NAME}")')
    script.write_text("\n".join((*rows, "endforeach()\n")), encoding="utf-8")
    words = [f"-DMICROPY_BOARD_DIR={board}", *defines[1:], "-P", str(script)]
    return subprocess.run(["cmake", *words], cwd=port, capture_output=True, text=True, check=True).stderr.split()


@pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in ESP32 for variant in ("", *image.BOARDS[name].variants)]
)
def test_every_sdkconfig_file_exists_and_ours_is_last(tree, tmp_path, name, variant):
    port = tree / "ports" / "esp32"
    board = image.BOARDS_DIR / name
    files = cmake_list(board, port, tmp_path / "a.cmake", *([f"-DMICROPY_BOARD_VARIANT={variant}"] if variant else []))
    assert [file for file in files if not (port / file).is_file()] == []
    assert files[0] == "boards/sdkconfig.base"
    partitions = pathlib.Path(files[-2])
    assert files[-1] == str(board / "sdkconfig.board")
    assert f'CONFIG_PARTITION_TABLE_CUSTOM_FILENAME="{board}/partitions.csv"\n' in partitions.read_text()
    assert not [file for file in files if file.endswith("sdkconfig.ble")]
    assert ("boards/sdkconfig.spiram_oct" in files) == (name == "METERPORT_ESP32_S3" and not variant)


def test_the_s3_has_what_micropythons_generic_board_has(tree, tmp_path):
    port = tree / "ports" / "esp32"
    text = (port / "boards" / "ESP32_GENERIC_S3" / "mpconfigboard.cmake").read_text(encoding="utf-8")
    generic = text.partition("set(SDKCONFIG_DEFAULTS")[2].partition(")")[0].split()
    generic.remove("boards/sdkconfig.ble")
    files = cmake_list(image.BOARDS_DIR / "METERPORT_ESP32_S3", port, tmp_path / "a.cmake")
    assert set(generic) < set(files)


def test_micropython_looks_for_the_labels_of_our_partitions(tree):
    port = tree / "ports" / "esp32"
    labels = {row.label for name in ESP32 for row in image.partitions(name)}
    assert 'label="vfs"' in (port / "modules" / "flashbdev.py").read_text(encoding="utf-8")
    own = {row.label for row in partition_table.rows_of_csv((port / "partitions-4MiB-ota.csv").read_text())}
    assert labels == own
    assert '"nvs"' in (port / "makeimg.py").read_text(encoding="utf-8")  # what follows the table there


def test_the_s3_finds_the_files_of_later_releases(tmp_path):
    # 1.29: sdkconfig.usb is gone, spiram_sx is called spiram_quad.
    (tmp_path / "boards").mkdir()
    for name in ("base", "spiram_quad", "spiram_oct", "240mhz"):
        (tmp_path / "boards" / f"sdkconfig.{name}").touch()
    files = cmake_list(image.BOARDS_DIR / "METERPORT_ESP32_S3", tmp_path, tmp_path / "a.cmake")
    assert files[:3] == ["boards/sdkconfig.base", "boards/sdkconfig.spiram_quad", "boards/sdkconfig.spiram_oct"]


@pytest.mark.parametrize("name", ESP32)
def test_every_option_of_esp_idf_is_known(tree, name):
    text = (image.BOARDS_DIR / name / "sdkconfig.board").read_text(encoding="utf-8")
    text += (image.BOARDS_DIR / "own_partitions.cmake").read_text(encoding="utf-8").partition('"')[2]
    rows = [row for row in text.splitlines() if row.startswith("CONFIG_")]
    names = [re.fullmatch(r"CONFIG_(\w+)=\S+", row)[1] for row in rows]
    port = tree / "ports" / "esp32"
    files = [*port.glob("boards/sdkconfig*"), *port.glob("boards/*/sdkconfig*"), *port.glob("*.[ch]")]
    known = "".join(path.read_text(encoding="utf-8") for path in files)
    assert [name for name in names if f"CONFIG_{name}" not in known and name not in KCONFIG] == []
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ESP32)
def test_every_macro_of_an_esp32_header_may_be_set_by_a_board(tree, name):
    text = (image.BOARDS_DIR / name / "mpconfigboard.h").read_text(encoding="utf-8")
    port = (tree / "ports" / "esp32" / "mpconfigport.h").read_text(encoding="utf-8")
    required = {"MICROPY_HW_BOARD_NAME", "MICROPY_HW_MCU_NAME"}  # every board says them
    other = "".join(path.read_text(encoding="utf-8") for path in (tree / "ports" / "esp32").glob("*.[ch]"))
    for macro in set(re.findall(r"#define (\w+)", text)) - required:
        assert f"#ifndef {macro}\n" in port or f"#if {macro}\n" in other, macro
    subprocess.run(["gcc", "-fsyntax-only", "-Wall", "-Werror", "-xc", "-"], input=text, text=True, check=True)


# Manifests


@pytest.mark.parametrize("name", image.BOARDS)
def test_micropythons_own_tool_reads_the_manifest(tree, name):
    port = tree / "ports" / image.BOARDS[name].port
    program = f"""
import sys
sys.path.insert(0, {str(tree / "tools")!r})
import manifestfile
paths = {{"MPY_DIR": {str(tree)!r}, "PORT_DIR": {str(port)!r}, "MPY_LIB_DIR": {str(tree / "lib/micropython-lib")!r},
         "BOARD_DIR": {str(image.BOARDS_DIR / name)!r}}}
manifest = manifestfile.ManifestFile(manifestfile.MODE_FREEZE, paths)
required = []
def require(name, **options):
    required.append(name)
manifest.require = require
manifest.execute({str(image.BOARDS_DIR / name / "manifest.py")!r})
print(*(file.target_path for file in manifest.files()), *required)
"""
    frozen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"asyncio/core.py", "_boot.py"} <= set(frozen)
    assert "ssl" in frozen or "bundle-networking" in frozen
