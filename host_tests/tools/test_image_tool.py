"""tools/image.py over a stand-in for a checkout of MicroPython: plans, refusals, and builds by a make that writes what
a port's build would."""

import hashlib
import os
import pathlib
import shutil

import pytest

import firmware
from tools import build, image, partition_table

VERSION = ".".join(str(number) for number in firmware.VERSION)
PICO = "METERPORT_PICO2_W"

# Writes what ports/rp2 or ports/esp32 makes into BUILD=, says percents, and notes how it was called.
MAKE = """#!/bin/sh
echo "$@" >> {calls}
env > {calls}.env
for word in "$@"; do
    case "$word" in
        BUILD=*) out="${{word#BUILD=}}";;
        FROZEN_MANIFEST=*) cp "${{word#*=}}" {calls}.manifest;;
    esac
done
[ -z "$out" ] && exit 0
mkdir -p "$out/partition_table"
for done in 4 50 100 8 10 15 18 24 30 31; do echo "[ $done%] Building C object"; done
for done in 1 40 97; do echo "[$done/97] bootloader"; done
for done in 5 150 1500; do echo "[$done/1500] Building"; done
{script}
"""


def version_header(major=1, minor=28, preview=0):
    rows = (("MAJOR", major), ("MINOR", minor), ("MICRO", 0), ("PRERELEASE", preview))
    return "".join(f"#define MICROPY_VERSION_{name} {value}\n" for name, value in rows)


