"""The import rules: each rule of tools/check_imports.py accepts what it should and can fail."""

import pytest

from tools import check_imports


def tree(root, files):
    """Writes {path: source} below root, with the packages' __init__.py."""
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        for folder in path.relative_to(root).parents:
            if folder.parts and folder.parts != ("lib",):
                (root / folder / "__init__.py").touch()
    return root


def texts(root):
    return [str(finding) for finding in check_imports.check(root)[1]]


# Modules that the cases below import; each is right by itself.
SURROUNDINGS = {
    "firmware/events.py": "",
    "firmware/meters/meters.py": "",
    "firmware/config/load.py": "",
    "firmware/app.py": "",
    "firmware/net/seam.py": "",
    "firmware/net/budget.py": "",
    "firmware/bus/interface.py": "",
    "firmware/bus/transaction.py": "",
    "firmware/services/http/pages.py": "",
    "firmware/services/ntp/client.py": "",
    "firmware/board/esp32.py": "",
    "lib/modbus/crc.py": "",
    "lib/dns/__init__.py": "",
}

RIGHT = [
    ("boot.py", "import machine, esp"),
    ("main.py", "import sys, os\nfrom firmware import app\nfrom firmware.board import esp32"),
    ("lib/modbus/pdu.py", "import struct\nfrom micropython import const\nfrom modbus.crc import crc16"),
    ("lib/http1.py", "import dns"),
    ("firmware/meters/meters.py", "import json, os, array, hashlib, struct\nfrom firmware import events"),
    ("firmware/net/listener.py", "import asyncio, socket, errno, time, select, dns"),
    ("firmware/net/seam_micropython.py", "import sys\nX = sys.implementation.name"),
    ("firmware/net/seam_cpython.py", "import contextlib, traceback"),
    ("firmware/net/listener.py", "from firmware.net import seam\nfrom firmware import events"),
    ("firmware/bus/poller.py", "import asyncio\nfrom firmware.bus import transaction"),
    ("firmware/bus/poller.py", "from firmware.net import seam\nfrom firmware.net.seam import ticks_ms"),
    ("firmware/bus/poller.py", "from firmware.config import load\nimport modbus"),
    ("firmware/services/http/server.py", "from firmware.services.http import pages"),
    ("firmware/services/http/server.py", "from firmware.net import budget"),
    ("firmware/services/http/server.py", "from firmware.bus import Bus, interface\nimport json, modbus.crc"),
    ("firmware/services/http/server.py", "from firmware import VERSION"),
    ("firmware/board/rp2.py", "import machine, network, sys\nX = sys.platform\nprint(X)"),
    ("firmware/board/rp2.py", "from firmware.board import esp32"),
    ("firmware/app.py", "import time\nfrom firmware.services.ntp import client"),
    ("firmware/events.py", "print('x')"),
    ("firmware/services/http/server.py", "def f(sink):\n    print('x', file=sink)"),
    ("firmware/config/load.py", "import gc, micropython"),
    ("firmware/config/load.py", "try:\n    X = 1\nexcept (OSError, ValueError):\n    pass"),
    ("firmware/config/load.py", "try:\n    X = 1\nexcept Exception as error:\n    raise ValueError from error"),
    ("firmware/config/load.py", "_TYPING = const(0)\nif _TYPING:\n    from firmware.app import App"),
    ("lib/umodbus/tcp.py", "import socket\nprint(1)"),  # third-party, none of our business
]


@pytest.mark.parametrize(("path", "source"), RIGHT)
def test_what_the_table_allows_is_no_finding(tmp_path, path, source):
    root = tree(tmp_path, {**SURROUNDINGS, path: source})

    assert texts(root) == []


WRONG_IMPORTS = [
    ("boot.py", "from firmware import events", "boot", "firmware.events"),
    ("main.py", "from firmware.config import load", "main", "firmware.config.load"),
    ("main.py", "import asyncio", "main", "asyncio"),
    ("lib/modbus/tcp.py", "import socket", "lib codecs", "socket"),
    ("lib/modbus/tcp.py", "from firmware import events", "lib codecs", "firmware.events"),
    ("lib/dns/names.py", "import modbus", "lib codecs", "modbus"),  # upward
    ("firmware/meters/meters.py", "import asyncio", "core", "asyncio"),
    ("firmware/meters/meters.py", "from firmware.config import load", "core", "firmware.config.load"),  # upward
    ("firmware/meters/meters.py", "import firmware.config.load", "core", "firmware.config.load"),
    ("firmware/config/load.py", "from firmware.net import seam", "core", "firmware.net.seam"),
    ("firmware/net/udp.py", "import sys", "net", "sys"),
    ("firmware/net/udp.py", "from firmware.config import load", "net", "firmware.config.load"),
    ("firmware/net/udp.py", "from modbus import crc", "net", "modbus.crc"),
    ("firmware/net/seam_micropython.py", "import machine", "net seam", "machine"),
    ("firmware/bus/poller.py", "from firmware.net import budget", "bus", "firmware.net.budget"),
    (
        "firmware/bus/poller.py",
        "from firmware.services.http import pages",
        "bus",
        "firmware.services.http.pages",
    ),
    ("firmware/bus/poller.py", "import socket", "bus", "socket"),
    ("firmware/services/http/a.py", "import socket", "services", "socket"),
    ("firmware/services/http/a.py", "import machine", "services", "machine"),
    ("firmware/services/http/a.py", "import tls", "services", "tls"),
    ("firmware/services/http/a.py", "import time", "services", "time"),
    ("firmware/services/http/a.py", "from firmware.services import ntp", "services", "firmware.services.ntp"),
    (
        "firmware/services/http/a.py",
        "from firmware.services.ntp.client import sync",
        "services",
        "firmware.services.ntp.client",
    ),
    (
        "firmware/services/http/a.py",
        "from firmware.bus import transaction",
        "services",
        "firmware.bus.transaction",
    ),
    ("firmware/services/http/a.py", "from firmware.board import esp32", "services", "firmware.board.esp32"),
    ("firmware/board/rp2.py", "from firmware.net import seam", "board", "firmware.net.seam"),
    ("firmware/board/rp2.py", "from firmware import app", "board", "firmware.app"),
    ("firmware/board/rp2.py", "import modbus", "board", "modbus"),
    ("firmware/app.py", "from firmware.board import esp32", "app", "firmware.board.esp32"),
    ("firmware/app.py", "import firmware.board.esp32", "app", "firmware.board.esp32"),
]


