"""An update by a tree of files (firmware/update.py): what is taken, what is refused, and a power cut at each write."""

import contextlib
import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware import trees, update
from firmware.config import store
from host_tests.unit import fake_ports
from host_tests.unit.flash import ESP32, RP2, TEARS_EACH, Device, Flash
from tools.update import Package

SERVER_KEY = b"the server key of this device..."
KEY = update.key(SERVER_KEY)
FILES = {
    "firmware/__init__.mpy": b"VERSION",
    "firmware/app.mpy": bytes(range(256)) * 30,
    "firmware/services/http/page.etag": b"",
    "lib/modbus/crc.mpy": b"crc" * 100,
}
PACKAGE = Package("0.2.0", FILES)
OLD = {"firmware/app.mpy": b"left by an earlier update", "lib/old.mpy": b"old"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin(package=PACKAGE, key=KEY, older=False, changes=(), release_key=""):
    fields = {**package.fields(key, older), **dict(changes)}
    return update.Update(fields, update.key(b"the server key of this device..."), release_key=release_key)


def send(one, data, piece=update.PIECE):
    while not one.prepare():
        pass
    for at in range(0, len(data), piece):
        one.feed(data[at : at + piece])


def carry_out(one, package, piece):
    """The Update, sent, verified and switched to."""
    try:
        send(one, package.data, piece)
        while not one.verify():
            pass
        one.switch()
    finally:
        one.close()
    return one


def run(package=PACKAGE, piece=update.PIECE):
    return carry_out(begin(package), package, piece)


def tree(name):
    top = Path("tree") / name
    paths = [path for path in top.rglob("*") if path.is_file() and path.name != "manifest"]
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("piece", [1, 7, 1000, update.PIECE])
def test_every_file_is_written_as_it_was_and_the_next_start_tries_it(folder, piece):
    assert trees.read() == ("-", "-")
    one = run(piece=piece)
    assert tree("a") == FILES
    assert trees.read() == ("-", "a")
    assert one.received == one.total == len(PACKAGE.data)
    assert one.verified == len(FILES)


def test_the_trees_are_written_in_turn_and_what_lay_there_is_gone(folder):
    for good, expected in (("-", "a"), ("a", "b"), ("b", "a")):
        trees.write(good, good)
        run()
        assert tree(expected) == FILES
        assert trees.read() == (good, expected)
        (folder / "tree" / expected / "firmware" / "left.mpy").write_bytes(b"of the last one")


def test_while_one_is_on_trial_no_other_is_taken(folder):
    run()
    with pytest.raises(ValueError, match="on trial"):
        begin()


@pytest.mark.parametrize(
    "changes",
    [{"version": "0.3.0"}, {"manifest": 5}, {"total": 99_999}, {"older": True}, {"digest": "00" * 32},
     {"mac": "00" * 32}],
)  # fmt: skip
def test_whatever_is_changed_on_the_way_is_refused_before_anything_is_written(folder, changes):
    with pytest.raises(ValueError, match="mac"):
        begin(changes=changes)
    assert list(folder.iterdir()) == []


PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw().hex()


def signed(key=PRIVATE):
    package = Package("0.2.0", FILES)
    package.sign(key)
    return package


def test_with_a_release_key_what_is_signed_by_it_is_taken(folder):
    one = begin(signed(), release_key=PUBLIC)
    assert [one.prepare() for _ in range(3)] == [False] * 3  # it goes in steps
    carry_out(one, PACKAGE, update.PIECE)
    assert tree("a") == FILES


@pytest.mark.parametrize(
    ("package", "changes"),
    [
        (PACKAGE, {}),  # without a signature
        (signed(), {"signature": ""}),
        (signed(), {"signature": "00" * 64}),
        (signed(Ed25519PrivateKey.from_private_bytes(bytes(32))), {}),
    ],
)
def test_with_a_release_key_what_it_has_not_signed_is_refused_before_anything_is_written(folder, package, changes):
    one = begin(package, changes=changes, release_key=PUBLIC)
    with pytest.raises(ValueError, match="signature: not of the key"):
        send(one, package.data)
    assert list(folder.iterdir()) == []


def test_a_signature_is_of_its_own_package_only(folder):
    other = Package("0.3.0", FILES)
    other.signature = signed().signature
    one = begin(other, release_key=PUBLIC)
    with pytest.raises(ValueError, match="signature"):
        send(one, other.data)


def test_the_permission_to_be_older_needs_no_signature_of_its_own(folder):
    one = begin(signed(), older=True, release_key=PUBLIC)
    carry_out(one, PACKAGE, update.PIECE)
    assert tree("a") == FILES


def test_another_devices_key_is_refused(folder):
    with pytest.raises(ValueError, match="mac"):
        begin(key=update.key(b"another"))


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9"])
def test_versions_only_go_forward_unless_asked(folder, version):
    with pytest.raises(ValueError, match="not newer"):
        begin(Package(version, FILES))
    begin(Package(version, FILES), older=True)


@pytest.mark.parametrize("version", ["1", "1.2", "1.2.x", "1.2.3.4", "1.2.33333", "-1.2.3", ""])
def test_what_is_no_version_is_refused(folder, version):
    with pytest.raises(ValueError, match="version"):
        begin(Package(version, FILES))


@pytest.mark.parametrize("at", [0, 10, len(PACKAGE.manifest) - 1, len(PACKAGE.manifest) + 3, len(PACKAGE.data) - 1])
def test_one_changed_byte_is_found_and_nothing_is_switched(folder, at):
    data = bytearray(PACKAGE.data)
    data[at] ^= 1
    one = begin()
    with pytest.raises(ValueError, match="not what the manifest says"):
        send(one, bytes(data))
    one.close()
    assert trees.read() == ("-", "-")


def test_what_is_cut_off_cannot_be_verified(folder):
    one = begin()
    send(one, PACKAGE.data[:-1])
    with pytest.raises(ValueError, match="not all of it"):
        one.verify()
    one.close()


def test_more_than_was_said_is_refused(folder):
    one = begin()
    with pytest.raises(ValueError, match="longer"):
        send(one, PACKAGE.data + b"x")
    one.close()


def test_what_the_flash_did_not_keep_is_found_before_the_switch(folder):
    one = begin()
    send(one, PACKAGE.data)
    (folder / "tree" / "a" / "lib" / "modbus" / "crc.mpy").write_bytes(b"crx" * 100)
    with pytest.raises(ValueError, match="written wrongly"):
        [one.verify() for _ in FILES]
    one.close()


@pytest.mark.parametrize(
    "path",
    ["data/password.a", "main.py", "firmware/../data/x", "/firmware/x", "firmware//x", "firmware/\u00e9", "lib/X",
     "firmware/" + 60 * "x"],
)  # fmt: skip
def test_a_path_outside_of_the_firmware_is_refused(folder, path):
    package = Package("0.2.0", {path: b"x"})
    one = begin(package)
    with pytest.raises(ValueError, match=r"path|line"):
        send(one, package.data)
    one.close()


def test_a_package_that_is_too_large_is_refused_by_its_head(folder):
    package = Package("0.2.0", {"firmware/x": bytes(1 << 20)})
    with pytest.raises(ValueError, match="total"):
        begin(package)
    files = {f"firmware/{number:050}": b"" for number in range(400)}
    with pytest.raises(ValueError, match="total"):
        begin(Package("0.2.0", files))


def test_without_room_on_the_file_system_nothing_is_taken(folder, monkeypatch):
    monkeypatch.setattr(update.os, "statvfs", lambda path: (4096, 4096, 200, 8), raising=False)
    one = begin()
    with pytest.raises(ValueError, match="no room"):
        send(one, PACKAGE.data)


# -- on littlefs

MODULES = update, trees, store


def mount(monkeypatch, flash, fresh=False):
    return Device(flash, fresh).install(monkeypatch, MODULES)


def whole(device, name):
    """Whether every file of the package is in that tree."""
    for path, body in FILES.items():
        try:
            with device.open(f"tree/{name}/{path}", "rb") as f:
                if hashlib.sha256(f.read()).digest() != hashlib.sha256(body).digest():
                    return False
        except OSError:
            return False
    return True


def after_each_cut(monkeypatch, geometry, image, tear):
    """Yields (limit, device) for each update on that image that is cut after `limit` writes, and at the end for one
    that is not: the device with what is on its flash then."""
    for limit in range(2000):
        flash = Flash(geometry, image)
        flash.limit, flash.tear = limit, tear
        mount(monkeypatch, flash)
        try:
            run()
        except OSError:
            assert flash.cut
        yield limit, mount(monkeypatch, Flash(geometry, flash.image))
        if not flash.cut:
            return
    pytest.fail("more writes than an update takes")


@pytest.mark.parametrize(
    "geometry", [replace(one, block_count=48) for one in (ESP32, RP2)], ids=lambda geometry: geometry.name
)
@TEARS_EACH
def test_a_cut_at_any_write_leaves_the_old_or_the_new(monkeypatch, geometry, tear):
    device = mount(monkeypatch, Flash(geometry), fresh=True)
    for path, body in OLD.items():
        for folder in ("tree", "tree/a", f"tree/a/{path.split('/')[0]}"):
            with contextlib.suppress(OSError):
                device.os.mkdir(folder)
        with device.open(f"tree/a/{path}", "wb") as f:
            f.write(body)
    image = bytes(device.flash.image)
    seen = []
    for limit, after in after_each_cut(monkeypatch, geometry, image, tear):
        good, trial = trees.read()
        assert (good, trial) in (("-", "-"), ("-", "a")), f"cut after {limit} writes"
        if trial == "a":
            assert whole(after, "a"), f"cut after {limit} writes"
        seen.append(trial)
        if limit % 7 == 0 and trial == "-":
            run()  # again, on what the cut has left
            assert trees.read() == ("-", "a")
            assert whole(after, "a")
    assert seen == sorted(seen)  # once it is the new one it stays
    assert seen[-1] == "a"
    assert len(seen) > 10


# -- beside an image that was flashed over the one before

MAIN = compile((Path(__file__).resolve().parents[2] / "main.py").read_text(encoding="utf-8"), "main.py", "exec")


def flashed(monkeypatch, text):
    """An image with that id runs."""
    monkeypatch.setitem(sys.modules, "image_id", SimpleNamespace(ID=text))


def chosen(device):
    """The folder that main.py would start the firmware from."""
    main = {"__name__": "started by hand", "open": device.open}
    exec(MAIN, main)
    main["os"] = device.os
    return main["_choose_tree"]()[0]


def test_an_update_says_beside_which_image_it_lies_and_clears_what_was_beside_another(folder, monkeypatch):
    flashed(monkeypatch, b"one ")
    run()
    trees.write("a", "a")
    run()  # into the other tree
    flashed(monkeypatch, b"two ")
    assert trees.read() == ("-", "-")
    run(Package("0.2.0", {"firmware/new.mpy": b"new"}))
    assert trees.read() == ("-", "a")
    assert sorted(tree("a")) == ["firmware/new.mpy", "image"]
    assert tree("a")["image"] == b"two " + sys.version.encode()
    assert tree("b") == {}


@TEARS_EACH
def test_a_cut_at_any_write_beside_a_new_image_leaves_it_or_the_update_on_trial(monkeypatch, tear):
    geometry = replace(RP2, block_count=64)
    device = mount(monkeypatch, Flash(geometry), fresh=True)
    flashed(monkeypatch, b"one ")
    run()
    trees.write("a", "a")
    assert chosen(device) == "tree/a"
    flashed(monkeypatch, b"two ")
    image = bytes(device.flash.image)
    seen = []
    for limit, after in after_each_cut(monkeypatch, geometry, image, tear):
        good, trial = trees.read()
        folder = chosen(after)
        assert (good, trial, folder) in (("-", "-", ""), ("-", "a", "tree/a")), f"cut after {limit} writes"
        assert not folder or whole(after, "a"), f"cut after {limit} writes"
        seen.append(folder)
    assert seen == sorted(seen)
    assert seen[-1] == "tree/a"
    assert len(seen) > 10


# -- an image in the other slot of an ESP32

IMAGE = b"\xe9" + bytes(range(256)) * 40  # not a whole number of blocks
IMAGE_PACKAGE = Package("0.2.0", {"image": IMAGE}, "image")


@pytest.fixture
def esp32(folder, monkeypatch):
    port = fake_ports.install(monkeypatch, fake_ports.OURS)
    port.slots = fake_ports.Slots(2)
    port.slots.content[0][0] = 0xE9
    return port


def run_image(port, package=IMAGE_PACKAGE, piece=update.PIECE):
    slot = port.board.Board().image_slot()
    carry_out(update.Update(package.fields(KEY, False), KEY, slot), package, piece)


def test_a_stock_partition_table_says_that_it_has_no_slot(esp32):
    esp32.slots = fake_ports.Slots(1)
    with pytest.raises(OSError, match="no second slot"):
        esp32.board.Board().image_slot()


@pytest.mark.parametrize("piece", [1, 1000, update.PIECE])
def test_an_image_is_written_runs_on_trial_and_is_kept(esp32, piece):
    run_image(esp32, piece=piece)
    assert esp32.slots.content[1][: len(IMAGE)] == IMAGE
    assert trees.read() == ("-", "i")
    esp32.slots.reset()
    assert (esp32.slots.running, esp32.slots.states[1]) == (1, "pending_verify")
    assert trees.end_trial("", esp32.board.Board()) == ("the update is kept", False)
    assert trees.read() == ("-", "-")
    esp32.slots.reset()
    assert (esp32.slots.running, esp32.slots.states[1]) == (1, "valid")


def test_an_image_that_is_not_kept_gives_way_to_the_one_before(esp32):
    run_image(esp32)
    esp32.slots.reset()
    ended = trees.end_trial("finder failed", esp32.board.Board())
    assert ended == ("the update has failed: going back: finder failed", True)
    esp32.slots.reset()
    assert trees.failure() == "finder failed"
    assert (esp32.slots.running, esp32.slots.states[1]) == (0, "aborted")


@pytest.mark.parametrize("wrong", ["", "finder failed"])
def test_an_image_that_crashed_is_not_said_to_be_kept_when_the_one_before_runs_well(esp32, wrong):
    run_image(esp32)
    esp32.slots.reset()
    esp32.slots.reset()  # within its first minute
    ended = trees.end_trial(wrong, esp32.board.Board())
    assert ended == ("the update has failed: the image before it runs", False)
    assert trees.failure() == "the image did not run for a minute"
    assert trees.end_trial(wrong, esp32.board.Board()) is None


def test_why_an_update_was_taken_back_is_kept_within_its_bound_until_the_next_one(folder):
    assert trees.failure() is None
    run()
    trees.end_trial("finder failed, " * 20, None)
    assert trees.failure() == ("finder failed, " * 20)[:120]
    assert (folder / "tree" / "failed").stat().st_size == 120
    (folder / "tree" / "failed").write_bytes(b"\xff" * 5000)  # damaged
    assert trees.failure() is None
    run()
    assert not (folder / "tree" / "failed").exists()
    (folder / "tree" / "failed").write_text("finder failed")  # the firmware that was switched from knows no such file
    assert trees.end_trial("", None) == ("the update is kept", False)
    assert trees.failure() is None


def test_a_full_file_system_keeps_no_update_that_has_failed(folder, monkeypatch):
    run()
    replace = store.replace

    def full(path, parts):
        if path == trees.FAILED:
            raise OSError(28)
        replace(path, parts)

    monkeypatch.setattr(store, "replace", full)
    assert trees.end_trial("finder failed", None) == ("the update has failed: going back: finder failed", True)
    assert (trees.read(), trees.failure()) == (("-", "-"), None)


@pytest.mark.parametrize("at", [0, 5000, len(IMAGE_PACKAGE.data) - 1])
def test_a_changed_image_is_never_booted(esp32, at):
    data = bytearray(IMAGE_PACKAGE.data)
    data[at] ^= 1
    one = update.Update(IMAGE_PACKAGE.fields(KEY, False), KEY, esp32.board.Board().image_slot())
    with pytest.raises(ValueError, match="not what the manifest says"):
        send(one, bytes(data))
    one.close()
    assert (esp32.slots.boot, trees.read()) == (0, ("-", "-"))


def test_what_the_slot_did_not_keep_is_found_before_the_switch(esp32):
    one = update.Update(IMAGE_PACKAGE.fields(KEY, False), KEY, esp32.board.Board().image_slot())
    send(one, IMAGE_PACKAGE.data)
    esp32.slots.content[1][len(IMAGE) - 1] ^= 1
    with pytest.raises(ValueError, match="written wrongly"):
        [one.verify() for _ in range(9)]
    one.close()


def test_an_image_larger_than_the_slot_is_refused_by_its_head(esp32):
    package = Package("0.2.0", {"image": b"\xe9" + bytes(8 * 4096)}, "image")
    with pytest.raises(ValueError, match="total"):
        update.Update(package.fields(KEY, False), KEY, esp32.board.Board().image_slot())


def test_files_are_no_image_and_an_image_is_no_file(esp32):
    slot = esp32.board.Board().image_slot()
    with pytest.raises(ValueError, match="mac"):
        update.Update(PACKAGE.fields(KEY, False), KEY, slot)
    with pytest.raises(ValueError, match="mac"):
        begin(IMAGE_PACKAGE)
    for path in ("firmware/app.mpy", "boot"):
        package = Package("0.2.0", {path: IMAGE}, "image")
        one = update.Update(package.fields(KEY, False), KEY, slot)
        with pytest.raises(ValueError, match="no image"):
            send(one, package.data)
        one.close()


def test_where_files_are_in_use_no_image_is_taken(esp32):
    trees.write("a", "a")
    with pytest.raises(ValueError, match="files"):
        run_image(esp32)


def test_a_brown_out_at_any_operation_on_the_slots_leaves_the_old_or_the_new(esp32):
    booted = []
    for limit in range(100):
        trees.write("-", "-")
        esp32.slots = slots = fake_ports.Slots(2)
        slots.content[0][0] = 0xE9
        slots.limit = limit
        try:
            run_image(esp32)
        except OSError:
            assert slots.operations == limit
        slots.reset()
        booted.append(slots.running)
        if slots.operations == limit and trees.read() != ("-", "-"):
            ended = trees.end_trial("", esp32.board.Board())
            assert ended is not None
            assert ("kept" in ended[0]) == (slots.running == 1)
        assert slots.running == 0 or slots.content[1][: len(IMAGE)] == IMAGE
        if slots.operations < limit:
            break
    assert booted == sorted(booted)
    assert booted[0] == 0
    assert booted[-1] == 1


def test_an_image_that_the_chip_refuses_is_not_on_trial_and_the_next_is_taken(esp32):
    """For another chip, say: the package is right, and esp_ota_set_boot_partition() finds it out."""
    with pytest.raises(OSError, match="refuses the image .*another chip"):
        run_image(esp32, Package("0.2.0", {"image": b"\0" + IMAGE}, "image"))
    assert (esp32.slots.boot, trees.read()) == (0, ("-", "-"))
    run_image(esp32)
    assert esp32.slots.boot == 1