@pytest.fixture
def checkout(tmp_path):
    """checkout("1.28") makes one with every submodule."""

    def make(release="1.28", preview=0):
        tree = tmp_path / "micropython"
        for port in image.PORTS:
            (tree / "ports" / port).mkdir(parents=True)
        (tree / "py").mkdir()
        major, minor = release.split(".")
        (tree / "py" / "mpconfig.h").write_text(version_header(major, minor, preview))
        for row in (*image.PORTS.values(), *image.BOARDS.values()):
            for name in row.submodules:
                (tree / name).mkdir(parents=True, exist_ok=True)
                (tree / name / "README.md").touch()
        return tree

    return make


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """commands(name=script, ...) is all that PATH has, beside what scripts need."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cp", "mkdir", "env", "cat", "head", "dd", "touch"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))

    def make(**scripts):
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(script)
            path.chmod(0o755)

    return make


@pytest.fixture
def calls(tmp_path):
    """What the stand-in for make was called with."""
    path = tmp_path / "calls"

    def read():
        return path.read_text().splitlines() if path.exists() else []

    read.path = path
    return read


@pytest.fixture
def run(tmp_path, capsys):
    """run(tree, *options) -> (exit code, output, errors)."""

    def main(tree, *options, board=PICO):
        words = ["--board", board, "--out", str(tmp_path / "out"), *options]
        code = image.main(words + (["--micropython", str(tree)] if tree else []))
        said = capsys.readouterr()
        return code, said.out, said.err

    return main


def rp2_tools(calls, script="head -c 1024 /dev/zero > $out/firmware.uf2"):
    found = dict.fromkeys(("arm-none-eabi-gcc", "cmake", "g++", "python3"), "#!/bin/sh\n")
    return {"make": MAKE.format(calls=calls.path, script=script), **found}


# Without building


def test_without_a_board_each_is_listed_with_a_line(capsys):
    assert image.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "make image BOARD=" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == list(image.BOARDS)
    assert max(map(len, lines)) <= 140


def test_an_unknown_board_is_refused_with_the_list(checkout, run):
    code, _, errors = run(checkout(), board="PICO")
    assert code == 2
    assert errors.startswith("there is no board PICO; the boards are:\n")
    assert all(name in errors for name in image.BOARDS)


def test_a_dry_run_says_all_and_does_nothing(checkout, run, tmp_path):
    tree = checkout()
    code, output, errors = run(tree, "--dry-run")
    assert (code, errors) == (0, "")
    assert not (tmp_path / "out").exists()
    assert f"MicroPython 1.28 of {tree}" in output
    assert f"make -j{os.cpu_count()} -C {tree}/mpy-cross\n" in output
    words = f"BOARD={PICO} BOARD_DIR={image.BOARDS_DIR}/{PICO} FROZEN_MANIFEST={tmp_path}/out/"
    assert f"-C {tree}/ports/rp2 {words}" in output
    assert f"result: {tmp_path}/out/meterport-{PICO}-{VERSION}.uf2" in output


def test_without_a_checkout_it_says_how_to_get_one(run):
    code, _, errors = run(None)
    assert code == 2
    assert "MICROPYTHON=path is missing" in errors
    assert f"git clone --depth 1 --branch v1.28.0 {image.UPSTREAM}" in errors
    assert "submodule update --init --depth 1 lib/pico-sdk" in errors
    assert errors.rstrip().endswith("lib/cyw43-driver")


def test_what_is_no_checkout_is_refused(tmp_path, run):
    code, _, errors = run(tmp_path)
    assert code == 2
    assert "py/mpconfig.h is missing" in errors
    assert "git clone" in errors


@pytest.mark.parametrize(
    ("board", "release", "preview", "text"),
    [
        (PICO, "1.26", 0, "MicroPython 1.26 is not one of 1.28 or 1.25"),
        (PICO, "1.27", 0, "#18797"),
        (PICO, "1.28", 1, "MicroPython 1.28-preview is not"),
        (PICO, "1.24", 0, "ARGS=--any-version"),
        ("METERPORT_ESP32", "1.27", 0, "5.5.1 and 5.2.2"),
        ("METERPORT_ESP32_S3", "1.29", 1, "MicroPython 1.29-preview is not one of 1.28 or 1.25"),
    ],
)
def test_other_releases_are_refused_with_the_reason(checkout, run, board, release, preview, text):
    tree = checkout(release, preview)
    code, _, errors = run(tree, "--dry-run", board=board)
    assert code == 2
    assert text in errors
    assert "--branch v1.28.0" in errors
    assert run(tree, "--dry-run", "--any-version", board=board)[0] == 0


@pytest.mark.parametrize("board", image.BOARDS)
@pytest.mark.parametrize("release", ["1.25", "1.28"])
def test_two_releases_are_taken_for_every_board(checkout, run, board, release):
    assert run(checkout(release), "--dry-run", board=board)[::2] == (0, "")


def test_missing_submodules_are_named_with_the_command(checkout, run):
    tree = checkout()
    shutil.rmtree(tree / "lib" / "cyw43-driver")
    (tree / "lib" / "lwip" / "README.md").unlink()  # an empty folder, as git leaves it
    code, _, errors = run(tree, "--dry-run")
    assert code == 2
    assert "submodules are missing: lib/lwip, lib/cyw43-driver" in errors
    assert f"git -C {tree} submodule update --init --depth 1 lib/lwip lib/cyw43-driver" in errors
    assert run(tree, "--dry-run", board="METERPORT_ESP32")[0] == 0  # it needs neither


def test_a_variant_that_a_board_has_not_is_refused(checkout, run):
    tree = checkout()
    code, _, errors = run(tree, "--variant", "QUAD")
    assert (code, errors) == (2, f"{PICO} has no variant QUAD; it has: none\n")
    code, output, _ = run(tree, "--variant", "QUAD", "--dry-run", board="METERPORT_ESP32_S3")
    assert code == 0
    assert "BOARD_VARIANT=QUAD" in output
    assert f"meterport-METERPORT_ESP32_S3-QUAD-{VERSION}.bin" in output


# Tools


def test_missing_commands_are_named_with_their_packages(checkout, run, commands):
    commands(make="#!/bin/sh\n", python3="#!/bin/sh\n")
    code, _, errors = run(checkout())
    assert code == 2
    assert errors.startswith("missing: arm-none-eabi-gcc, cmake, g++. On Debian: apt-get install gcc-arm-none-eabi ")
    assert "IMAGE_IN=docker" in errors


@pytest.mark.parametrize(("release", "idf"), [("1.25", "5.2.2"), ("1.28", "5.5.1")])
def test_without_esp_idf_its_version_is_named(checkout, run, commands, release, idf):
    code, _, errors = run(checkout(release), board="METERPORT_ESP32")
    assert code == 2
    assert f"install ESP-IDF {idf}" in errors
    assert "IMAGE_IN=docker" in errors


@pytest.mark.parametrize(("found", "code"), [((5, 5, 1), 0), ((5, 5, 2), 0), ((5, 2, 2), 2)])
def test_another_esp_idf_is_refused(checkout, run, tmp_path, monkeypatch, found, code):
    file = tmp_path / "idf" / "tools" / "cmake" / "version.cmake"
    file.parent.mkdir(parents=True)
    names = ("MAJOR", "MINOR", "PATCH")
    rows = [f"set(IDF_VERSION_{name} {number})\n" for name, number in zip(names, found, strict=True)]
    file.write_text("".join(rows))
    monkeypatch.setenv("IDF_PATH", str(tmp_path / "idf"))
    tree = checkout()
    answer = run(tree, "--dry-run", board="METERPORT_ESP32")
    assert answer[0] == code
    assert not code or "ESP-IDF 5.2.2 is not 5.5.1" in answer[2]
    assert run(tree, "--dry-run", "--in", "docker", board="METERPORT_ESP32")[0] == 0
    assert run(tree, "--dry-run", board=PICO)[0] == 0


# Docker


def test_docker_runs_the_same_with_both_folders(checkout, run, tmp_path):
    tree = checkout()
    code, output, _ = run(tree, "--in", "docker", "--dry-run", board="METERPORT_ESP32")
    assert code == 0
    command = f"docker run --rm --user {os.getuid()}:{os.getgid()} --env HOME=/tmp"
    assert output.count(command) == 2
    for folder in (image.ROOT, tmp_path / "out", tree):
        assert output.count(f" --volume {folder}:{folder} ") == 2
    assert f" --workdir {tree} espressif/idf:v5.5.1 make -j{os.cpu_count()} -C {tree}/mpy-cross\n" in output
    assert f" espressif/idf:v5.5.1 make -j{os.cpu_count()} -C {tree}/ports/esp32 BOARD=METERPORT_ESP32 " in output
    assert "docker build" not in output


def test_the_container_has_the_esp_idf_of_the_release(checkout, run):
    output = run(checkout("1.25"), "--in", "docker", "--dry-run", board="METERPORT_ESP32_S3")[1]
    assert output.count("espressif/idf:v5.2.2 make") == 2


def test_an_rp2_container_is_made_of_debian(checkout, run):
    output = run(checkout(), "--in", "docker", "--dry-run")[1]
    assert "1. a container with the compiler:\n  docker build --tag meterport-image-rp2 -\n    FROM debian:" in output
    assert "gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib cmake make g++ python3" in output
    assert output.count(" meterport-image-rp2 make ") == 2


def test_no_docker_is_said(checkout, run, commands):
    commands()
    code, _, errors = run(checkout(), "--in", "docker")
    assert code == 2
    assert errors.startswith("docker is missing")


def test_a_docker_without_engine_is_said(checkout, run, commands):
    commands(docker='#!/bin/sh\necho "Client: 28" >&2\necho "Cannot connect to the daemon" >&2\nexit 1\n')
    code, _, errors = run(checkout(), "--in", "docker")
    assert code == 2
    assert errors == "docker has no engine that runs: Cannot connect to the daemon\n"


def test_docker_gets_the_recipe_on_its_input(checkout, run, commands, calls, tmp_path):
    script = f'#!/bin/sh\necho "$@" >> {calls.path}\n[ "$1" = build ] && cat > {tmp_path}/recipe\nexit 0\n'
    commands(docker=script)
    code, _, errors = run(checkout(), "--in", "docker")
    assert [line.split()[0] for line in calls()] == ["version", "build", "run", "run"]
    assert (tmp_path / "recipe").read_text().startswith("FROM debian:")
    assert code == 1  # nothing was built
    assert "the build made no " in errors


# Building


def test_an_image_is_made_with_its_sum(checkout, run, commands, calls, tmp_path):
    commands(**rp2_tools(calls))
    code, output, errors = run(checkout())
    assert (code, errors) == (0, "")
    target = tmp_path / "out" / f"meterport-{PICO}-{VERSION}.uf2"
    content = target.read_bytes()
    assert content == bytes(1024)
    digest = hashlib.sha256(content).hexdigest()
    assert (tmp_path / "out" / f"{target.name}.sha256").read_text() == f"{digest}  {target.name}\n"
    assert f"image: {target}, made in " in output
    # Two blocks of UF2 hold 512 bytes.
    assert f"512 bytes of flash, {1536 * 1024 - 512:,} are left; SHA-256 {digest}" in output


def test_the_manifest_is_the_one_of_the_build_tool(checkout, run, commands, calls):
    commands(**rp2_tools(calls))
    assert run(checkout())[0] == 0
    assert pathlib.Path(f"{calls.path}.manifest").read_text() == build.frozen_manifest(machine_code=True)[0]
    assert len(calls()) == 2
    assert "mpy-cross" in calls()[0]


def test_progress_is_told_every_ten_percent(checkout, run, commands, calls):
    commands(**rp2_tools(calls))
    output = run(checkout())[1]
    told = [line.split()[1] for line in output.splitlines() if line.startswith("image: ") and " %, " in line]
    assert told == ["10", "20", "30", "10", "100"]  # make's, without a tool of 2 files; ninja's, without the bootloader


def test_nothing_of_the_make_around_it_gets_in(checkout, run, commands, calls, monkeypatch):
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BOARD", "BOARD_VARIANT"):
        monkeypatch.setenv(name, "ours")
    commands(**rp2_tools(calls))
    assert run(checkout())[0] == 0
    environment = pathlib.Path(f"{calls.path}.env").read_text()
    assert "=ours\n" not in environment
    assert "PYTHONHASHSEED=0\n" in environment


def test_a_build_that_fails_is_told_with_its_end(checkout, run, commands, calls, tmp_path):
    commands(**rp2_tools(calls, "echo 'rp2_flash.c:52: error: too big'; exit 2"))
    code, _, errors = run(checkout())
    assert code == 1
    assert errors.startswith(f"MicroPython with the firmware failed with code 2; its output is in {tmp_path}/out/work/")
    assert errors.endswith("rp2_flash.c:52: error: too big\n")
    assert not list((tmp_path / "out").glob("meterport-*"))


def test_an_old_image_is_not_taken_for_a_new_one(checkout, run, commands, calls):
    commands(**rp2_tools(calls))
    tree = checkout()
    assert run(tree)[0] == 0
    commands(**rp2_tools(calls, "exit 0"))
    code, _, errors = run(tree)
    assert code == 1
    assert "the build made no " in errors


def test_an_image_that_reaches_into_the_files_is_refused(checkout, run, commands, calls, tmp_path):
    size = 2 * (1536 * 1024 + 256)
    commands(**rp2_tools(calls, f"head -c {size} /dev/zero > $out/firmware.uf2"))
    code, _, errors = run(checkout())
    assert (code, errors) == (1, "the image takes 1,573,120 bytes of flash, 256 more than lie before the files\n")
    assert not list((tmp_path / "out").glob("meterport-*"))


def test_an_esp32s_room_is_a_slot_of_its_partition_table(checkout, run, commands, calls, tmp_path):
    table = tmp_path / "table"
    rows = image.partitions("METERPORT_ESP32")
    table.write_bytes(b"".join(map(partition_table.pack, rows)) + b"\xff" * 32)
    script = f"cp {table} $out/partition_table/partition-table.bin; head -c 5000 /dev/zero > $out/micropython.bin; "
    script += "head -c 9000 /dev/zero > $out/firmware.bin"
    commands(**rp2_tools(calls, script), gcc="#!/bin/sh\n", **{"idf.py": "#!/bin/sh\n"})
    tree = checkout()
    code, output, errors = run(tree, board="METERPORT_ESP32")
    assert (code, errors) == (0, "")
    assert (tmp_path / "out" / f"meterport-METERPORT_ESP32-{VERSION}.bin").stat().st_size == 9000
    assert f"5,000 bytes of flash, {0x1E0000 - 5000:,} are left" in output
    update = tmp_path / "out" / f"meterport-METERPORT_ESP32-{VERSION}.app-bin"
    assert update.stat().st_size == 5000
    digest = hashlib.sha256(update.read_bytes()).hexdigest()
    assert update.with_name(f"{update.name}.sha256").read_text() == f"{digest}  {update.name}\n"
    table.write_bytes(b"".join(map(partition_table.pack, rows[:3])) + b"\xff" * 32)
    code, _, errors = run(tree, board="METERPORT_ESP32")
    assert code == 1
    assert "the build did not take the partition table of METERPORT_ESP32" in errors


def test_builds_of_two_checkouts_have_two_folders(checkout, tmp_path):
    first = checkout()
    second = tmp_path / "other"
    shutil.copytree(first, second)
    plans = [image.planned(image.parse(["--board", PICO, "--micropython", str(tree)])) for tree in (first, second)]
    assert plans[0].work != plans[1].work
    assert plans[0].target == plans[1].target == image.OUT / f"meterport-{PICO}-{VERSION}.uf2"


def test_without_picotool_the_checkouts_own_tool_makes_the_uf2(checkout, run, commands, calls, tmp_path):
    commands(**rp2_tools(calls, "head -c 300 /dev/zero > $out/firmware.bin"))
    tree = checkout()
    (tree / "tools").mkdir()
    tool = tree / "tools" / "uf2conv.py"
    tool.write_text("import sys\nopen(sys.argv[sys.argv.index('--output') + 1], 'wb').write(repr(sys.argv).encode())\n")
    assert run(tree)[0] == 0
    said = (tmp_path / "out" / f"meterport-{PICO}-{VERSION}.uf2").read_text()
    assert "'--convert', '--base', '0x10000000', '--family', '0xe48bff59'" in said
    assert said.endswith("firmware.bin']")
