"""JSON as RFC 8259 has it and nothing else: for files that people edit and tools upload. No I/O.

In: the document as bytes or bytearray (of a memoryview a copy is made), in UTF-8, with or without a byte order mark.
Out: OrderedDict, list, str, int, float, bool and None; the outermost is an object or a list. An object keeps the order
of the document, and in the heap of a chip it is smaller than a dict. ValueError says what is wrong and at which byte,
counted from 1: "byte 17: } where ] was expected".

MicroPython's own json accepts a document that was cut off, brackets that do not match, and repeated keys. This one
refuses these, and documents beyond the bounds below.

Texts are searched with find(), min() and max(), which are quick on a chip, and never letter by letter as str, since
MicroPython keeps each str of one letter for good. Methods that run for each value have at most 11 words of state, so
that MicroPython keeps their frames off the heap, and copy nothing, so that the result does not lie scattered between
garbage.
"""

from collections import OrderedDict

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Any

_DEPTH_MAX = const(8)  # objects and lists within each other
_NUMBER_MAX = const(64)  # letters of a number: converting a long one takes time by its square
_SHOWN_MAX = const(40)
_QUOTE = const(0x22)
_WORDS = {b"true": True, b"false": False, b"null": None}
_ESCAPES = b'""\\\\//b\x08f\x0cn\nr\rt\t'  # the letter behind the backslash, and what it stands for
# Of a character in UTF-8 with several bytes, by its first: how many follow, and the bounds of the second (Unicode
# Standard, table 3-7): no character has two forms, none is a surrogate or beyond U+10FFFF
_UTF8 = (
    (0xC2, 0xDF, 1, 0x80, 0xBF), (0xE0, 0xE0, 2, 0xA0, 0xBF), (0xE1, 0xEC, 2, 0x80, 0xBF), (0xED, 0xED, 2, 0x80, 0x9F),
    (0xEE, 0xEF, 2, 0x80, 0xBF), (0xF0, 0xF0, 3, 0x90, 0xBF), (0xF1, 0xF3, 3, 0x80, 0xBF), (0xF4, 0xF4, 3, 0x80, 0x8F),
)  # fmt: skip


def loads(buf: "bytes | bytearray | memoryview", only: "tuple[str, ...] | None" = None) -> "Any":
    """Parses the object or list in `buf`. Raises ValueError with what is wrong and where. `only`: keys of the outermost
    object; values of other keys are checked, but neither made nor kept."""
    return _Reader(bytes(buf) if isinstance(buf, memoryview) else buf, only).document()


