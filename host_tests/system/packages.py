"""Packages of the firmware of this tree, as an update takes them, with changes."""

from tools import gateway, update

NEW = b"VERSION = (0, 2, 0)\n"  # firmware/__init__.py of the next version


def package(replaced=(), version="0.2.0"):
    """The Package of this tree with another version, and with `replaced`, {module: source}, in place of its own."""
    tree = gateway.build_device(False, lambda text: None)
    found = update.Package.of_tree(tree, version)
    lines = [line.split(" ") for line in found.manifest.decode().splitlines()]
    files, at = {}, len(found.manifest)
    for _, size, path in lines:
        files[path] = found.data[at : at + int(size)]
        at += int(size)
    for path, body in {"firmware/__init__": NEW, **dict(replaced)}.items():
        del files[path + ".mpy"]
        files[path + ".py"] = body
    return update.Package(version, files)
