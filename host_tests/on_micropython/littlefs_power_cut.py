"""firmware/config/store.py and load.py on MicroPython's own littlefs (VfsLfs2), with a power cut at each single write.

For run_module.py; host_tests/unit/test_store_littlefs.py runs it. The block device lives in the heap: 32 blocks of 512
bytes, so that a save takes several blocks and littlefs compacts its metadata now and then.
"""

import json
import os

import vfs

from firmware import erase
from firmware.config import load as config
from firmware.config import store
from firmware.config.config_store import ConfigStore
from host_tests.on_micropython.config_boot import Log, start

BLOCK = 512
BLOCKS = 32
SIZES = {"readsize": 32, "progsize": 32, "lookahead": 32}  # as on the ESP32
EIO = 5
PATH = "data/thing"
ERASED = b"\xff" * BLOCK
CUTS_MAX = 300  # more writes than any save here takes


# Two images are all that the heap of a small board has room for.
START = bytearray(ERASED * BLOCKS)
WORK = bytearray(ERASED * BLOCKS)


class Flash:
    """NOR flash from one boot to the next; its content is `image`. After `limit` writes (programming or erasing; None:
    never) the power is gone: nothing is written any more, and with `torn` the one under way has done its first half."""

    def __init__(self, image, limit=None, torn=False):
        self.image = image
        self.limit = limit
        self.torn = torn
        self.writes = 0
        self.cut = False
        self.gone = False  # another boot has begun: files that the garbage collector closes touch nothing

    def readblocks(self, block, buf, off=0):
        if self.gone:
            return -EIO
        at = block * BLOCK + off
        buf[:] = memoryview(self.image)[at : at + len(buf)]
        return 0

    def writeblocks(self, block, buf, off):  # littlefs always says where; without, the port would have to erase
        if self.gone or self.cut:
            return -EIO
        at = block * BLOCK + off
        if self.image[at : at + len(buf)] != ERASED[: len(buf)]:
            buf = bytes([new & self.image[at + k] for k, new in enumerate(buf)])
        return self._change(at, buf)

    def ioctl(self, op, arg):
        if op == 4:
            return BLOCKS
        if op == 5:
            return BLOCK
        if op == 6:
            return -EIO if self.gone or self.cut else self._change(arg * BLOCK, ERASED)
        return 0

    def _change(self, at, data):
        if self.writes == self.limit:
            self.cut = True
            if self.torn:
                half = len(data) // 2
                self.image[at : at + half] = data[:half]
            return -EIO
        self.writes += 1
        self.image[at : at + len(data)] = data
        return 0


mounted = None


def boot(flash):
    """The flash becomes the device's file system, and the working directory; returns it."""
    global mounted
    unmount()
    mounted = flash
    vfs.mount(vfs.VfsLfs2(flash, **SIZES), "/flash")
    os.chdir("/flash")
    return flash


def unmount():
    if mounted:
        mounted.gone = True
        os.chdir("/")
        try:
            vfs.umount("/flash")
        except OSError:  # it could not be mounted, or was unmounted
            pass


def boot_new():
    """Boots with an empty file system, on START."""
    flash = Flash(START)
    for block in range(BLOCKS):
        flash.ioctl(6, block)
    vfs.VfsLfs2.mkfs(flash, **SIZES)
    boot(flash)


def each_cut(torn, action, check):
    """action(flash) with the power cut one write later each time, until it is not cut any more, and each time
    check(cut, limit) when the power is back. Always begins with the image in START, and leaves the last in WORK."""
    for limit in range(CUTS_MAX):
        WORK[:] = START
        flash = boot(Flash(WORK, limit, torn))
        action(flash)
        boot(Flash(WORK))
        check(flash.cut, limit)
        if not flash.cut:
            assert flash.writes == limit > 1
            return
    raise AssertionError("more than %d writes" % CUTS_MAX)


