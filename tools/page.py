"""Makes the web page: one document with everything in it, packed as it goes over the network.

In:  firmware/services/http/page: index.html, in which a line {{name}} stands for a style sheet or script beside it.
Out: page.html.gz, page.html and page.etag (16 hexadecimal digits) in the folder above, which the server reads there,
     on a board as from the checkout. They are not kept in the repository; every build and every test run sees to them.

Comments on lines of their own, indentation and empty lines are left out: gzip does what else there is to do. The same
sources make the same bytes, on every machine with the same zlib: the header carries neither time nor system (RFC 1952).
"""

import hashlib
import os
import pathlib
import re
import struct
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = pathlib.PurePosixPath("firmware/services/http/page")
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
    data = document(root).encode()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    body = deflate.compress(data) + deflate.flush()
    whole = _GZIP_HEAD + body + struct.pack("<II", zlib.crc32(data), len(data))
    if len(whole) > MOST_BYTES:
        raise PageError(f"{SOURCES}: {len(whole)} bytes packed are more than {MOST_BYTES}")
    return whole


def write(root: pathlib.Path = ROOT) -> None:
    """Brings the three files up to date, where the tree below `root` has a page. Raises PageError, OSError."""
    if not (root / SOURCES).is_dir():
        return
    data = packed(root)
    etag = hashlib.sha256(data).hexdigest()[:16].encode()
    plain = document(root).encode()
    for name, content in (("page.html.gz", data), ("page.html", plain), ("page.etag", etag)):
        _replace(root / SOURCES.parent / name, content)


def _replace(path: pathlib.Path, content: bytes) -> None:
    """Others may build at the same time, or read the file just now."""
    if path.is_file() and path.read_bytes() == content:
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
