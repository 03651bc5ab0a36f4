"""tools/frozen.py: when it builds and how it fails, with the steps of a build replaced; and the interpreter itself,
which is to be what the tests' other one is."""

import json
import os
import subprocess

import pytest

from tools import build, debian, frozen, micropython, sources, steps

MODULES = ("asyncio", "socket", "select", "tls", "deflate", "hashlib", "cryptolib", "re", "json", "struct", "termios")


def quiet(text):
    pass


class Workshop:
    """Stands in for the steps of a build: writes down which ran."""

    def __init__(self, cache):
        self.cache = cache
        self.ran = []
        self.commands = []
        self.broken = False
        self.bits = 32

    def make(self, command, folder, epoch, on_line):
        self.ran.append("make")
        self.commands.append([str(word) for word in command])
        for _ in range(120):
            on_line("CC x.c\n")
        if self.broken:
            raise steps.BuildError("make failed")
        (folder / "object.o").touch()
        (folder / "micropython").write_bytes((folder / "manifest.py").read_bytes())

    def fetch(self, mirror, target, progress):
        self.ran.append("fetch")
        folder = target / "usr/lib/i386-linux-gnu"
        folder.mkdir(parents=True)
        (target / "usr/lib/gcc/i686-linux-gnu/99").mkdir(parents=True)
        for name in frozen._RUN_WITH:
            (folder / name).touch()

    def ensure(self, progress=quiet):
        """The steps that ran, and the program."""
        self.ran.clear()
        path = frozen.ensure(progress, self.cache)
        return list(self.ran), (path.parent / "program").read_text(encoding="utf-8")

    @property
    def work(self):
        (folder,) = self.cache.glob("work-*")
        return folder


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    shop = Workshop(tmp_path / "cache")
    module = tmp_path / "a.py"
    module.write_text("1", encoding="utf-8")
    shop.module = module
    monkeypatch.setattr(frozen, "_first_line", lambda *command: b"gcc 12")
    monkeypatch.setattr(frozen, "_fetch_library", shop.fetch)
    monkeypatch.setattr(frozen.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(build, "frozen_manifest", lambda base: (f"include({base!r})", [module]))
    monkeypatch.setattr(debian, "ensure_packages", lambda commands, progress: {})
    monkeypatch.setattr(micropython, "debian_mirrors", lambda: [debian.Archive("http://one.example/", (), None)])
    monkeypatch.setattr(micropython, "probe", lambda path: (1, 25, shop.bits))
    monkeypatch.setattr(sources, "ensure", lambda release, progress: shop.cache / "tree")
    monkeypatch.setattr(steps, "make", shop.make)
    return shop


def test_it_is_built_once_and_anew_when_a_module_has_changed(workshop):
    assert workshop.ensure() == (["fetch", "make"], "include('$(MPY_DIR)/extmod/asyncio')")
    assert workshop.ensure()[0] == []
    workshop.module.write_text("2", encoding="utf-8")
    assert workshop.ensure()[0] == ["make"]
    assert (workshop.work / "object.o").exists()


def test_another_compiler_is_another_build(workshop, monkeypatch):
    workshop.ensure()
    monkeypatch.setattr(frozen, "_first_line", lambda *command: b"gcc 13")
    assert workshop.ensure()[0] == ["make"]


def test_modules_are_compiled_again_whatever_their_age(workshop):
    workshop.ensure()
    (workshop.work / "frozen_mpy").mkdir()
    workshop.module.write_text("2", encoding="utf-8")
    workshop.ensure()
    assert not (workshop.work / "frozen_mpy").exists()


def test_after_a_build_that_failed_the_next_one_begins_anew(workshop):
    workshop.broken = True
    with pytest.raises(frozen.BuildError, match="make failed"):
        workshop.ensure()
    assert not list(workshop.cache.glob("micropython-*"))
    (workshop.work / "left over").touch()
    workshop.broken = False
    workshop.ensure()
    assert not (workshop.work / "left over").exists()


def test_in_a_cache_that_was_moved_the_next_build_begins_anew(workshop):
    workshop.ensure()
    workshop.cache = workshop.cache.rename(workshop.cache.with_name("elsewhere"))
    assert workshop.ensure()[0] == []
    (workshop.work / "left over").touch()
    workshop.module.write_text("2", encoding="utf-8")
    workshop.ensure()
    assert not (workshop.work / "left over").exists()


def test_a_program_that_is_not_32_bit_is_refused(workshop):
    workshop.bits = 64
    with pytest.raises(frozen.BuildError, match="is 64-bit"):
        workshop.ensure()


def test_the_compiler_is_the_machines_with_the_c_library_of_its_own(workshop):
    workshop.ensure()
    (library,) = workshop.cache.glob("libc-*")
    (compiler,) = (word for word in workshop.commands[0] if word.startswith("CC="))
    assert compiler.startswith(f"CC=gcc -m32 --sysroot={library} ")
    assert f"-B{library}/usr/lib/gcc/i686-linux-gnu/99/" in compiler


def test_it_says_how_far_it_is(workshop):
    said = []
    workshop.ensure(said.append)
    assert "frozen: 50 files compiled" in said
    assert "frozen: 100 files compiled" in said


def test_only_the_last_used_builds_are_kept(workshop):
    for age in range(frozen._KEEP + 2):
        workshop.module.write_text(str(age), encoding="utf-8")
        os.utime(frozen.ensure(quiet, workshop.cache).parent, (age, age))
    assert len(list(workshop.cache.glob("micropython-*"))) == frozen._KEEP


def test_what_was_tried_is_told(workshop, monkeypatch):
    def fail(*arguments):
        raise micropython.NoMicroPython("the mirror is asleep")

    monkeypatch.setattr(frozen, "_fetch_library", fail)
    with pytest.raises(frozen.BuildError, match="(?s)C library for i386 comes.*tried: the mirror is asleep"):
        workshop.ensure()


def test_on_another_machine_than_a_pc_it_is_refused(workshop, monkeypatch):
    monkeypatch.setattr(frozen.platform, "machine", lambda: "aarch64")
    with pytest.raises(frozen.BuildError, match="needs a PC, and this is aarch64"):
        workshop.ensure()


def test_a_failed_build_ends_with_1(monkeypatch, capsys):
    def fail(progress):
        raise frozen.BuildError("no such luck")

    monkeypatch.setattr(frozen, "ensure", fail)
    assert frozen.main([]) == 1
    assert capsys.readouterr().err == "no such luck\n"


# The interpreter


@pytest.fixture(scope="module")
def interpreter():
    return frozen.ensure()


def run(interpreter, code, folder="/", heap="64K", path=".frozen"):
    return subprocess.run(
        [str(interpreter), "-X", f"heapsize={heap}", "-c", code],
        cwd=folder,
        env=dict(os.environ, MICROPYPATH=path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_it_is_32_bit_and_has_the_modules_that_the_other_one_has(interpreter):
    text = f"import {', '.join(MODULES)}, ffi, sys, gc; print(sys.maxsize, gc.mem_free() + gc.mem_alloc(), 1e300)"
    assert run(interpreter, text) == run(micropython.ensure(), text) == "2147483647 64000 1e+300\n"


def test_it_calls_c_functions_and_speaks_tls(interpreter):
    text = """
import ffi, os, tls
context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
print(ffi.open(None).func("i", "getpid", "")() > 0, len(context.get_ciphers()) > 3)
"""
    assert run(interpreter, text) == "True True\n"


def test_the_files_of_the_firmware_are_in_it_and_take_no_heap(interpreter, tmp_path):
    text = """
import gc, json
from firmware import resources
gc.collect(); before = gc.mem_alloc()
names = resources.names("meters/profiles")
page = resources.read("services/http/page.html.gz")
gc.collect()
print(json.dumps([gc.mem_alloc() - before, len(page), names]))
"""
    used, size, names = json.loads(run(interpreter, text, tmp_path))
    assert used < 1500  # the list and its texts
    assert size == (build.ROOT / "firmware/services/http/page.html.gz").stat().st_size
    assert names == sorted(path.name for path in (build.ROOT / "firmware/meters/profiles").glob("*.json"))


def test_files_put_over_it_go_before_what_is_in_it(interpreter, tmp_path):
    for name in ("firmware/__init__.py", "lib/dns.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine = True\n", encoding="utf-8")
    text = "import main; main._add_path(); import firmware, dns; print(firmware.mine, dns.mine)"
    assert run(interpreter, text, tmp_path, path=f".frozen:{tmp_path}/lib") == "True True\n"


def test_data_files_of_an_earlier_image_hide_nothing(interpreter, tmp_path):
    (tmp_path / "firmware" / "meters").mkdir(parents=True)
    text = "import main; main._add_path(); from firmware import resources; print(resources.FROZEN)"
    assert run(interpreter, text, tmp_path) == "True\n"
