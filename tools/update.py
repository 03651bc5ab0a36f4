"""A package of the firmware for an update over the network, and sending it (firmware/update.py has the format).

In: a tree as tools/build.py makes it, or a package as a file (docs/reference/update.md). The HMAC is made for one
device, by its password: docs/decisions/0016.
"""

import hashlib
import hmac
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tools import device_api
from tools.device import versions

PIECE = 4096
HEAD = "meterport update 1\n"  # of a package as a file, and of what the HMAC is of
_FILE_HEAD = re.compile(
    HEAD.encode() + rb"(?P<line>(?P<kind>files|image) (?P<version>\S+) (?P<manifest>\d+) [0-9a-f]{64} \d+)\n"
    rb"(signature (?P<signature>[0-9a-f]{128})\n)?"
)
FOLDERS = ("firmware", "lib")


class Package:
    """`version`: text; `manifest`: bytes; `data`: manifest and files, as they are sent; `signature`: of Ed25519, 64
    bytes, or none."""

    def __init__(self, version: str, files: dict[str, bytes], kind: str = "files") -> None:
        """`files`: {path below the tree: content}; of the kind "image" {"image": content}."""
        self.version = version
        self.kind = kind
        self.signature = b""
        lines = [f"{hashlib.sha256(body).hexdigest()} {len(body)} {path}\n" for path, body in sorted(files.items())]
        self.manifest = "".join(lines).encode()
        self.data = self.manifest + b"".join(body for _, body in sorted(files.items()))

    @classmethod
    def of_tree(cls, tree: pathlib.Path) -> "Package":
        """The package of a tree that tools/build.py has made, with its version. Raises OSError, ValueError without a
        firmware in it."""
        paths = [path for folder in FOLDERS for path in (tree / folder).rglob("*") if path.is_file()]
        files = {path.relative_to(tree).as_posix(): path.read_bytes() for path in paths}
        if not any(path.startswith("firmware/__init__.") for path in files):
            raise ValueError(f"{tree}: no firmware; make build makes one")
        return cls(_version_in(tree, "files", files), files)

    @classmethod
    def of_image(cls, path: pathlib.Path) -> "Package":
        """The package of an ESP32's application image (the .app-bin of make image, not the .bin with boot loader and
        partition table), with the version of the firmware within. Raises OSError, ValueError."""
        body = path.read_bytes()
        if body[:1] != b"\xe9" or body[0x20:0x24] != b"\x32\x54\xcd\xab":  # esp_app_format.h
            raise ValueError(f"{path}: no application image of an ESP32: take the .app-bin that make image writes")
        files = {"image": body}
        return cls(_version_in(path, "image", files), files, "image")

    @classmethod
    def of_file(cls, path: pathlib.Path) -> "Package":
        """The package in a file that write() has made. Raises OSError, ValueError."""
        body = path.read_bytes()
        head = _FILE_HEAD.match(body)
        if head is None:
            raise ValueError(f"{path}: no package (meterport package makes one)")
        found = cls(head["version"].decode(), {}, head["kind"].decode())
        found.data = body[head.end() :]
        found.manifest = found.data[: int(head["manifest"])]
        found.signature = bytes.fromhex((head["signature"] or b"").decode())
        if found.line() != head["line"].decode():
            raise ValueError(f"{path}: the package is cut, or was changed")
        within = _version_in(path, found.kind, found.files())
        if within != found.version:
            raise ValueError(f"{path}: says that it is {found.version}; its firmware is {within}")
        return found

    def files(self) -> dict[str, bytes]:
        """{path below the tree: content}. Raises ValueError when the manifest is none."""
        files, at = {}, len(self.manifest)
        for line in self.manifest.decode().splitlines():
            _, size, path = line.split(" ")
            files[path] = self.data[at : at + int(size)]
            at += int(size)
        return files

    def line(self) -> str:
        """`kind version manifest digest total`: what is said of it, but for the permission to be older."""
        digest = hashlib.sha256(self.manifest).hexdigest()
        return f"{self.kind} {self.version} {len(self.manifest)} {digest} {len(self.data)}"

    def sign(self, key: Ed25519PrivateKey) -> None:
        """Signs it as a release of whoever has the key."""
        self.signature = key.sign((HEAD + self.line()).encode())

    def write(self, path: pathlib.Path) -> None:
        """Writes it as a file, for the page and for of_file(). Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        signature = f"signature {self.signature.hex()}\n" if self.signature else ""
        path.write_bytes(f"{HEAD}{self.line()}\n{signature}".encode() + self.data)

    def fields(self, key: bytes, older: bool) -> dict[str, Any]:
        """The body of the step "begin". `key`: of the device."""
        said = f"{HEAD}{self.line()} {int(older)}"
        fields = {
            "kind": self.kind, "version": self.version, "manifest": len(self.manifest),
            "digest": hashlib.sha256(self.manifest).hexdigest(), "total": len(self.data), "older": older,
            "mac": hmac.digest(key, said.encode(), "sha256").hex(),
        }  # fmt: skip
        return fields | ({"signature": self.signature.hex()} if self.signature else {})


def _version_in(path: pathlib.Path, kind: str, files: dict[str, bytes]) -> str:
    """The version of the firmware in `files`, which came from `path`. Raises ValueError when it does not say it."""
    if kind == "image":
        found = versions.in_image(files.get("image", b""))
    else:
        names = "firmware/__init__.mpy", "firmware/__init__.py"
        found = versions.in_module(next((files[name] for name in names if name in files), b""))
    if found is None:
        raise ValueError(f"{path}: its firmware does not say its version: make build or make image makes one that does")
    return versions.text(found)


def device_key(password: str, session: dict[str, Any]) -> bytes:
    """The key for updates of the device with that document of /api/session and that password."""
    salted = device_api.salted(password, bytes.fromhex(session["salt"]), session["iterations"])
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return hmac.digest(server_key, b"meterport update", "sha256")


def send(
    device: Any, package: Package, key: bytes, older: bool = False,
    tell: Callable[[int, int], object] = lambda done, total: None,
) -> None:  # fmt: skip
    """Sends the package to a device_api.Device with a session and has it switch. Raises ApiError, OSError."""
    begin = {"step": "begin", **package.fields(key, older)}
    while not device.post("/api/update", begin)["ready"]:
        pass  # it removes what lies in the tree, some files each time
    at = 0
    while at < len(package.data):
        answer = device.call("PUT", f"/api/update?at={at}", package.data[at : at + PIECE])
        at = answer["received"]
        tell(at, len(package.data))
    while not device.post("/api/update", {"step": "verify"})["done"]:
        pass
    device.post("/api/update", {"step": "switch"})


def release_key(path: pathlib.Path) -> Ed25519PrivateKey:
    """The private key (PEM, PKCS 8) in a file that only its owner may read; makes one where there is none. Raises
    OSError, ValueError."""
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made
    found = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(found, Ed25519PrivateKey):
        raise ValueError(f"{path}: no Ed25519 key")
    return found
