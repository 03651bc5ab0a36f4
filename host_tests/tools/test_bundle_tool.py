"""make bundle: what is in it, that its sums hold, and what is refused."""

import hashlib
import zipfile

import pytest

from tools import bundle


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in (f"meterport-METERPORT_ESP32-{bundle.VERSION}.bin", f"meterport-METERPORT_PICO_W-{bundle.VERSION}.uf2"):
        content = name.encode() * 100
        (folder / name).write_bytes(content)
        (folder / (name + ".sha256")).write_text(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return folder


def make(images, target):
    return bundle.main(["--images", str(images), "--out", str(target)])


def test_everything_in_the_bundle_is_as_its_sums_say(images, tmp_path):
    assert make(images, tmp_path / "a.zip") == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        top = f"meterport-{bundle.VERSION}/"
        found = {name.removeprefix(top): packed.read(name) for name in packed.namelist()}
    sums = dict(reversed(line.split("  ")) for line in found.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    assert {name for name in found if name.startswith("images/")} == {
        f"images/{path.name}" for path in images.iterdir()
    }
    assert {"LICENSE", "CHANGELOG.md", "examples/config-one-meter.json"} <= set(found)


def test_the_same_files_make_the_same_bundle(images, tmp_path):
    assert make(images, tmp_path / "a.zip") == make(images, tmp_path / "b.zip") == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize("ending", [".bin", ".bin.sha256"])
def test_an_image_that_is_not_as_its_sum_says_is_refused(images, tmp_path, capsys, ending):
    path = images / f"meterport-METERPORT_ESP32-{bundle.VERSION}{ending}"
    path.write_bytes(path.read_bytes()[:-1])
    assert make(images, tmp_path / "a.zip") == 2
    assert "make image again" in capsys.readouterr().err
    assert not (tmp_path / "a.zip").exists()


def test_images_of_another_version_are_none(images, tmp_path, capsys):
    for path in images.iterdir():
        path.rename(path.with_name(path.name.replace(bundle.VERSION, "0.0.9")))
    assert make(images, tmp_path / "a.zip") == 2
    assert f"has no image of meterport {bundle.VERSION}" in capsys.readouterr().err


def test_sums_that_are_no_text_and_a_bundle_that_cannot_be_written_are_errors(images, tmp_path, capsys):
    assert make(images, tmp_path) == 1
    assert "bundle: [Errno" in capsys.readouterr().err
    assert make(images, images / f"meterport-METERPORT_ESP32-{bundle.VERSION}.bin" / "a.zip") == 1
    (images / f"meterport-METERPORT_ESP32-{bundle.VERSION}.bin.sha256").write_bytes(b"\xff\xfe")
    assert make(images, tmp_path / "a.zip") == 2
    assert "make image again" in capsys.readouterr().err
