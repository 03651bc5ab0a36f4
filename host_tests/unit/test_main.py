"""main.py where nobody gives it a __file__, as MicroPython's ports start it, and in safe mode."""

import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_CODE = compile((_ROOT / "main.py").read_text(), "main.py", "exec")


def test_without_a_file_name_the_path_stays_as_the_port_made_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/lib"])
    names = {"__name__": "started by the port"}
    exec(_CODE, names)
    names["_add_path"]()
    assert sys.path == ["", "/lib"]


def test_beside_its_packages_they_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [""])
    names = {"__name__": "started by hand", "__file__": "/somewhere/main.py"}
    exec(_CODE, names)
    names["_add_path"]()
    assert sys.path == ["", "/somewhere", "/somewhere/lib"]


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ((), [".frozen", "", "/lib"]),
        (("firmware/meters/profiles/mine.json",), [".frozen", "", "/lib"]),  # which an earlier image had there
        (("firmware/__init__.py",), ["", "/lib", ".frozen"]),
        (("firmware/__init__.mpy",), ["", "/lib", ".frozen"]),
    ],
)
def test_a_whole_firmware_in_the_file_system_goes_before_the_one_in_the_image(tmp_path, monkeypatch, files, path):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".frozen", "/lib"])
    names = {"__name__": "started by the port"}
    exec(_CODE, names)
    names["_add_path"]()
    assert sys.path == path


def test_in_safe_mode_the_firmware_is_not_started(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "safe_mode").touch()
    names = {"__name__": "__main__"}
    exec(_CODE, names)
    assert "safe mode" in capsys.readouterr().out
