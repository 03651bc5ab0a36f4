"""Files that survive a power cut: whatever is interrupted, the old or the new is there, whole."""

import builtins
import os

import pytest

from firmware.config import store

PATH = "data/thing"


class PowerCut(BaseException):
    """Nothing in the firmware may catch this: the device is off."""


@pytest.fixture(autouse=True)
def flash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class CutFile:
    """A file that takes `budget` more bytes, then the power fails. What was taken is on the flash."""

    def __init__(self, real, power):
        self._real = real
        self._power = power

    def write(self, data):
        take = min(len(data), self._power.left)
        self._real.write(data[:take])
        self._real.flush()
        self._power.left -= take
        if take < len(data):
            raise PowerCut
        return take

    def flush(self):
        self._power.step()
        self._real.flush()

    def close(self):
        self._real.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._real.close()


class Power:
    """Fails after `steps` operations on the file system, or after `left` bytes written."""

    def __init__(self, monkeypatch, steps=10**9, left=10**9):
        self.steps = steps
        self.left = left
        self.on = True
        real = {"rename": os.rename, "mkdir": os.mkdir}

        def guarded(name):
            def call(*args):
                if self.on:
                    self.step()
                return real[name](*args)

            return call

        def cut_open(path, mode="r", *args):
            if self.on and "w" in mode:
                self.step()
                return CutFile(builtins.open(path, mode, *args), self)
            return builtins.open(path, mode, *args)

        for name in real:
            monkeypatch.setattr(os, name, guarded(name))
        monkeypatch.setattr(store, "open", cut_open, raising=False)

    def step(self):
        if self.on and self.steps == 0:
            raise PowerCut
        self.steps -= 1


def save_until_cut(power, body):
    """True when the save came to its end before the power failed."""
    try:
        store.save(PATH, body)
    except PowerCut:
        return False
    finally:
        power.on = False
    return True


def test_what_was_saved_is_loaded():
    store.save(PATH, b"hello\nworld\x00\xff")
    assert store.load(PATH) == b"hello\nworld\x00\xff"


def test_nothing_saved_is_none():
    assert store.load(PATH) is None


@pytest.mark.parametrize("body", [b"", b"\n", b"1 " + b"0" * 64 + b"\n", bytes(range(256))])
def test_any_bytes_come_back(body):
    store.save(PATH, body)
    assert store.load(PATH) == body


def test_the_newest_of_many_saves_is_loaded():
    for k in range(25):
        store.save(PATH, b"%d" % k)
        assert store.load(PATH) == b"%d" % k


def test_two_copies_are_kept_in_turn():
    store.save(PATH, b"one")
    store.save(PATH, b"two")
    assert sorted(os.listdir("data")) == ["thing.a", "thing.b"]
    contents = {name: open_bytes("data/" + name) for name in os.listdir("data")}
    store.save(PATH, b"three")
    changed = [name for name, data in contents.items() if open_bytes("data/" + name) != data]
    assert len(changed) == 1
    assert contents[changed[0]].endswith(b"one"), "the older copy is the one that goes"


def open_bytes(path):
    with open(path, "rb") as f:
        return f.read()


def test_the_one_before_is_there_when_the_newest_is_gone():
    for body in (b"one", b"two", b"three"):
        store.save(PATH, body)
    for name in os.listdir("data"):
        if open_bytes("data/" + name).endswith(b"three"):
            os.remove("data/" + name)
    assert store.load(PATH) == b"two"


def test_nothing_is_written_when_nothing_has_changed(monkeypatch):
    store.save(PATH, b"same")
    power = Power(monkeypatch, steps=0, left=0)
    assert save_until_cut(power, b"same")


def test_a_change_back_is_written():
    for body in (b"one", b"two", b"one"):
        store.save(PATH, body)
    assert store.load(PATH) == b"one"


