"""python -m tools.device: arguments, repl, logs, backup."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from host_tests import esp_image
from host_tests.pseudo_terminal import PseudoTerminal
from host_tests.system.rig import wait_for
from host_tests.tools.test_uf2_tool import uf2 as uf2_image
from tools import build
from tools import image as images
from tools.device import choice, configuration, console, esp32, port, rp2, versions
from tools.device.__main__ import main
from tools.device.port import DeviceError, UsageError


@pytest.fixture
def no_ports(monkeypatch):
    monkeypatch.setattr(port, "serial_ports", lambda: ["/dev/ttyUSB3 (CP2102)"])


@pytest.mark.parametrize("action", ["deploy", "repl"])
def test_a_missing_port_is_answered_with_an_example_and_the_ports_there_are(action, no_ports, capsys):
    assert main([action]) == 2
    error = capsys.readouterr().err
    assert f"{action}: no port is given; for example: make {action} PORT=/dev/ttyUSB0" in error
    assert "/dev/ttyUSB3 (CP2102)" in error


def test_a_port_that_does_not_exist_is_named(no_ports, capsys):
    assert main(["deploy", "--port", "/dev/nonexistent"]) == 2
    assert "there is no /dev/nonexistent" in capsys.readouterr().err


@pytest.fixture
def plug_in(monkeypatch, tmp_path):
    """plug_in(*ports): there are these serial ports, each (name of a file in tmp_path, vendor, product)."""

    def plug(*ports):
        found = []
        for name, vendor, product in ports:
            (tmp_path / name).touch()
            found.append(ListPortInfo(str(tmp_path / name)))
            found[-1].vid, found[-1].pid = vendor, product
        monkeypatch.setattr(list_ports, "comports", lambda: found)

    return plug


PICO, PROBE, CP2102, CH340, ESP32_S3, MODEM, BUILT_IN = (
    ("ttyACM0", 0x2E8A, 0x0005), ("ttyACM1", 0x2E8A, 0x000C), ("ttyUSB0", 0x10C4, 0xEA60), ("ttyUSB1", 0x1A86, 0x7523),
    ("ttyACM2", 0x303A, 0x1001), ("ttyACM3", 0x12D1, 0x1001), ("ttyS0", None, None),
)  # fmt: skip


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ((PICO, PROBE, MODEM, BUILT_IN), PICO),
        ((CP2102, BUILT_IN), CP2102),
        ((CH340,), CH340),
        ((ESP32_S3, PROBE), ESP32_S3),
    ],
)
def test_the_one_board_that_is_connected_is_found_by_its_usb_id(plug_in, tmp_path, capsys, ports, found):
    plug_in(*ports)
    found = tmp_path / found[0]
    assert main(["repl", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"PORT={found} is taken" in said
    assert f"connect {found} resume repl" in said


@pytest.mark.parametrize("ports", [(), (PROBE, MODEM, BUILT_IN), (PICO, CP2102)], ids=["none", "no board", "two"])
def test_without_one_board_alone_a_port_is_asked_for(plug_in, capsys, ports):
    plug_in(*ports)
    assert main(["repl", "--dry-run"]) == 2
    assert "no port is given" in capsys.readouterr().err


def test_an_image_goes_to_a_board_of_its_kind(plug_in, tmp_path, capsys):
    plug_in(PICO, CP2102)
    image = tmp_path / "image.bin"
    image.write_bytes(esp_image.make())
    assert main(["flash", "--image", str(image), "--dry-run"]) == 0
    assert f"--port {tmp_path}/ttyUSB0" in capsys.readouterr().out
    image.write_bytes(uf2_image())
    assert main(["flash", "--image", str(image), "--dry-run"]) == 0
    assert f"connect {tmp_path}/ttyACM0 resume bootloader" in capsys.readouterr().out


def test_a_board_in_bootsel_needs_no_port(plug_in, monkeypatch, tmp_path, capsys):
    plug_in(PICO)
    monkeypatch.setattr(rp2, "find_drives", lambda roots: {tmp_path: "RP2040"})
    image = tmp_path / "image.uf2"
    image.write_bytes(uf2_image())
    assert main(["flash", "--image", str(image), "--dry-run"]) == 0
    assert "bootloader" not in capsys.readouterr().out


def test_a_missing_image_is_named_before_the_port(no_ports, capsys):
    assert main(["flash"]) == 2
    assert "no image is given: IMAGE=FILE (--image FILE), a .bin for an ESP32 or a .uf2" in capsys.readouterr().err
    assert main(["flash", "--micropython-bin", "/nonexistent.bin"]) == 2
    assert "/nonexistent.bin: No such file" in capsys.readouterr().err


def test_repl_opens_the_prompt_without_a_reset(capsys):
    assert main(["repl", "--port", "socket://127.0.0.1:7000", "--dry-run"]) == 0
    assert "serial.tools.miniterm --raw --eol CR socket://127.0.0.1:7000" in capsys.readouterr().out
    console.repl("/dev/ttyUSB7", dry_run=True)
    assert "mpremote connect /dev/ttyUSB7 resume repl" in capsys.readouterr().out


def test_a_failing_command_is_named_with_its_code():
    with pytest.raises(DeviceError, match=r"failed with code 3: .*exit\(3\)"):
        port.call([sys.executable, "-c", "exit(3)"])


# -- the image of a board


@pytest.fixture
def built(tmp_path, monkeypatch):
    """built(NAMES): build/images with these files."""
    monkeypatch.setattr(images, "OUT", tmp_path / "images")

    def put(*names):
        images.OUT.mkdir(exist_ok=True)
        for name in names:
            content = uf2_image() if name.endswith(".uf2") else esp_image.make()
            (images.OUT / name).write_bytes(content)

    return put


ALL = ("meterport-METERPORT_PICO_W-0.1.0.uf2", "meterport-METERPORT_PICO2_W-0.1.0.uf2",
       "meterport-METERPORT_W5500_EVB_PICO-0.1.0.uf2", "meterport-METERPORT_W5500_EVB_PICO2-0.1.0.uf2",
       "meterport-METERPORT_ESP32-0.1.0.bin", "meterport-METERPORT_ESP32_S3-0.1.0.bin")  # fmt: skip


def test_every_board_file_has_its_image(built):
    built(*ALL, "meterport-METERPORT_ESP32-0.1.0.app-bin", "meterport-METERPORT_ESP32-0.1.0.bin.sha256")
    taken = {}
    for name in json.loads(configuration._BOARDS.read_text())["names"]:
        path, board = choice.choose("", name, images.OUT, lambda text: None)
        assert board == name
        taken[name] = Path(path).name.split("-")[1]
    assert taken == {
        "esp32-devkit": "METERPORT_ESP32", "lilygo-t-can485": "METERPORT_ESP32", "olimex-esp32-poe": "METERPORT_ESP32",
        "olimex-esp32-poe-iso": "METERPORT_ESP32", "wt32-eth01": "METERPORT_ESP32",
        "waveshare-esp32-s3-eth": "METERPORT_ESP32_S3", "pico-w": "METERPORT_PICO_W", "pico-2-w": "METERPORT_PICO2_W",
        "w5500-evb-pico": "METERPORT_W5500_EVB_PICO", "w5500-evb-pico2": "METERPORT_W5500_EVB_PICO2",
    }  # fmt: skip
    for name in images.BOARDS:
        path, board = choice.choose("", name, images.OUT, lambda text: None)
        assert (Path(path).name.split("-")[1], board) == (name, "")


def test_flash_takes_the_one_image_of_a_board_and_says_so(built, tmp_path, capsys):
    built(*ALL)
    arguments = ["flash", "--port", "socket://x:1", "--dry-run"]
    for board in ("wt32-eth01", "METERPORT_ESP32"):
        assert main([*arguments, "--board", board]) == 0
        said = capsys.readouterr().out
        assert f"IMAGE={images.OUT}/meterport-METERPORT_ESP32-0.1.0.bin is taken" in said
        assert ("the file system" in said) == (board == "wt32-eth01")


def test_none_or_several_images_of_a_board_are_an_error_that_says_what_to_give(built, capsys):
    arguments = ["flash", "--port", "socket://x:1", "--dry-run", "--board"]
    assert main([*arguments, "pico-w"]) == 2
    assert "has 0 for BOARD=pico-w; give IMAGE=FILE (--image FILE), a .bin for an ESP32 or a .uf2" in (
        capsys.readouterr().err
    )
    built(*ALL, "meterport-METERPORT_PICO_W-0.2.0.uf2")
    assert main([*arguments, "pico-w"]) == 2
    assert f"has 2 for BOARD=pico-w: {ALL[0]}, meterport-METERPORT_PICO_W-0.2.0.uf2; give" in capsys.readouterr().err
    assert main([*arguments, "METERPORT_PICO_X"]) == 2
    assert "make image knows METERPORT_PICO2_W," in capsys.readouterr().err
    assert main([*arguments, "METERPORT_ESP32", "--image", str(images.OUT / ALL[4])]) == 2
    assert "leave one out" in capsys.readouterr().err


@pytest.mark.parametrize(("is_terminal", "answer", "code"), [(True, "n", 2), (True, "y", 0), (False, None, 0)])
def test_make_asks_at_a_terminal(built, monkeypatch, capsys, is_terminal, answer, code):
    built(*ALL)
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: is_terminal))
    monkeypatch.setattr("builtins.input", lambda question: answer)
    agreed = []

    def flash(port, image, files, chip, baud, is_agreed, *rest):
        agreed.append(is_agreed())
        if not agreed[0]:
            raise UsageError("not confirmed")

    monkeypatch.setattr(esp32, "flash", flash)
    assert main(["flash", "--port", "socket://x:1", "--board", "METERPORT_ESP32"]) == code
    assert agreed == [code == 0]


# -- make


@pytest.fixture
def make(tmp_path):
    """make(*words, **environment) of the Makefile; the arguments that the program gets."""
    script = tmp_path / "arguments.py"
    script.write_text("import json, sys; print(json.dumps(sys.argv[1:]))")

    def run(*words, **environment):
        done = subprocess.run(
            ["make", "-s", "-o", "venv", *words, f"PY={sys.executable} {script}"], cwd=build.ROOT,
            env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("name", ["Net$home", "$(shell touch {})x", '"; touch {}; "', "$$HOME `touch {}`", "it's #1\\"])
def test_what_a_user_gives_to_make_is_text_and_runs_nothing(make, tmp_path, name):
    trap = tmp_path / "trap"
    name = name.format(trap)
    wanted = ["-m", "tools.device", "flash", "--port=", f"--image={name}", f"--wifi={name}"]
    assert make("flash", f"IMAGE={name}", f"WIFI={name}") == wanted
    assert make("flash", IMAGE=name, WIFI=name) == wanted
    for target in ("deploy", "repl", "logs", "backup"):
        assert make(target, f"PORT={name}") == ["-m", "tools.device", target, f"--port={name}"]
    assert make("image", f"BOARD={name}", f"VARIANT={name}", f"MICROPYTHON={name}", f"IMAGE_IN={name}", "ARGS=-x") == [
        "-m", "tools.image", f"--board={name}", f"--variant={name}", f"--micropython={name}", f"--in={name}", "-x",
    ]  # fmt: skip
    assert make("soak", f"SEED={name}", "DAYS=3") == ["-m", "tools.soak", "--days=3", f"--seed={name}"]
    assert not trap.exists()


# -- logs, backup


def test_logs_show_what_the_board_says_and_send_nothing(capsys):
    received = []

    def board():
        connection, _ = listener.accept()
        with connection:
            while not select.select([connection], [], [], 0.02)[0]:  # until it is closed, or something is sent
                connection.sendall(b"app: meterport runs\r\n")
            received.append(connection.recv(100))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=board)
        thread.start()
        console.logs(f"socket://127.0.0.1:{listener.getsockname()[1]}", seconds=1, say=lambda text: None)
        thread.join(10)
    assert "app: meterport runs\r\n" in capsys.readouterr().out
    assert received == [b""]


def test_logs_show_a_serial_port_and_whole_characters_until_it_is_pulled(capsys):
    received, failed, shown = [], [], []

    def show():
        with pytest.raises(DeviceError) as error:
            console.logs(terminal.path, say=lambda text: None)
        failed.append(str(error.value))

    def is_shown(text):
        shown.append(capsys.readouterr().out)
        return text in "".join(shown)

    with PseudoTerminal(received.append) as terminal:
        thread = threading.Thread(target=show)
        thread.start()
        wait_for(lambda: terminal.write(b".") or is_shown("."))  # what came before the port was open is lost
        whole = "app: 21 °C\r\n".encode()
        terminal.write(whole[:9])  # the degree sign in two pieces
        wait_for(lambda: is_shown("app: 21 "))
        terminal.write(whole[9:])
        wait_for(lambda: is_shown("app: 21 °C\r\n"))
        terminal.vanish()
        thread.join(10)
    assert failed[0].startswith(f"the port {terminal.path} is gone: ")
    assert received == []


def test_logs_set_dtr_and_rts_as_mpremote_does(monkeypatch):
    """Both at once when the port is opened, by the kernel and pyserial; RTS off first when it is closed: an ESP32 is
    reset by RTS without DTR, and an RP2 drops what it says without DTR."""
    changes = []

    class Port:
        in_waiting = 0
        dtr = property(lambda self: True, lambda self, value: changes.append(("dtr", value)))
        rts = property(lambda self: True, lambda self, value: changes.append(("rts", value)))

        def isOpen(self):
            return "open" in changes

        def open(self):
            changes.append("open")

        def read(self, size):
            return b""

        def close(self):
            changes.append("close")

    monkeypatch.setattr(serial, "serial_for_url", lambda *names, **options: Port())
    console.logs("/dev/ttyUSB7", seconds=0.1, say=lambda text: None)
    assert changes == ["open", ("rts", False), ("dtr", False), "close"]


def test_logs_of_a_port_that_does_not_open_are_an_error():
    with pytest.raises(DeviceError, match="failed to access /dev/nonexistent"):
        console.logs("/dev/nonexistent", say=lambda text: None)


def test_a_backup_is_a_new_folder_for_the_user_only(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(console, "call", lambda command: calls.append([str(word) for word in command[3:]]))
    folder = tmp_path / "backup"
    console.backup("PORT", folder, say=lambda text: None)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert calls == [["connect", "PORT", "cp", "--recursive", ":/data", str(folder)],
                     ["connect", "PORT", "resume", "reset"]]  # fmt: skip
    with pytest.raises(UsageError, match="is there already"):
        console.backup("PORT", folder, say=lambda text: None)


def test_a_backup_of_a_board_without_data_restarts_its_gateway_and_leaves_no_folder(tmp_path, monkeypatch):
    resets, said = [], []

    def fail(command):
        raise DeviceError("no such path")

    monkeypatch.setattr(console, "call", fail)
    monkeypatch.setattr(versions, "call", lambda command: resets.append(command[3:]))
    folder = tmp_path / "backup"
    for _ in range(2):
        with pytest.raises(DeviceError, match="no such path"):
            console.backup("PORT", folder, say=said.append)
        assert not folder.exists()
    assert resets == [["connect", "PORT", "resume", "reset"]] * 2

    def break_off(command):
        (folder / "config.json").write_text("{}")
        raise DeviceError("the port is gone")

    monkeypatch.setattr(console, "call", break_off)
    with pytest.raises(DeviceError, match="the port is gone"):
        console.backup("PORT", folder, say=said.append)
    assert (folder / "config.json").exists()
    assert said[-1] == f"{folder} is not whole"
