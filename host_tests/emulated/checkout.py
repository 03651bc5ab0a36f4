"""A checkout of MicroPython for tools/image.py, from Debian's source packages: they have all but three submodules, for
which there are stand-ins.

The W5500's driver and the Wi-Fi driver are in no package: stand_ins has the names that MicroPython and pico-sdk use, so
that whole images link. Of micropython-lib there are the packages that the manifests name, without what they say. Left
out is what pico-sdk compiles for Bluetooth, which no image has.
"""

import pathlib
import shutil
import subprocess

from tools import build, image, sources, steps
from tools.emulator import build as emulator

STAND_INS = pathlib.Path(__file__).resolve().parent / "stand_ins"
_WIZNET = "W5100/w5100 W5100S/w5100s W5200/w5200 W5300/w5300 W5500/w5500 socket"
_WIZNET_EMPTY = [f"Ethernet/{name}.c" for name in _WIZNET.split()] + ["Internet/DNS/dns.c", "Internet/DHCP/dhcp.c"]
_CYW43_EMPTY = ("cyw43_ll.c", "cyw43_stats.c", "cyw43_lwip.c")
_BLUETOOTH = ("cybt_shared_bus.c", "cybt_shared_bus_driver.c")
_PACKAGES = ("onewire", "ds18x20", "dht", "neopixel", "ssl")  # ports/rp2/boards/manifest.py, and ours


def sources_tree():
    """MicroPython 1.25 as the emulated RP2040's image is built from it; fetched if need be."""
    emulator.ensure_tools()
    return sources.ensure(sources.STABLE)


def make(folder):
    """A checkout there: links to the sources' files, and stand-ins."""
    tree = folder / "micropython"
    subprocess.run(["cp", "-as", f"{sources_tree()}/.", tree], check=True)
    library = tree / "lib"
    (library / "pico-sdk" / "README.md").touch()  # the port's Makefile looks for it
    for name in ("wiznet5k", "cyw43-driver"):
        (library / name).mkdir(exist_ok=True)
        (library / name / "README.md").write_text("a stand-in\n", encoding="utf-8")
    for name in _WIZNET_EMPTY:
        path = library / "wiznet5k" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shutil.copytree(STAND_INS / "wiznet5k", library / "wiznet5k" / "Ethernet", dirs_exist_ok=True)
    (library / "wiznet5k" / "Ethernet" / "socket.h").write_text('#include "wizchip_conf.h"\n', encoding="utf-8")
    shutil.copytree(STAND_INS / "cyw43-driver", library / "cyw43-driver" / "src")
    for name in _CYW43_EMPTY:
        (library / "cyw43-driver" / "src" / name).touch()
    for name in _BLUETOOTH:
        path = library / "pico-sdk/src/rp2_common/pico_cyw43_driver/cybt_shared_bus" / name
        path.unlink()  # a link to the sources
        path.touch()
    for name in _PACKAGES:
        package = library / "micropython-lib" / "python-stdlib" / name
        package.mkdir(parents=True, exist_ok=True)
        (package / "manifest.py").write_text(f'module("{name}.py")\n', encoding="utf-8")
        (package / f"{name}.py").touch()
    return tree


def plan(name, tree, out):
    """What `make image` would do there."""
    return image.planned(image.parse(["--board", name, "--micropython", str(tree), "--out", str(out)]))


def without_picotool(monkeypatch, tree):
    """For builds of the port: it fetches picotool otherwise, and takes its version from the repository around it."""
    monkeypatch.setenv("CMAKE_ARGS", "-DPICO_NO_PICOTOOL=1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tree.parent))


def configure(name, tree, folder):
    """CMake's part of a build of this board; raises steps.BuildError."""
    (folder / "manifest.py").write_text(build.frozen_manifest(machine_code=True)[0], encoding="utf-8")
    options = [f"-DMICROPY_BOARD={name}", f"-DMICROPY_BOARD_DIR={image.BOARDS_DIR / name}", "-DPICO_NO_PICOTOOL=1"]
    options += [f"-DMICROPY_FROZEN_MANIFEST={folder / 'manifest.py'}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    options += [f"-DPython3_EXECUTABLE={shutil.which('python3')}"]
    steps.run("cmake", ["cmake", "-S", tree / "ports" / "rp2", "-B", folder, *options], folder)
