"""Makes the web page: one document with everything in it, packed as it goes over the network, and the parts that a
browser asks for when they are opened.

In:  firmware/services/http/page: index.html, in which a line {{name}} stands for a style sheet or script beside it;
     page/parts: scripts (.js) and dictionaries (.json, English text: its translation) that are loaded on demand.
Out: page.html.gz, page.html, parts/NAME.gz of each part, and page.etag (16 hexadecimal digits, of all of them) in the
     folder above, which the server reads there, on a board as from the checkout. They are not kept in the repository;
     every build and every test run sees to them.

Comments on lines of their own, indentation, empty lines and spaces that say nothing are left out: the page lies in
flash packed and plain. The keys of the dictionaries become a part of their own, keys.json, a list; each dictionary
becomes the list of its translations in that order, 0 for one that is the same as the key. The same sources make the
same bytes, on every machine with the same zlib: the header carries neither time nor system (RFC 1952).
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
# Spaces around these say nothing in a script: not those around + and -, which could become ++ and --.
_LOOSE = "{}()[],;:?=<>&|!*"
_BEFORE_REGEX = tuple("(,=:[!&|?{};>")
_LOOSE_CSS = re.compile(r"\s*([{};,])\s*|(?<=:) ")
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # deflate; no flags, no time; slowest; of an unknown system


class PageError(ValueError):
    """A source that cannot become part of the page, in the form path:line: message."""


def _literal_end(line: str, at: int) -> int:
    """The place behind the string, template or regular expression that begins at `at`."""
    quote, in_class = line[at], False
    at += 1
    while line[at] != quote or in_class:
        if line[at] == "\\":
            at += 1
        elif quote == "/" and line[at] in "[]":
            in_class = line[at] == "["
        elif quote == "`" and line.startswith("${", at):
            at = _code_end(line, at + 2)
            continue
        at += 1
    return at + 1


def _code_end(line: str, at: int) -> int:
    """The place behind the } that ends the code of a template."""
    depth = 0
    while depth or line[at] != "}":
        if line[at] in "\"'`":
            at = _literal_end(line, at)
            continue
        depth += (line[at] == "{") - (line[at] == "}")
        at += 1
    return at + 1


def _begins_literal(line: str, at: int) -> bool:
    """Whether a string, template or regular expression begins there; else a / divides."""
    before = line[:at].rstrip()
    return line[at] in "\"'`" or line[at] == "/" and (not before or before.endswith((*_BEFORE_REGEX, "return")))


def _squeezed(line: str) -> str:
    """A line of a script without the spaces that say nothing."""
    kept = ""
    at = 0
    while at < len(line):
        if line.startswith("//", at) and not kept.endswith("\\"):
            break
        if _begins_literal(line, at):
            end = _literal_end(line, at)
            kept += line[at:end]
            at = end
        elif line[at] == " " and (kept[-1:] in _LOOSE or line[at + 1] in _LOOSE):
            at += 1
        else:
            kept += line[at]
            at += 1
    return kept.rstrip()


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
        if not line or comment.fullmatch(line):
            continue
        if path.suffix == ".js":
            try:
                line = _squeezed(line)
            except IndexError:
                raise PageError(f"{name}:{number}: a string, template or regular expression has no end") from None
        elif path.suffix == ".css":
            line = _LOOSE_CSS.sub(r"\1", line)
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
    folder = root / PARTS
    scripts = {path.name: _script(path) for path in folder.glob("*.js")}
    books = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    found = scripts | _lists(books)
    return {name: _gzip(found[name]) for name in sorted(found)}


def _script(path: pathlib.Path) -> bytes:
    return ("\n".join(['"use strict";', *_stripped(path, f"{PARTS}/{path.name}")]) + "\n").encode()


def _lists(books: dict[str, dict[str, str]]) -> dict[str, bytes]:
    """keys.json, and each dictionary as a list in its order. Raises PageError where one has other keys."""
    if not books:
        return {}
    keys = sorted(next(iter(books.values())))
    for name, book in books.items():
        if sorted(book) != keys:
            raise PageError(f"{PARTS}/{name}: its keys are not those of the other dictionaries")
    lists = {name: [0 if book[key] == key else book[key] for key in keys] for name, book in books.items()}
    return {name: _json(one) for name, one in {"keys.json": keys, **lists}.items()}


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


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