class _Reader:
    """`at`: index of the next byte. A method that reads an element begins at its first byte and ends behind its
    last."""

    def __init__(self, buf: "bytes | bytearray", only: "tuple[str, ...] | None") -> None:
        self.buf = buf
        self.only = only
        self.makes = True  # False: elements are only checked
        self.view = memoryview(buf)  # slices of it are no copies
        self.end = len(buf)
        self.at = 3 if buf[:3] == b"\xef\xbb\xbf" else 0

    def document(self) -> "Any":
        """Reads the whole document. No recursion, since the stack of a chip is short: `open` has the objects and lists
        that have begun and not ended, each of them already an element of the one before."""
        if self.skip() not in b"{[":
            raise self.error("must be an object, and nothing else")
        open: "list[Any]" = []
        key = None  # of the next value in an object
        value: "Any" = None
        while True:
            byte = self.buf[self.at]
            if byte in b"{[":
                if len(open) == _DEPTH_MAX:
                    raise self.error("nested too deep")
                value = OrderedDict() if byte == 0x7B else []
                self.at += 1
            else:
                value = self.scalar(byte)
            if open and self.makes:
                if isinstance(open[-1], list):
                    open[-1].append(value)
                else:
                    open[-1][key] = value
            if byte in b"{[":
                open.append(value)
                if self.skip() != byte + 2:  # } is two behind {, ] behind [
                    if byte == 0x7B:
                        key = self.key(open)
                    continue
                self.at += 1
                value = open.pop()
            while open and self.ends(open[-1]):
                value = open.pop()
            if not open:
                break
            if not isinstance(open[-1], list):
                key = self.key(open)
        self.must_end()
        return value

    def ends(self, container: "Any") -> bool:
        """Behind a value of `container`: True when its bracket closes; False behind the comma of the next value."""
        byte = self.skip()
        closer, other = (0x5D, 0x7D) if isinstance(container, list) else (0x7D, 0x5D)
        if byte != closer and byte != 0x2C:
            raise self.expected("%s%c" % ("" if byte == other else ", or ", closer))
        self.at += 1
        if byte == closer:
            return True
        self.skip()
        return False

    def key(self, open: "list[Any]") -> str:
        """Reads a key of the object open[-1], and the colon."""
        if self.buf[self.at] != _QUOTE:
            raise self.expected('a key in "quotes"')
        at = self.at
        if len(open) == 1:
            self.makes = True
        key = self.text()
        if self.makes and key in open[-1]:
            raise self.error("%s is given twice" % key[:_SHOWN_MAX], at)
        if self.skip() != 0x3A:
            raise self.expected(":")
        self.at += 1
        self.skip()
        if len(open) == 1 and self.only is not None:
            self.makes = key in self.only
        return key

    def must_end(self) -> None:
        """Raises ValueError unless only white space follows."""
        buf = self.buf
        while self.at < self.end:
            if buf[self.at] not in b" \t\r\n":
                raise self.error("must be an object, and nothing else")
            self.at += 1

    def error(self, text: str, at: "int | None" = None) -> ValueError:
        """The error `text` at the byte with index `at`."""
        return ValueError("byte %d: %s" % ((self.at if at is None else at) + 1, text))

    def cut_off(self) -> ValueError:
        """The error of an incomplete document."""
        return ValueError("cut off after %d bytes" % self.end)

    def expected(self, what: str) -> ValueError:
        """The error of a next byte that is not `what`."""
        byte = self.buf[self.at]
        return self.error("%s where %s was expected" % ("%c" % byte if 0x20 < byte < 0x7F else "0x%02x" % byte, what))

    def skip(self) -> int:
        """Skips white space; returns the next byte, which is not consumed."""
        buf = self.buf
        at = self.at
        while at < self.end:
            byte = buf[at]
            if byte > 0x20 or byte not in b" \t\r\n":
                self.at = at
                return byte
            at += 1
        raise self.cut_off()

    def scalar(self, byte: int) -> "Any":
        """Reads a value that is neither object nor list; `byte` is its first."""
        if byte == _QUOTE:
            return self.text()
        if byte in b"-0123456789":
            return self.number()
        for word in _WORDS:
            if byte == word[0]:
                return self.word(word)
        raise self.expected("a value")

    def word(self, word: bytes) -> "bool | None":
        """Reads true, false or null."""
        for k in range(1, len(word)):
            if self.at + k == self.end:
                raise self.cut_off()
            if self.buf[self.at + k] != word[k]:
                raise self.error("must be %s" % word.decode())
        self.at += len(word)
        return _WORDS[word]

    def number(self) -> "int | float":
        """Reads a number (RFC 8259, 6)."""
        begin = self.at
        is_whole = True
        if self.buf[begin] == 0x2D:
            self.at += 1
        first = self.at
        value = self.digits()
        if self.buf[first] == 0x30 and self.at > first + 1:
            raise self.error("a number does not begin with 0", first)
        if self.takes(b"."):
            is_whole = False
            self.digits()
        if self.takes(b"eE"):
            is_whole = False
            self.takes(b"+-")
            self.digits()
        if self.at - begin > _NUMBER_MAX:
            raise self.error("a number of more than %d letters" % _NUMBER_MAX, begin)
        if not is_whole:
            return float(self.buf[begin : self.at])
        return value if begin == first else -value

    def takes(self, letters: bytes) -> bool:
        """Consumes the next byte if it is one of `letters`; returns whether it was."""
        if self.at < self.end and self.buf[self.at] in letters:
            self.at += 1
            return True
        return False

    def digits(self) -> int:
        """Reads at least one digit; returns their value."""
        buf = self.buf
        at = self.at
        value = 0
        while at < self.end and 0x30 <= buf[at] <= 0x39:
            if at - self.at < _NUMBER_MAX:
                value = 10 * value + buf[at] - 0x30
            at += 1
        if at == self.end:  # no number is the end of a document
            raise self.cut_off()
        if at == self.at:
            raise self.expected("a digit")
        self.at = at
        return value

    def text(self) -> str:
        """Reads a string."""
        end = self.quote(self.at + 1)
        if self.buf.find(b"\\", self.at + 1, end) < 0:
            piece: "memoryview | bytearray" = self.view[self.at + 1 : end]
            self.check_letters(piece, self.at + 1)
        else:
            piece = self.unescaped(self.at + 1, end)
        self.at = end + 1
        return str(piece, "utf-8") if self.makes else ""

    def unescaped(self, begin: int, end: int) -> bytearray:
        """The string in buf[begin:end] with its escapes replaced."""
        buf = self.buf
        out = bytearray()
        while begin < end:
            stop = buf.find(b"\\", begin, end)
            plain = buf[begin : end if stop < 0 else stop]
            self.check_letters(plain, begin)
            out.extend(plain)
            begin = end if stop < 0 else self.escape(stop, out)
        return out

    def quote(self, at: int) -> int:
        """Index of the quote that ends the string which begins at `at`."""
        buf = self.buf
        while True:
            end = buf.find(b'"', at)
            if end < 0:
                self.check_letters(buf[at:], at, True)
                raise self.cut_off()
            escapes = end
            while buf[escapes - 1] == 0x5C:  # a quote stands before `at`
                escapes -= 1
            if not (end - escapes) % 2:
                return end
            at = end + 1

    def check_letters(self, piece: "bytes | bytearray | memoryview", at: int, is_end_cut: bool = False) -> None:
        """Refuses control characters and malformed UTF-8 in `piece`, which begins at `at` and has no escapes. With
        `is_end_cut` its last character may be incomplete."""
        if not piece:
            return
        if min(piece) < 0x20:
            for k in range(len(piece)):
                if piece[k] in b"\r\n":
                    raise self.error("a text is not closed", at + k)
                if piece[k] < 0x20:
                    raise self.error("a control character: write it as \\u%04x" % piece[k], at + k)
        if max(piece) > 0x7F and not is_end_cut:
            self.check_utf8(piece, at)

    def check_utf8(self, piece: "bytes | bytearray | memoryview", at: int) -> None:
        """Refuses malformed UTF-8 in `piece`, which begins at `at`."""
        k = 0
        while k < len(piece):
            first = piece[k]
            if first > 0x7F:
                more = _more_bytes(piece, k)
                if not more:
                    raise self.error("not UTF-8", at + k)
                k += more
            k += 1

    def escape(self, at: int, out: bytearray) -> int:
        """Appends the character of the escape at `at`; returns the index behind the escape."""
        letter = self.buf[at + 1]
        if letter != 0x75:
            k = _ESCAPES.find(bytes((letter,)))
            if k < 0 or k % 2:
                raise self.error("no escape: \\ itself is written \\\\", at)
            out.append(_ESCAPES[k + 1])
            return at + 2
        code = self.hex(at)
        end = at + 6
        if 0xD800 <= code < 0xDC00 and self.buf[end : end + 2] == b"\\u":
            low = self.hex(end)
            if 0xDC00 <= low < 0xE000:
                code = 0x10000 + (code - 0xD800 << 10) + low - 0xDC00
                end += 6
        if 0xD800 <= code < 0xE000:
            raise self.error("half of a character: \\uD800 to \\uDFFF come in pairs", at)
        # Encoded by hand: MicroPython would keep the str of chr() for good.
        if code < 0x80:
            out.append(code)
            return end
        if code < 0x800:
            out.append(0xC0 | code >> 6)
        else:
            if code < 0x10000:
                out.append(0xE0 | code >> 12)
            else:
                out.append(0xF0 | code >> 18)
                out.append(0x80 | code >> 12 & 0x3F)
            out.append(0x80 | code >> 6 & 0x3F)
        out.append(0x80 | code & 0x3F)
        return end

    def hex(self, at: int) -> int:
        """The value of the four hexadecimal digits of the \\u at `at`."""
        code = 0
        for k in range(at + 2, at + 6):
            byte = self.buf[k] if k < self.end else 0
            if 0x30 <= byte <= 0x39:
                digit = byte - 0x30
            elif 0x41 <= byte & 0xDF <= 0x46:
                digit = (byte & 0xDF) - 0x37
            else:
                raise self.error("\\u wants four hexadecimal digits", at)
            code = code << 4 | digit
        return code


def _more_bytes(piece: "bytes | bytearray | memoryview", k: int) -> int:
    """Number of bytes that follow piece[k] in its character, which is not ASCII; 0 when it is not UTF-8."""
    for low, high, count, second_low, second_high in _UTF8:
        if low <= piece[k] <= high and len(piece) > k + count and second_low <= piece[k + 1] <= second_high:
            for one in piece[k + 2 : k + count + 1]:
                if one & 0xC0 != 0x80:
                    return 0
            return count
    return 0
