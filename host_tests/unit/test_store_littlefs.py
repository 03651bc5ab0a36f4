"""firmware/config/store.py and load.py on the real littlefs (littlefs-python on CPython, VfsLfs2 on real MicroPython),
with the power cut at each single write to the flash: what was saved is there, old or new, whole; and the device starts.
"""

import contextlib
import copy
import itertools
import json
import random
import subprocess
from pathlib import Path

import pytest

from firmware import erase
from firmware.config import config_store, store
from firmware.config import load as config
from firmware.meters import catalog, profile_loader
from host_tests.on_micropython.config_boot import Log, start
from host_tests.unit.flash import ESP32, GEOMETRIES, RP2, SMALL, TEARS, TEARS_EACH, Device, Flash, Geometry
from tools.micropython import ensure

MODULES = store, catalog, config, config_store, erase
PATH = "data/thing"
ROOT = Path(__file__).resolve().parent.parent.parent
_UPY = ROOT / "host_tests" / "on_micropython"
_CUTS_MAX = 500  # more writes than any save here takes


@pytest.fixture
def boot(monkeypatch):
    """boot(flash) mounts what is on it for the firmware; boot(geometry) a new one."""

    def mount(what):
        if isinstance(what, Geometry):
            return Device(Flash(what), fresh=True).install(monkeypatch, MODULES)
        return Device(what).install(monkeypatch, MODULES)

    return mount


def cuts(before, tear):
    """Flashes with the image `before`, each with the power cut one write later, until one was not cut."""
    for limit in range(_CUTS_MAX):
        flash = Flash(before.geometry, before.image)
        flash.limit, flash.tear = limit, tear
        yield flash
        if not flash.cut:
            assert flash.writes == limit > 1
            return
    pytest.fail(f"more than {_CUTS_MAX} writes")


def restored(flash):
    """The flash as it is found when the power is back."""
    return Flash(flash.geometry, flash.image)


def save_until_cut(flash, body):
    """True when save() said that all was well; an error without a cut is the test's."""
    try:
        store.save(PATH, body)
    except OSError:
        assert flash.cut
        return False
    return True


