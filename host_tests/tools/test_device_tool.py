"""python -m tools.device: arguments, repl, logs, backup."""

import select
import socket
import sys
import threading

import pytest

from tools.device import console, port
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


def test_a_missing_image_is_named_before_the_port(no_ports, capsys):
    assert main(["flash"]) == 2
    assert "no image is given: --micropython-bin FILE" in capsys.readouterr().err
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
