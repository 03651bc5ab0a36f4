"""A folder that a user can host: a page that flashes an ESP32 from a browser by ESP Web Tools (make web-installer)."""

import json
import shutil
from pathlib import Path

from tools import build
from tools.device import damage, versions
from tools.device.esp32 import check_image
from tools.device.port import UsageError
from tools.emulator import node

_WEB_FAMILIES = {"esp32": "ESP32", "esp32s2": "ESP32-S2", "esp32s3": "ESP32-S3", "esp32c3": "ESP32-C3",
                 "esp32c6": "ESP32-C6"}  # fmt: skip
# fmt: skip
_WEB_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Install {name}</title>
<script type="module" src="esp-web-tools/install-button.js"></script>
<h1>{name} {version}</h1>
<p>Connect the board by USB; Chrome or Edge, over https or from localhost. You are asked whether everything on the
board is to be erased first.</p>
<esp-web-install-button manifest="manifest.json"></esp-web-install-button>
"""


def write(images, folder, say=print):
    """Writes the folder of an ESP Web Tools page for images with the firmware within. Raises UsageError."""
    rows, found = [], []
    for image in images:
        chip, offset = check_image(image, "auto")
        content = Path(image).read_bytes()
        damage.check_esp_image(image, content, chip, offset)
        if not versions.has_firmware(content):
            raise UsageError(f"{image} has no firmware within: make image")
        found.append(versions.text(versions.in_image(content)))
        if found[-1] != found[0]:
            raise UsageError(f"{image} has the version {found[-1]}, the first image {found[0]}: the page says one")
        rows.append((Path(image), chip, offset))
    try:
        modules = node.ensure_packages(say, build.ROOT / "build" / "web-tools", build.ROOT / "tools" / "web_installer")
    except node.NodeError as error:
        raise UsageError(f"ESP Web Tools cannot be got: {error}") from error
    scripts = modules / "esp-web-tools" / "dist" / "web"
    write_folder(rows, Path(folder), "meterport", "".join(found[:1]), scripts)
    say(f"{folder}: index.html, manifest.json and {len(rows)} image(s); serve it by https, or from localhost")


def write_folder(images: "list[tuple[Path, str, int]]", folder: Path, name: str, version: str, scripts: Path) -> None:
    """Writes a folder that a user can host: page, manifest.json, images, and ESP Web Tools, whose built files are in
    `scripts`. `images`: (path, chip, offset). Those of the manifest.json that is there go. Raises UsageError."""
    builds = []
    for path, chip, offset in images:
        family = _WEB_FAMILIES.get(chip)
        if family is None:
            raise UsageError(f"{path}: ESP Web Tools knows no {chip}")
        if any(build["chipFamily"] == family for build in builds):
            raise UsageError(f"{path}: there is another image for {family}; ESP Web Tools takes one for each chip")
        builds.append({"chipFamily": family, "parts": [{"path": path.name, "offset": offset}]})
    if not builds:
        raise UsageError("no image of an ESP32 is given")
    folder.mkdir(parents=True, exist_ok=True)
    for old in _images_of(folder / "manifest.json"):
        if (folder / old).is_file():
            (folder / old).unlink()
    shutil.copytree(scripts, folder / "esp-web-tools", dirs_exist_ok=True)
    for path, _, _ in images:
        shutil.copyfile(path, folder / path.name)
    manifest = {
        "name": name, "version": version, "new_install_prompt_erase": True, "new_install_improv_wait_time": 20,
        "builds": builds,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    (folder / "index.html").write_text(_WEB_PAGE.format(name=name, version=version), encoding="utf-8")


def _images_of(manifest: Path) -> "list[str]":
    """The names of the images that a manifest.json lists; none when there is none, or not one of ours."""
    try:
        builds = json.loads(manifest.read_text(encoding="utf-8"))["builds"]
        return [Path(part["path"]).name for build in builds for part in build["parts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