def text(word, size):
    """A body of this size that no other word's is a part of."""
    return (word * (size // len(word) + 1))[:size]


BODIES = {
    "inline": (b"old", b"new"),  # so short that littlefs keeps it with the file's name
    "the same size": (text(b"old ", 3000), text(b"new ", 3000)),
    "growing": (b"old", text(b"new ", 5000)),
    "shrinking": (text(b"old ", 5000), b""),
}


@GEOMETRIES
@TEARS_EACH
@pytest.mark.parametrize(("old", "new"), BODIES.values(), ids=BODIES)
def test_a_cut_at_any_write_leaves_the_old_or_the_new_and_the_next_save_works(boot, geometry, tear, old, new):
    start = boot(geometry).flash
    for body in (b"before", old):  # both copies exist
        store.save(PATH, body)
    seen = set()
    for flash in cuts(start, tear):
        boot(flash)
        saved = save_until_cut(flash, new)
        device = boot(restored(flash))
        found = store.load(PATH)
        assert found in (old, new), f"cut after {flash.limit} writes: {found and found[:80]}"
        if saved:
            assert found == new, "save() had said that all was well"
        seen.add(found)
        for again in (b"first", text(b"second ", 900), new):
            store.save(PATH, again)
            assert store.load(PATH) == again
        assert device.names() <= {"thing.a", "thing.b", "thing.a.new", "thing.b.new"}
    assert seen == {old, new}


@GEOMETRIES
@TEARS_EACH
def test_a_cut_in_the_very_first_save_leaves_nothing_or_all_of_it(boot, geometry, tear):
    new = text(b"new ", 2000)
    start = boot(geometry).flash
    seen = set()
    for flash in cuts(start, tear):
        boot(flash)
        saved = save_until_cut(flash, new)
        boot(restored(flash))
        found = store.load(PATH)
        assert found == new if saved else found in (None, new)
        seen.add(found)
        store.save(PATH, b"next")
        assert store.load(PATH) == b"next"
    assert seen == {None, new}


@TEARS_EACH
def test_a_cut_at_any_write_of_twenty_saves_leaves_the_old_or_the_new(boot, tear):
    flash = boot(SMALL).flash
    old = text(b"0 ", 700)
    store.save(PATH, old)
    writes = []
    for number in range(1, 21):
        new = text(b"%d " % number, 600 + 40 * number)
        for attempt in cuts(flash, tear):
            boot(attempt)
            saved = save_until_cut(attempt, new)
            boot(restored(attempt))
            assert store.load(PATH) == new if saved else store.load(PATH) in (old, new)
        writes.append(attempt.writes)
        flash, old = restored(attempt), new
    # The bodies only grow: a save that took more writes than the one after it had metadata to compact.
    assert any(earlier > later for earlier, later in itertools.pairwise(writes)), writes


@pytest.mark.parametrize("seed", range(4))
@GEOMETRIES
def test_power_that_fails_again_and_again_leaves_one_of_the_last_two_and_no_litter(boot, geometry, seed):
    rng = random.Random(seed)
    flash = boot(geometry).flash
    current = b"start"
    store.save(PATH, current)
    interrupted = 0
    for number in range(60):
        body = text(b"%d " % number, rng.choice((5, 200, 3000)))
        rehearsal = restored(flash)
        boot(rehearsal)
        store.save(PATH, body)
        flash.limit, flash.tear = rng.randrange(rehearsal.writes * 5 // 4), rng.choice(TEARS)
        boot(flash)
        saved = save_until_cut(flash, body)
        interrupted += not saved
        flash = restored(flash)
        device = boot(flash)
        found = store.load(PATH)
        assert found == body if saved else found in (current, body), f"seed {seed}, save {number}"
        current = found
        # Two copies, and what two interrupted saves left: each at most 3 KB, besides the two folders' metadata.
        assert device.used_blocks() <= 4 + 4 * -(-3100 // (geometry.block_size - 16))
    assert 10 < interrupted < 60


@GEOMETRIES
def test_a_full_flash_is_an_error_that_leaves_the_old(boot, geometry):
    device = boot(geometry)
    store.save(PATH, b"old")
    room = geometry.block_size * (geometry.block_count - device.used_blocks() - 3)
    with device.open("data/filler", "wb") as f:
        for _ in range(room // 256 - 16):
            f.write(bytes(256))
    with pytest.raises(OSError, match="NOSPC"):
        store.save(PATH, text(b"new ", 16000))
    boot(restored(device.flash))
    assert store.load(PATH) == b"old"
    store.save(PATH, b"something shorter")
    assert store.load(PATH) == b"something shorter"


# The whole flow: what a user writes, what the device starts with, what it keeps as the last good one.


def user_config(name):
    return {
        "name": name,
        "buses": [{"uart": 1}],
        "meters": [{"slot": 0, "name": name * 3, "unit": 1, "profile": "pzem-004t-v3"}],
    }


def upload(device, content):
    """As mpremote does it: the file itself is written, piece by piece."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    with device.open(config.PATH, "wb") as f:
        for at in range(0, len(data), 128):
            f.write(data[at : at + 128])


def names(loaded):
    """By which name, so by which of the user's configurations, the device runs; the whole of it is checked."""
    name = loaded.config["name"]
    complete, errors = config.validate(user_config(name))
    assert not errors
    assert loaded.config == complete
    return name


@pytest.fixture(params=[ESP32, RP2, SMALL], ids=lambda geometry: geometry.name)
def running(request, boot):
    """A Flash of a device that runs by its second configuration, "one", and has kept it."""
    device = boot(request.param)
    device.os.mkdir("data")
    for name in ("zero", "one"):
        upload(device, user_config(name))
        loaded = start()
        assert (loaded.source, loaded.errors, names(loaded)) == ("file", [], name)
    return device.flash


@TEARS_EACH
def test_a_cut_at_any_write_of_an_upload_never_costs_the_configuration(boot, running, tear):
    seen = set()
    for flash in cuts(running, tear):
        device = boot(flash)
        try:
            upload(device, user_config("two"))
        except OSError:
            assert flash.cut
        else:
            start(flash)  # the power may fail while the copy is kept
        boot(restored(flash))
        loaded = start()
        assert (loaded.source, loaded.errors) == ("file", []), f"cut after {flash.limit} writes"
        seen.add(names(loaded))
    assert seen == {"one", "two"}


@TEARS_EACH
def test_a_cut_at_any_write_of_a_save_leaves_the_old_or_the_new_configuration(boot, running, tear):
    seen = set()
    for flash in cuts(running, tear):
        boot(flash)
        device = config_store.ConfigStore(Log())
        checked, errors = device.check(json.dumps(user_config("two")).encode())
        assert errors == []
        try:
            device.write(checked)
            saved = True
        except OSError:
            assert flash.cut
            assert device.reboot_due() == []
            saved = False
        boot(restored(flash))
        loaded = start()
        assert (loaded.source, loaded.errors) == ("file", []), f"cut after {flash.limit} writes"
        assert names(loaded) == "two" if saved else names(loaded) in ("one", "two")
        seen.add(names(loaded))
    assert seen == {"one", "two"}


@TEARS_EACH
def test_a_cut_while_profiles_are_kept_never_costs_a_meter(boot, tear):
    """The last good copies of profiles are written before that of the configuration, and go after it."""
    device = boot(SMALL)
    for folder in ("data", "data/meters"):
        device.os.mkdir(folder)

    def profile(device, name, title, ending="}"):
        rows = '"points": [[1, "a", 4, 0, "uint16", 1, "V", "instantaneous"]]'
        with device.open(f"data/meters/{name}.json", "wb") as f:
            f.write(f'{{"name": "{title}", "columns": {json.dumps(profile_loader.COLUMNS)}, {rows}{ending}'.encode())

    def with_profile(name):
        meter = {"slot": 0, "name": "x", "unit": 1, "profile": name}
        return {"name": name, "buses": [{"uart": 1}], "meters": [meter]}

    profile(device, "first", "old")
    profile(device, "second", "old")
    upload(device, with_profile("first"))
    assert start().source == "file"
    profile(device, "first", "new")
    upload(device, with_profile("second"))
    seen = set()
    for flash in cuts(device.flash, tear):
        boot(flash)
        assert start(flash).source == "file"
        device = boot(restored(flash))
        for name in ("first", "second"):
            profile(device, name, "damaged", "")
        with device.open(config.PATH, "wb") as f:
            f.write(b"{")
        loaded = config.load()
        assert (loaded.source, len(loaded.config["meters"])) == ("last good", 1), f"cut after {flash.limit} writes"
        seen.add(loaded.config["name"])
    assert seen == {"first", "second"}


@TEARS_EACH
def test_the_last_good_copy_survives_a_cut_at_any_write_while_the_next_is_kept(boot, running, tear):
    upload(boot(running), user_config("two"))
    seen = set()
    for flash in cuts(running, tear):
        boot(flash)
        loaded = start(flash)
        assert (loaded.source, names(loaded), loaded.errors) == ("file", "two", [])
        device = boot(restored(flash))
        upload(device, json.dumps(user_config("three")).encode()[:-7])  # this one is cut off
        loaded = config.load()
        assert (loaded.source, len(loaded.errors)) == ("last good", 1)
        seen.add(names(loaded))
    assert seen == {"one", "two"}


@TEARS_EACH
def test_a_new_device_starts_whatever_write_of_its_first_configuration_is_cut(boot, tear):
    new = boot(SMALL)
    new.os.mkdir("data")
    seen = set()
    for flash in cuts(new.flash, tear):
        device = boot(flash)
        try:
            upload(device, user_config("one"))
        except OSError:
            assert flash.cut
        else:
            start(flash)
        boot(restored(flash))
        loaded = start()
        seen.add((loaded.source, loaded.config["name"]))
        if loaded.source == "default":  # the upload had not come to its end: nothing there, or an empty file
            assert copy.deepcopy(loaded.config) == config.default()
        else:
            assert loaded.errors == []
    assert seen == {("default", "meterport"), ("file", "one")}


def test_the_same_on_real_micropython():
    """host_tests/on_micropython/littlefs_power_cut.py, with VfsLfs2."""
    command = [ensure(), "-X", "heapsize=256K", _UPY / "run_module.py", "littlefs_power_cut", _UPY, ROOT, ROOT / "lib"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100, check=False)
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert [result["traceback"] for result in results if not result["ok"]] == []
    assert done.stderr == ""  # an exception in the block device under a finaliser would be told here
    source = (_UPY / "littlefs_power_cut.py").read_text()
    assert len(results) == source.count("\ndef test_") > 0


def _reset_until_cut(flash, log):
    try:
        config_store.ConfigStore(log).factory_reset()
    except OSError:
        assert flash.cut


@GEOMETRIES
@TEARS_EACH
def test_a_cut_at_any_write_of_a_factory_reset_leaves_all_or_nothing(boot, geometry, tear, events):
    device = boot(geometry)
    for path in (config.PATH, "data/what-else"):
        store.replace(path, (b"{}",))
    store.save(config_store.PASSWORD, b"secret")
    store.save(config_store.PASSWORD, b"secret again")
    before = device.names()
    seen = set()
    for flash in cuts(device.flash, tear):
        boot(flash)
        _reset_until_cut(flash, events)
        after = boot(restored(flash))
        config_store.ConfigStore(events)
        found = after.names()
        assert found & before in (set(), before), f"cut after {flash.writes} writes: {found}"
        assert "resetting" not in found
        seen.add(bool(found & before))
    assert seen == {True, False}


# What lies in the flash after a factory reset

SECRET = b"Geheimnis"


def live(boot, geometry, rng):
    """The Device of a gateway that has saved SECRET many times, while folders and other files came and went."""
    device = boot(geometry)
    for number in range(40):
        store.replace("data/inline", (SECRET + b" %d" % number,))
        store.replace(config.PATH, (text(SECRET + b" %d " % number, rng.choice((200, 1500))),))
        store.save(config_store.PASSWORD, SECRET * 2 + b" %d" % number)
        folder = rng.choice(("data/meters", "data/history", "tree", "label"))
        if not store.exists(folder):
            device.os.mkdir(folder)
        with device.open(f"{folder}/file{rng.randrange(9)}", "wb") as f:
            f.write(bytes(rng.randrange(100)))
    return device


def erased(device):
    """Whether it was needed, and done: all of firmware.erase.steps()."""
    is_needed = store.exists(erase.MARK)
    if is_needed:
        for _ in erase.steps():
            pass
    return is_needed


@GEOMETRIES
@pytest.mark.parametrize("seed", range(6))
def test_the_flash_holds_no_secret_after_a_factory_reset(boot, geometry, seed, events):
    device = live(boot, geometry, random.Random(seed))
    profiles = device.names("data/meters") if store.exists("data/meters") else set()
    config_store.ConfigStore(events).factory_reset()
    assert SECRET in device.flash.image, "the test shows nothing: removing has erased it"
    device = boot(restored(device.flash))
    assert erased(device)
    assert SECRET not in device.flash.image
    assert not store.exists(erase.MARK)
    left = device.names("data/meters") if store.exists("data/meters") else set()
    assert left == profiles
    store.replace(config.PATH, (text(b"new ", 3000),))  # there is room again


@GEOMETRIES
@TEARS_EACH
def test_a_cut_while_it_is_erased_has_the_next_start_begin_again(boot, geometry, tear, events):
    device = live(boot, geometry, random.Random(7))
    config_store.ConfigStore(events).factory_reset()
    before = restored(device.flash)
    limit = 0
    while True:
        flash = restored(before)
        flash.limit, flash.tear = limit, tear
        boot(flash)
        with contextlib.suppress(OSError):
            erased(device)
        again = boot(restored(flash))
        config_store.ConfigStore(events)
        assert erased(again) or SECRET not in flash.image, f"cut after {limit} writes"
        assert SECRET not in again.flash.image, f"cut after {limit} writes"
        assert again.names(".") <= {"data", "tree", "label"}
        if not flash.cut:
            break
        limit += 61
    assert limit > 400