@pytest.mark.parametrize("saved_before", [0, 1, 2, 3])
def test_power_cut_at_any_step_leaves_the_old_or_the_new(saved_before, tmp_path, monkeypatch):
    """Cut before each operation on the file system, and after each byte of the file."""
    old = b"old %d" % (saved_before - 1) if saved_before else None
    finished = 0
    cuts = [{"steps": n} for n in range(8)] + [{"left": n} for n in range(0, 90)]
    for number, cut in enumerate(cuts):
        folder = tmp_path / str(number)
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            for k in range(saved_before):
                store.save(PATH, b"old %d" % k)
            power = Power(patch, **cut)
            done = save_until_cut(power, b"the new one")
            finished += done
            found = store.load(PATH)
            assert found == b"the new one" if done else found in (old, b"the new one"), cut
            # The device starts again and goes on saving.
            store.save(PATH, b"after")
            assert store.load(PATH) == b"after", cut
    assert 0 < finished < len(cuts), "the cuts must lie on both sides of the end"


def test_a_cut_of_a_save_never_touches_the_copy_that_counts(tmp_path, monkeypatch):
    store.save(PATH, b"one")
    store.save(PATH, b"two")
    before = [open_bytes("data/" + name) for name in sorted(os.listdir("data"))]
    power = Power(monkeypatch, left=5)
    assert not save_until_cut(power, b"three")
    assert [open_bytes("data/thing.a"), open_bytes("data/thing.b")] == before


@pytest.mark.parametrize("which", ["thing.a", "thing.b"])
def test_a_damaged_copy_is_replaced_by_the_next_save_and_the_good_one_stays(which):
    store.save(PATH, b"one")
    store.save(PATH, b"two")
    with open("data/" + which, "r+b") as f:
        f.seek(-1, 2)
        f.write(b"?")
    left = store.load(PATH)
    assert left in (b"one", b"two")
    store.save(PATH, b"three")
    assert store.load(PATH) == b"three"
    assert sum(open_bytes("data/" + name).endswith(left) for name in ("thing.a", "thing.b")) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b" ", b"1", b"1 \n", b"x y\nz", b"-1 00\n", b"\xff\xfe\n\n", b"99999999999999999999 00\nbody",
        b"1 " + b"0" * 64 + b"\nbody", "²  \n".encode(),
    ],
)  # fmt: skip
def test_rubbish_in_place_of_a_copy_is_none(content):
    os.mkdir("data")
    with open(PATH + ".a", "wb") as f:
        f.write(content)
    assert store.load(PATH) is None
    store.save(PATH, b"good")
    assert store.load(PATH) == b"good"


def test_a_huge_file_in_place_of_a_copy_is_not_read():
    os.mkdir("data")
    with open(PATH + ".a", "wb") as f:
        f.truncate(200_000_000)
    assert store.load(PATH) is None


def test_a_folder_in_place_of_a_copy_is_none():
    os.makedirs(PATH + ".a")
    assert store.load(PATH) is None


def test_what_is_too_long_is_refused_and_the_old_stays():
    store.save(PATH, b"x" * 16384)
    with pytest.raises(ValueError, match="16385 bytes are more than 16384"):
        store.save(PATH, b"y" * 16385)
    assert store.load(PATH) == b"x" * 16384


def test_an_error_of_the_flash_reaches_the_caller():
    os.mkdir("data")
    os.mkdir(PATH + ".a.new")
    with pytest.raises(OSError, match="directory"):
        store.save(PATH, b"x")


def test_replace_makes_the_folder_it_needs():
    store.replace("other/file", (b"x", b"y"))
    assert open_bytes("other/file") == b"xy"


def test_nothing_is_left_of_what_was_removed_not_even_by_a_power_cut():
    store.save(PATH, b"one")
    store.save(PATH, b"two")
    for name in ("thing.a.new", "thing.b.new", "other"):
        store.replace("data/" + name, (b"x",))
    store.remove(PATH)
    store.remove(PATH)
    assert os.listdir("data") == ["other"]
    store.replace("data/other.new", (b"x",))
    store.remove_file("data/other")
    store.remove_file("data/other")
    assert os.listdir("data") == []
