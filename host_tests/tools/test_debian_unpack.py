"""Packages that are unpacked beside the system, not installed (tools/debian.py); apt itself is not run here."""

import threading
import time

import pytest

from tools import debian


def fetched(monkeypatch, failures=0):
    """Replaces the commands by ones that leave files as apt-get and dpkg-deb do; gives the list of those run."""
    commands = []

    def run(what, command, limit_s, folder=None):
        nonlocal failures
        commands.append(command[:3])
        if "download" in command:
            if failures:
                failures -= 1
                raise debian.MissingPackages(what)
            (folder / "thing_1.0_amd64.deb").touch()
        elif command[0] == "dpkg-deb":
            (debian.pathlib.Path(command[-1]) / "usr").mkdir(parents=True)

    monkeypatch.setattr(debian, "_run", run)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    return commands


def unpack(tmp_path):
    return debian.unpack("thing", progress=lambda text: None, cache=tmp_path / "cache")


def test_a_package_is_fetched_once_and_nothing_else_is_left(monkeypatch, tmp_path):
    commands = fetched(monkeypatch)
    folder = unpack(tmp_path)
    assert (folder / "usr").is_dir()
    assert [path.name for path in folder.parent.iterdir()] == ["thing"]
    assert unpack(tmp_path) == folder
    assert [command[0] for command in commands] == ["apt-get", "dpkg-deb"]


def test_root_renews_the_lists_and_tries_again(monkeypatch, tmp_path):
    commands = fetched(monkeypatch, failures=1)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    assert unpack(tmp_path).is_dir()
    assert ["apt-get", "update", "-q"] in commands


@pytest.mark.parametrize(("user", "failures"), [(1000, 1), (0, 2)], ids=["no root", "root"])
def test_what_cannot_be_fetched_is_said_and_leaves_nothing(monkeypatch, tmp_path, user, failures):
    fetched(monkeypatch, failures)
    monkeypatch.setattr(debian.os, "geteuid", lambda: user)
    with pytest.raises(debian.MissingPackages, match="download thing"):
        unpack(tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


def test_elsewhere_than_on_debian_it_is_said_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.setattr(debian, "is_debian", lambda: False)
    with pytest.raises(debian.MissingPackages, match="thing comes from Debian"):
        unpack(tmp_path)


def at_once(work):
    """Runs work() in two threads: each opens the lock for itself, as a process would."""
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_two_who_need_a_package_fetch_it_once(monkeypatch, tmp_path):
    commands = fetched(monkeypatch)
    folders = []
    at_once(lambda: folders.append(unpack(tmp_path)))
    assert folders[0] == folders[1]
    assert [command[0] for command in commands] == ["apt-get", "dpkg-deb"]


def test_two_who_need_a_command_install_it_one_after_the_other(monkeypatch):
    """apt-get update fails while another one runs."""
    running = threading.Lock()
    installed = []
    paths = []

    def run(what, command, limit_s, folder=None):
        assert running.acquire(blocking=False)
        time.sleep(0.02)  # long enough for the other one
        if "install" in command:
            installed.append(command[-1])
        running.release()

    monkeypatch.setattr(debian, "_run", run)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian.shutil, "which", lambda name: "/usr/bin/" + name if installed else None)
    at_once(lambda: paths.append(debian.ensure_packages({"thing": "libthing"}, lambda text: None)))
    assert paths == [{"thing": "/usr/bin/thing"}] * 2
    assert installed == ["libthing"]
