"""tools/build.py: what goes on a board or into an image, what is compiled again, and how it fails."""

import importlib
import json
import os
import pathlib
import sys
import types

import pytest

from tools import build

SOURCES = {
    "boot.py": "",
    "main.py": "from firmware import app\n",
    "firmware/__init__.py": "VERSION = (1, 2, 3)\n",
    "firmware/app.py": "def run():\n    assert 1\n    return 7\n",
    "firmware/net/seam_cpython.py": "import contextlib\n",
    "firmware/meters/a.json": "{}",
    "firmware/services/http/page.html.gz": "not really",
    "firmware/README.md": "for people",
    "lib/modbus/crc.py": "X = 1\n",
    "lib/umodbus/tcp.py": "X = 1\n",
    "firmware/__pycache__/app.py": "never",
}


@pytest.fixture
def root(tmp_path):
    for name, text in SOURCES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "tree"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "device"


def made(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def run(out, root, **options):
    return build.build(out, progress=lambda text: None, root=root, **options)


def test_the_image_has_compiled_modules_source_starters_and_data(root, out):
    report = run(out, root)

    assert made(out) == {
        "boot.py",
        "main.py",
        "firmware/__init__.mpy",
        "firmware/app.mpy",
        "firmware/meters/a.json",
        "firmware/services/http/page.html.gz",
        "lib/modbus/crc.mpy",
    }
    assert (report.files, report.compiled, report.copied) == (7, 3, 4)
    assert report.bytes == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert report.ignored == ("firmware/README.md",)


def test_a_module_carries_format_6_and_its_name(root, out):
    run(out, root)

    code = (out / "firmware/app.mpy").read_bytes()
    assert code[:2] == b"M\x06"
    assert b"firmware.app" in code


def test_only_what_changed_is_compiled_again(root, out):
    run(out, root)
    before = (out / "lib/modbus/crc.mpy").stat().st_mtime_ns
    (root / "firmware/app.py").write_text("def run():\n    return 8\n", encoding="utf-8")
    os.utime(root / "lib/modbus/crc.py")  # touched, not changed

    assert run(out, root).compiled == 1
    assert (out / "lib/modbus/crc.mpy").stat().st_mtime_ns == before
    assert run(out, root)[2:5] == (0, 0, 0)


def test_what_has_no_source_any_more_vanishes(root, out):
    run(out, root)
    (root / "lib/modbus/crc.py").unlink()
    (root / "firmware/meters/a.json").unlink()

    assert run(out, root).removed == 2
    assert not (out / "lib").exists()
    assert not (out / "firmware/meters").exists()


def test_what_was_deleted_from_the_image_comes_back(root, out):
    run(out, root)
    (out / "firmware/app.mpy").unlink()

    assert run(out, root).compiled == 1
    assert (out / "firmware/app.mpy").exists()


def test_source_mode_copies_and_leaves_no_compiled_module(root, out):
    run(out, root)
    run(out, root, source=True)

    assert (out / "firmware/app.py").read_text(encoding="utf-8") == SOURCES["firmware/app.py"]
    assert not [name for name in made(out) if name.endswith(".mpy")]


def test_umodbus_goes_along_only_when_asked_for(root, out):
    run(out, root, with_umodbus=True)
    assert "lib/umodbus/tcp.mpy" in made(out)

    run(out, root)
    assert not (out / "lib/umodbus").exists()


def test_a_compile_error_names_its_line_and_the_next_build_succeeds(root, out):
    run(out, root)
    (root / "firmware/app.py").write_text("X = 1\ndef run(:\n", encoding="utf-8")

    with pytest.raises(build.BuildError, match=r"^firmware/app\.py:2: SyntaxError"):
        run(out, root)
    assert not [name for name in made(out) if name.endswith(".part")]

    (root / "firmware/app.py").write_text("X = 1\n", encoding="utf-8")
    assert run(out, root).compiled == 1


def test_check_compiles_starters_too_and_names_every_wrong_file(root, out):
    assert build.check(root) == 5

    for name in ("main.py", "lib/modbus/crc.py"):
        (root / name).write_text("return return\n", encoding="utf-8")
    with pytest.raises(build.BuildError) as caught:
        build.check(root)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["main.py", "lib/modbus/crc.py"]


def test_a_missing_main_is_an_error(root, out):
    (root / "main.py").unlink()

    with pytest.raises(build.BuildError, match=r"main\.py: missing"):
        run(out, root)


def test_a_directory_with_other_peoples_files_is_refused(root, out):
    out.mkdir(parents=True)
    (out / "letter.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(build.BuildError, match="did not make"):
        run(out, root)
    assert (out / "letter.txt").read_text(encoding="utf-8") == "mine"


def test_a_manifest_cut_short_means_everything_is_made_anew(root, out):
    run(out, root)
    out.with_name("device.manifest.json").write_text('{"main', encoding="utf-8")

    assert run(out, root).compiled == 3


def frozen(text):
    """(manifests that a manifest includes, [(folder, names, options)] that it freezes)."""
    included, frozen = [], []
    names = {"include": included.append, "freeze": lambda path, names, **options: frozen.append((path, names, options))}
    exec(text, names)
    return included, frozen


def test_an_image_has_every_module_lib_at_its_top_and_all_files(root):
    text, files = build.frozen_manifest(root)

    made = files[-1].parent.parent
    assert frozen(text) == (
        ["$(BOARD_DIR)/manifest.py"],
        [
            (str(root), ("boot.py", "main.py", "firmware/__init__.py", "firmware/app.py"), {"opt": 3}),
            (str(root / "lib"), ("modbus/crc.py",), {"opt": 3}),
            (str(made), ("image_id.py", "firmware/_frozen_files.py"), {"opt": 3}),
        ],
    )
    assert files == [pathlib.Path(path, name) for path, names, _options in frozen(text)[1] for name in names]
    assert made.is_relative_to(root / build.FROZEN)


def test_a_manifest_can_stand_on_another_one_than_a_boards(root):
    assert frozen(build.frozen_manifest(root, base="$(X)/y.py")[0])[0] == ["$(X)/y.py"]


def test_an_image_has_the_modules_of_the_compiled_tree(root, out):
    run(out, root)

    calls = frozen(build.frozen_manifest(root)[0])[1]
    in_image = {name.removesuffix(".py") for _path, names, _options in calls for name in names}
    on_board = {name.removeprefix("lib/") for name in made(out) if name.endswith((".py", ".mpy"))}
    assert in_image == {name.rpartition(".")[0] for name in on_board} | {"firmware/_frozen_files", "image_id"}


def image_id(root, **options):
    """ID of the module that an image has."""
    (path,) = (path for path in build.frozen_manifest(root, **options)[1] if path.name == "image_id.py")
    names = {}
    exec(path.read_text(encoding="utf-8"), names)
    return names["ID"]


@pytest.mark.parametrize("name", ["main.py", "lib/modbus/crc.py", "firmware/meters/a.json"])
def test_an_image_with_other_content_has_another_id(root, name):
    before = image_id(root)
    assert image_id(root) == before
    assert len(before) == 17
    text = (root / name).read_text(encoding="utf-8")
    (root / name).write_text('{"a": 2}' if name.endswith(".json") else text + "\nx = 1\n", encoding="utf-8")
    assert image_id(root) != before


def test_every_file_of_an_image_exists():
    _text, files = build.frozen_manifest()

    assert [path for path in files if not path.is_file()] == []


def image_module(root=build.ROOT):
    module = types.ModuleType("_frozen_files")
    exec(build.frozen_files(root), module.__dict__)
    return module


def image_files():
    module = image_module()
    return dict(zip(module.NAMES, module.CONTENTS, strict=True))


def test_an_image_has_the_data_files_of_the_compiled_tree(out):
    build.build(out, progress=lambda text: None)

    names = {name.removeprefix("firmware/") for name in made(out) if not name.endswith((".py", ".mpy"))}
    assert set(image_files()) == names | {"version"}
    assert image_files()["version"] == f"meterport {build.version_of(build.ROOT)}".encode()


def test_files_in_an_image_are_as_they_are_and_json_means_the_same():
    folder = build.ROOT / "firmware"
    for name, content in image_files().items():
        if name == "version":
            continue
        source = (folder / name).read_bytes()
        if name.endswith(".json"):
            assert json.loads(content) == json.loads(source)
            assert len(content) < len(source)
        else:
            assert content == source


def test_a_file_that_is_not_json_is_named_with_its_line(root):
    (root / "firmware" / "meters" / "a.json").write_text("{\n]", encoding="utf-8")
    with pytest.raises(build.BuildError, match=r"^firmware/meters/a\.json:2: not JSON"):
        build.frozen_manifest(root)


def test_files_that_have_not_changed_are_the_same_module(root):
    before = build.frozen_manifest(root)
    assert build.frozen_manifest(root) == before
    (root / "firmware" / "meters" / "a.json").write_text('{"a": 1}', encoding="utf-8")
    after = build.frozen_manifest(root)
    assert after[0] != before[0]
    assert b'{"a":1}' in after[1][-1].read_bytes()
    assert before[1][-1].is_file()  # another process may be building with it


def test_firmware_resources_reads_the_files_of_an_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "firmware._frozen_files", image_module())
    resources = importlib.reload(importlib.import_module("firmware.resources"))
    try:
        assert "pzem-004t-v3.json" in resources.names("meters/profiles")
        assert json.loads(resources.read("meters/profiles/pzem-004t-v3.json"))
        page = (build.ROOT / "firmware/services/http/page.html.gz").read_bytes()
        assert resources.content("services/http/page.html.gz") == page
        assert resources.read("services/http/page.etag")
        for name in ("nothing.json", "services/http/page"):
            with pytest.raises(OSError, match="2"):
                resources.content(name)
    finally:
        monkeypatch.undo()
        importlib.reload(resources)
