"""Makes the web page: one document with everything in it, packed as it goes over the network, and the parts that a
browser asks for when they are opened.

In:  firmware/services/http/page: index.html, in which a line {{name}} stands for a style sheet or script beside it;
     page/parts: scripts (.js) and dictionaries (.json) that are loaded on demand.
Out: page.html.gz, page.html, parts/NAME.gz of each part, and page.etag (16 hexadecimal digits, of all of them) in the
     folder above, which the server reads there, on a board as from the checkout. They are not kept in the repository;
     every build and every test run sees to them.

Comments on lines of their own, indentation and empty lines are left out: gzip does what else there is to do. The same
sources make the same bytes, on every machine with the same zlib: the header carries neither time nor system (RFC 1952).
"""

import hashlib
import json
import os
import pathlib
import re
import struct
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = pathlib.PurePosixPath("firmware/services/http/page")
PARTS = SOURCES / "parts"
MOST_BYTES = 40 * 1024  # packed: on a chip's flash, and through a socket of 5 KB buffers
_PLACE = re.compile(r"\{\{([\w.]+)\}\}")
_COMMENTS = {".js": re.compile(r"//.*"), ".css": re.compile(r"/\*.*\*/"), ".html": re.compile(r"<!--.*-->")}
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # deflate; no flags, no time; slowest; of an unknown system


class PageError(ValueError):
    """A source that cannot become part of the page, in the form path:line: message."""


def _stripped(path: pathlib.Path, name: str) -> list[str]:
    """The lines of a source that are worth sending."""
    comment = _COMMENTS[path.suffix]
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if line.count("`") % 2:
            raise PageError(f"{name}:{number}: a template literal over several lines would lose its indentation")
        if "</script" in line and path.suffix == ".js":
            raise PageError(f"{name}:{number}: this would end the script")
        if line and not comment.fullmatch(line):
            lines.append(line)
    return lines


def document(root: pathlib.Path = ROOT) -> str:
    """The whole page. Raises PageError, OSError."""
    folder = root / SOURCES
    lines = []
    for line in _stripped(folder / "index.html", f"{SOURCES}/index.html"):
        place = _PLACE.fullmatch(line)
        lines += _stripped(folder / place[1], f"{SOURCES}/{place[1]}") if place else [line]
    return "\n".join(lines) + "\n"


def packed(root: pathlib.Path = ROOT) -> bytes:
    """The page as a gzip file. Raises PageError, also when it has become too large; OSError."""
    whole = _gzip(document(root).encode())
    if len(whole) > MOST_BYTES:
        raise PageError(f"{SOURCES}: {len(whole)} bytes packed are more than {MOST_BYTES}")
    return whole


def packed_parts(root: pathlib.Path = ROOT) -> dict[str, bytes]:
    """What is loaded on demand: the gzip file of each part by its name. Raises PageError, OSError."""
    return {path.name: _gzip(_part(path)) for path in sorted((root / PARTS).glob("*.js*"))}


def _part(path: pathlib.Path) -> bytes:
    if path.suffix == ".json":
        dictionary = json.loads(path.read_text(encoding="utf-8"))
        return json.dumps(dictionary, ensure_ascii=False, separators=(",", ":")).encode()
    return ("\n".join(['"use strict";', *_stripped(path, f"{PARTS}/{path.name}")]) + "\n").encode()


def _gzip(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    body = deflate.compress(data) + deflate.flush()
    return _GZIP_HEAD + body + struct.pack("<II", zlib.crc32(data), len(data))


def write(root: pathlib.Path = ROOT) -> None:
    """Brings the files up to date, where the tree below `root` has a page. Raises PageError, OSError."""
    if not (root / SOURCES).is_dir():
        return
    data = packed(root)
    parts = packed_parts(root)
    etag = hashlib.sha256(b"".join([data, *parts.values()])).hexdigest()[:16].encode()
    plain = document(root).encode()
    folder = root / SOURCES.parent
    for name, content in (("page.html.gz", data), ("page.html", plain), ("page.etag", etag)):
        _replace(folder / name, content)
    wanted = {f"{name}.gz": content for name, content in parts.items()}
    for path in (folder / "parts").glob("*.gz"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    for name, content in wanted.items():
        (folder / "parts").mkdir(exist_ok=True)
        _replace(folder / "parts" / name, content)


def _replace(path: pathlib.Path, content: bytes) -> None:
    """Others may build at the same time, or read the file just now."""
    if path.is_file() and path.read_bytes() == content:
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
