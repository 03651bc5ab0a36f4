"""Texts that a user writes, with symbols in them that stand for values. Codec only: no values, no files.

$name, ${name}  the value of that symbol; a name has letters, digits and _
$$              a dollar sign
$[ ... $]       is repeated for each meter; symbols in it are that meter's. Not nested.
$,              in a repeated part: a comma, but none behind the last meter
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterator

_PIECE = const(256)  # bytes of plain text that are written at once
_NAME_MAX = const(40)
_DOLLAR = const(36)


def check(template: bytes) -> None:
    """Raises ValueError with what is wrong."""
    for _ in render(template, 1, lambda name, number: b"", lambda text: None):
        pass


def render(
    template: bytes,
    count: int,
    value: "Callable[[bytes, int], bytes]",
    write: "Callable[[bytes], object]",
) -> "Iterator[None]":
    """A generator: writes the text, and yields after each piece. `count`: meters; value(name, number) gives the value
    of a symbol, `number` is the meter's, 0 outside of repeated parts. Raises ValueError when the template is wrong."""
    i = begin = 0  # begin: of the repeated part
    number = -1  # of the meter; -1: outside of a repeated part
    size = len(template)
    while i < size:
        at = template.find(b"$", i)
        if at < 0:
            at = size
        if number < count or number < 0:
            while i < at:
                write(template[i : min(i + _PIECE, at)])
                i = min(i + _PIECE, at)
                yield
        if at == size:
            break
        mark = template[at + 1 : at + 2]
        i = at + 2
        is_skipped = number >= count  # there is no meter
        if mark == b"[":
            if number >= 0:
                raise ValueError("$[ within $[")
            number, begin = 0, i
        elif mark == b"]":
            if number < 0:
                raise ValueError("$] without $[")
            number += 1
            if number < count:
                i = begin
            else:
                number = -1
        elif mark == b"$":
            if not is_skipped:
                write(b"$")
        elif mark == b",":
            if number < 0:
                raise ValueError("$, without $[")
            if number < count - 1:
                write(b",")
        else:
            name, i = _name(template, at + 1)
            if not is_skipped:
                write(value(name, max(number, 0)))
                yield
    if number >= 0:
        raise ValueError("$[ without $]")


def _name(template: bytes, begin: int) -> "tuple[bytes, int]":
    """(name of a symbol, index behind it), which begins behind its dollar sign."""
    is_braced = template[begin : begin + 1] == b"{"
    begin += is_braced
    end = begin
    while end < len(template) and end - begin <= _NAME_MAX and _is_of_name(template[end]):
        end += 1
    if not begin < end <= begin + _NAME_MAX or (is_braced and template[end : end + 1] != b"}"):
        raise ValueError("$ without a name behind it; $$ is a dollar sign")
    return template[begin:end], end + is_braced


def _is_of_name(byte: int) -> bool:
    return byte == 95 or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122