@pytest.mark.parametrize(("path", "source", "layer", "module"), WRONG_IMPORTS)
def test_what_the_table_does_not_allow_is_found(tmp_path, path, source, layer, module):
    root = tree(tmp_path, {**SURROUNDINGS, path: source})

    (finding,) = texts(root)
    assert finding.startswith(f"{path}:1: layer '{layer}' may not import '{module}' (allowed: ")


def test_an_import_beside_the_type_checkers_block_counts(tmp_path):
    source = "if _TYPING:\n    import asyncio\nelse:\n    import socket\n"
    root = tree(tmp_path, {"firmware/config/load.py": source})

    (finding,) = texts(root)
    assert finding.startswith("firmware/config/load.py:4: layer 'core' may not import 'socket'")


def test_an_import_inside_a_function_counts(tmp_path):
    source = "def f():\n    if f:\n        import socket\n"
    root = tree(tmp_path, {"firmware/services/http/a.py": source})

    (finding,) = texts(root)
    assert finding.startswith("firmware/services/http/a.py:3: layer 'services' may not import 'socket'")


WRONG_HABITS = [
    ("firmware/config/load.py", "from . import events", "relative import"),
    ("firmware/config/load.py", "X = __import__('socket')", "__import__()"),
    ("firmware/app.py", "import importlib", "importlib"),
    ("firmware/app.py", "from importlib import import_module", "importlib"),
    ("firmware/app.py", "import sys\nX = sys.implementation.name", "sys.implementation"),
    ("firmware/app.py", "from sys import platform", "sys.platform"),
    ("main.py", "import sys\nX = sys.platform", "sys.platform"),
    ("firmware/app.py", "try:\n    X = 1\nexcept:\n    X = 2", "bare except"),
    ("firmware/app.py", "try:\n    X = 1\nexcept Exception:\n    pass", "except Exception: pass"),
    ("firmware/app.py", "try:\n    X = 1\nexcept Exception:\n    ...", "except Exception: pass"),
    (
        "firmware/app.py",
        "try:\n    X = 1\nexcept (OSError, BaseException):\n    pass",
        "except Exception: pass",
    ),
    ("firmware/app.py", "print(1)", "print()"),
    ("lib/modbus/pdu.py", "print(1)", "print()"),
    ("firmware/app.py", "_TYPING = const(1)", "_TYPING is const(0)"),
    ("firmware/app.py", "def f(:", "does not parse"),
    ("firmware/newcomer.py", "", "belongs to no layer"),
    ("lib/newcomer.py", "", "not in the order of codecs"),
]


@pytest.mark.parametrize(("path", "source", "text"), WRONG_HABITS)
def test_a_bad_habit_is_found(tmp_path, path, source, text):
    root = tree(tmp_path, {path: source})

    (finding,) = texts(root)
    assert finding.startswith(f"{path}:")
    assert text in finding


def test_exit_code_and_output_say_whether_there_are_findings(tmp_path, capsys):
    right = tree(tmp_path / "right", {"firmware/config/load.py": "import json"})
    wrong = tree(tmp_path / "wrong", {"firmware/config/load.py": "import json\nimport socket"})
    (tmp_path / "empty").mkdir()

    assert check_imports.main(["--root", str(right)]) == 0
    assert capsys.readouterr().out == ""
    assert check_imports.main(["--root", str(wrong)]) == 1
    assert capsys.readouterr().out.startswith("firmware/config/load.py:2: layer 'core' may not import 'socket'")
    assert check_imports.main(["--root", str(tmp_path / "empty")]) == 1  # a wrong root is not a clean one


def test_every_device_file_of_this_repository_has_a_layer():
    files = check_imports.device_files(check_imports.ROOT)

    assert "main.py" in files
    assert [name for name in files if check_imports.layer_of(name) is None] == []
