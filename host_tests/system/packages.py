"""Packages of the firmware of this tree, as an update takes them, with changes."""

import re

from tools import build, gateway, update


def package(replaced=(), version="0.2.0"):
    """The Package of this tree with another version, and with `replaced`, {module: source}, in place of its own."""
    tree = gateway.build_device(False, lambda text: None)
    files = update.Package.of_tree(tree).files()
    own = f"VERSION = ({version.replace('.', ', ')})\n".encode()
    for path, body in {"firmware/__init__": own, **dict(replaced)}.items():
        del files[path + ".mpy"]
        files[path + ".py"] = body
    return update.Package(version, files)


def switched(found, use="- a 0"):
    """{path: content} of a device that has switched to a Package."""
    files = {f"tree/a/{path}": body for path, body in found.files().items()}
    return files | {"tree/a/manifest": found.manifest, "tree/use": use.encode()}


def name_of_image(program):
    """What an update writes into the file image of a tree beside this image of the rp2 port, which has the firmware
    within."""
    names = {}
    (path,) = [path for path in build.frozen_manifest(machine_code=True)[1] if path.name == "image_id.py"]
    exec(path.read_text(encoding="utf-8"), names)
    assert program.count(names["ID"]) == 1
    return names["ID"] + re.search(rb"\d\.\d\.\d; MicroPython [ -~]+", program)[0]
