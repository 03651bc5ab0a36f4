"""main.py where nobody gives it a __file__, as MicroPython's ports start it, and in safe mode."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware import trees

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


# -- trees of an update


@pytest.fixture
def main(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    names = {"__name__": "started by hand"}
    exec(_CODE, names)
    return names


def say(tmp_path, text):
    (tmp_path / "tree" / "use").write_text(text)


@pytest.mark.parametrize(
    ("said", "folder", "goes_back", "then"),
    [
        ("- - 0", "", False, "- - 0"),
        ("a a 0", "tree/a", False, "a a 0"),
        ("- a 0", "tree/a", False, "- a 1"),
        ("a b 2", "tree/b", False, "a b 3"),
        ("a b 3", "tree/a", True, "a a 0"),
        ("- a 3", "", True, "- - 0"),
        ("", "", False, ""),
        ("a b", "", False, "a b"),
        ("a a x", "", False, "a a x"),
        ("../data ../data 0", "", False, "../data ../data 0"),
    ],
)
def test_a_tree_on_trial_is_tried_three_times(main, tmp_path, said, folder, goes_back, then):
    say(tmp_path, said)
    assert main["_choose_tree"]() == (folder, goes_back)
    assert (tmp_path / "tree" / "use").read_text() == then
    assert trees.failure() == ("it did not run for a minute in 3 starts" if goes_back else None)


def test_without_an_update_what_came_with_the_board_runs(main):
    assert main["_choose_tree"]() == ("", False)


def test_what_firmware_trees_writes_is_what_main_reads(main, tmp_path):
    for good, trial in (("-", "a"), ("a", "b"), ("b", "b")):
        trees.write(good, trial)
        assert trees.read() == (good, trial)
        assert main["_choose_tree"]()[0] == "tree/" + trial
        assert trees.read() == (good, trial)


@pytest.fixture
def image(monkeypatch):
    """image(id) puts main.py and firmware.trees into the image of that id."""
    return lambda text: monkeypatch.setitem(sys.modules, "image_id", SimpleNamespace(ID=text))


@pytest.mark.parametrize("said", ["- a 0", "a a 0", "- a 3"])
def test_a_tree_that_was_written_beside_another_image_is_not_chosen_and_its_starts_are_not_counted(
    main, tmp_path, image, said
):
    (tmp_path / "tree" / "a").mkdir()
    say(tmp_path, said)
    image(b"one ")
    assert main["_choose_tree"]() == ("", False)  # which image it lies beside is not known
    trees.mark("a")
    image(b"two ")
    assert main["_choose_tree"]() == ("", False)
    assert trees.read() == ("-", "-")
    assert (tmp_path / "tree" / "use").read_text() == said


def test_with_the_image_from_before_flashed_again_its_tree_runs(main, tmp_path, image):
    (tmp_path / "tree" / "a").mkdir()
    say(tmp_path, "a a 0")
    image(b"one ")
    trees.mark("a")
    for text, folder in ((b"one ", "tree/a"), (b"two ", ""), (b"one ", "tree/a")):
        image(text)
        assert main["_choose_tree"]() == (folder, False)


def test_another_micropython_is_another_image(main, tmp_path, image, monkeypatch):
    (tmp_path / "tree" / "a").mkdir()
    say(tmp_path, "a a 0")
    image(b"one ")
    trees.mark("a")
    monkeypatch.setattr(sys, "version", "3.4.0; MicroPython v1.28.0 on 2026-04-06")
    assert main["_choose_tree"]() == ("", False)
    assert trees.forget()
    assert not trees.forget()
    assert (tmp_path / "tree" / "use").read_text() == "- - 0"


def test_where_the_firmware_is_not_within_an_image_a_tree_lies_beside_none(main, tmp_path):
    (tmp_path / "tree" / "a").mkdir()
    say(tmp_path, "a a 0")
    trees.mark("a")
    assert list((tmp_path / "tree" / "a").iterdir()) == []
    assert not trees.forget()
    assert main["_choose_tree"]() == ("tree/a", False)


def test_a_tree_goes_before_all_other_folders_and_a_later_one_takes_its_place(main, monkeypatch):
    monkeypatch.setattr(sys, "path", [".frozen", "", "/lib"])
    main["_use_tree"]("tree/a")
    assert sys.path == ["tree/a", "tree/a/lib", ".frozen", "", "/lib"]
    main["_use_tree"]("tree/b")
    assert sys.path == ["tree/b", "tree/b/lib", ".frozen", "", "/lib"]
    main["_use_tree"]("")
    assert sys.path == [".frozen", "", "/lib"]


@pytest.mark.parametrize(
    ("said", "folder", "instead", "then"),
    [
        ("a b 1", "tree/b", "tree/a", "a a 0"),
        ("a a 0", "tree/a", "", "- - 0"),
        ("- b 1", "tree/b", "", "- - 0"),
    ],
)
def test_a_tree_that_cannot_be_imported_gives_way_to_the_one_before_it(main, tmp_path, said, folder, instead, then):
    say(tmp_path, said)
    assert main["_give_up"](folder) == instead
    assert (tmp_path / "tree" / "use").read_text() == then


def test_trees_that_cannot_be_imported_are_given_up_in_turn(main, tmp_path, fake_firmware, capsys):
    say(tmp_path, "a b 1")
    seen = []

    def detect():
        seen.append([path for path in sys.path if path.startswith("tree/")])
        if seen[-1]:
            raise ImportError("no module named 'lib'")
        return fake_firmware.port

    sys.modules["firmware.board"].detect = detect
    fake_firmware.runs = lambda port: seen.append("runs")
    main["run"]()
    assert seen == [["tree/b", "tree/b/lib"], ["tree/a", "tree/a/lib"], [], "runs"]
    assert (tmp_path / "tree" / "use").read_text() == "- - 0"
    assert "tree/b is given up" in capsys.readouterr().out
    assert trees.failure() == "it cannot be imported: ImportError(\"no module named 'lib'\")"


# -- the limit of a start


class FakeTimer:
    """machine.Timer of the ports, as main.py uses it; `made` has all."""

    ONE_SHOT = 0
    made: list = []
    known = -1

    def __init__(self, number):
        if number != self.known:
            raise ValueError("invalid Timer number")
        self.number, self.is_running = number, False
        self.made.append(self)

    def init(self, *, mode, period, callback):
        assert mode == self.ONE_SHOT
        self.period, self.callback = period, callback
        self.is_running = True

    def deinit(self):
        self.is_running = False


class FakePort:
    def __init__(self):
        self.watchdogs = []

    def starts(self, count=0):
        return 0

    def watchdog(self, timeout_s):
        self.watchdogs.append(timeout_s)


class FakeFirmware:
    """In place of the packages that main.py imports. `runs(port)` is its app."""

    def __init__(self, monkeypatch):
        self.port = FakePort()
        self.resets = 0
        self.runs = lambda port: None
        FakeTimer.made = []
        board = SimpleNamespace(detect=lambda: self.port)
        app = SimpleNamespace(run=lambda port, failed: self.runs(port))
        machine = SimpleNamespace(Timer=FakeTimer, reset=self.reset)
        for name, module in (("firmware.board", board), ("firmware.app", app), ("machine", machine)):
            monkeypatch.setitem(sys.modules, name, module)
        package = SimpleNamespace(board=board, app=app)
        monkeypatch.setitem(sys.modules, "firmware", package)

    def reset(self):
        self.resets += 1


@pytest.fixture
def fake_firmware(monkeypatch, main):
    monkeypatch.setattr(sys, "path", list(sys.path))
    return FakeFirmware(monkeypatch)


def test_an_update_that_hangs_before_its_loop_is_restarted_after_a_minute(main, tmp_path, fake_firmware):
    say(tmp_path, "- a 0")

    def hangs(port):
        (timer,) = FakeTimer.made
        assert timer.is_running
        timer.callback(timer)

    fake_firmware.runs = hangs
    main["run"]()
    assert FakeTimer.made[0].period == 60_000
    assert fake_firmware.resets == 1


@pytest.mark.parametrize("timeout_s", [8, 0])
def test_the_watchdog_takes_over_from_the_limit_of_the_start(main, tmp_path, fake_firmware, timeout_s):
    say(tmp_path, "- a 0")

    def runs(port):
        port.watchdog(timeout_s)
        assert not FakeTimer.made[0].is_running

    fake_firmware.runs = runs
    main["run"]()
    assert fake_firmware.port.watchdogs == [timeout_s]


def test_ctrl_c_before_the_loop_leaves_no_timer(main, tmp_path, fake_firmware):
    say(tmp_path, "- a 0")

    def interrupted(port):
        raise KeyboardInterrupt

    fake_firmware.runs = interrupted
    with pytest.raises(KeyboardInterrupt):
        main["run"]()
    assert [timer.is_running for timer in FakeTimer.made] == [False]


def test_what_came_with_the_board_has_no_limit(main, fake_firmware):
    seen = []
    fake_firmware.runs = seen.append
    main["run"]()
    assert seen == [fake_firmware.port]
    assert FakeTimer.made == []


@pytest.mark.parametrize("number", [-1, 0], ids=["rp2", "esp32"])
def test_the_timer_is_one_that_the_port_has(main, tmp_path, fake_firmware, monkeypatch, number):
    say(tmp_path, "- a 0")
    monkeypatch.setattr(FakeTimer, "known", number)
    main["run"]()
    assert FakeTimer.made[0].number == number