def text(word, size):
    return (word * (size // len(word) + 1))[:size]


def cut_save(old, new, torn, again=()):
    """Saves `new` over `old` with every cut, and the bodies `again` behind each; what was found after the cuts."""
    seen = set()
    saved = None

    def save(flash):
        nonlocal saved
        try:
            store.save(PATH, new)
            saved = True
        except OSError:
            assert flash.cut
            saved = False

    def check(cut, limit):
        found = store.load(PATH)
        assert found == new if saved else found in (old, new), (limit, found)
        seen.add(found)
        for body in again:
            store.save(PATH, body)
            assert store.load(PATH) == body

    each_cut(torn, save, check)
    return seen


def check_saves(old, new, torn):
    boot_new()
    try:
        for body in (b"before", old):  # both copies exist
            store.save(PATH, body)
        seen = cut_save(old, new, torn, (b"first", text(b"second ", 700), new))
    finally:
        unmount()
    assert seen == {old, new}


def test_a_cut_at_any_write_leaves_the_old_or_the_new_inline():
    for torn in (False, True):
        check_saves(b"old", b"new", torn)


def test_a_cut_at_any_write_leaves_the_old_or_the_new_in_several_blocks():
    for torn in (False, True):
        check_saves(text(b"old ", 1200), text(b"new ", 1300), torn)


def test_a_cut_at_any_write_leaves_the_old_or_the_new_growing_and_shrinking():
    for torn in (False, True):
        check_saves(b"old", text(b"new ", 900), torn)
        check_saves(text(b"old ", 900), b"", torn)


def test_a_cut_in_the_very_first_save_leaves_nothing_or_all_of_it():
    new = text(b"new ", 700)
    try:
        for torn in (False, True):
            boot_new()
            assert cut_save(None, new, torn, (b"next",)) == {None, new}
    finally:
        unmount()


def test_a_cut_at_any_write_of_twelve_saves_leaves_the_old_or_the_new():
    boot_new()
    try:
        old = text(b"0 ", 500)
        store.save(PATH, old)
        for number in range(1, 13):
            new = text(b"%d " % number, 500)
            cut_save(old, new, bool(number % 2))
            START[:] = WORK  # the last one was not cut
            old = new
    finally:
        unmount()


def user_config(name):
    return {"name": name, "buses": [{"uart": 1}]}


def upload(name):
    """As mpremote does it: the file itself is written, piece by piece."""
    data = json.dumps(user_config(name)).encode()
    with open(config.PATH, "wb") as f:
        for at in range(0, len(data), 16):
            f.write(data[at : at + 16])


def test_a_cut_at_any_write_of_an_upload_never_costs_the_configuration():
    seen = set()

    def change(flash):
        try:
            upload("two")
        except OSError:
            assert flash.cut
            return
        start(flash)  # the power may fail while the copy is kept

    def check(cut, limit):
        loaded = start()
        assert loaded.source == "file" and not loaded.errors, (limit, loaded.source, loaded.errors)
        assert loaded.config == config.validate(user_config(loaded.config["name"]))[0]
        seen.add(loaded.config["name"])
        with open(config.PATH, "wb") as f:
            f.write(b'{"name":')
        loaded = config.load()
        assert loaded.source == "last good"
        assert loaded.config["name"] in seen

    try:
        boot_new()
        os.mkdir("data")
        for name in ("zero", "one"):
            upload(name)
            assert start().source == "file"
        for torn in (False, True):
            each_cut(torn, change, check)
    finally:
        unmount()
    assert seen == {"one", "two"}


def test_a_cut_at_any_write_of_a_save_leaves_the_old_or_the_new_configuration():
    seen = set()
    saved = None

    def change(flash):
        nonlocal saved
        device = ConfigStore(Log())
        checked, errors = device.check(json.dumps(user_config("two")).encode())
        assert not errors
        try:
            device.write(checked)
            saved = True
        except OSError:
            assert flash.cut
            saved = False

    def check(cut, limit):
        loaded = start()
        assert loaded.source == "file" and not loaded.errors, (limit, loaded.source, loaded.errors)
        name = loaded.config["name"]
        assert name == "two" if saved else name in ("one", "two")
        seen.add(name)

    try:
        boot_new()
        os.mkdir("data")
        upload("one")
        assert start().source == "file"
        for torn in (False, True):
            each_cut(torn, change, check)
    finally:
        unmount()
    assert seen == {"one", "two"}


def test_the_flash_holds_no_secret_after_a_factory_reset():
    secret = b"Geheimnis"
    try:
        boot_new()
        for number in range(20):
            store.replace("data/inline", (secret,))
            store.save(PATH, text(secret + b" %d " % number, 700))
        os.mkdir("data/meters")
        ConfigStore(Log()).factory_reset()
        assert bytes(START).find(secret) >= 0
        boot(Flash(START))
        ConfigStore(Log())
        for _ in erase.steps():
            pass
        assert bytes(START).find(secret) < 0
        assert sorted(os.listdir()) == ["data"]
        boot(Flash(START))
        store.save(PATH, text(b"new ", 3000))
    finally:
        unmount()
