"""Every text of the page has a translation: what stands in the scripts is a key of the dictionaries.

In: firmware/services/http/page, *.js and parts/*.json. A text is a literal that begins with a capital letter, or in
which words follow each other; a `${}` of a template is {} in the key (texts.js). Single words in small letters look
like names of elements and classes: host_tests/browser/test_languages.py sees them on the pages.
"""

import ast
import json
import re

import pytest

from tools.page import PARTS, ROOT, SOURCES

LANGUAGES = ("de", "es", "fr")
SCRIPTS = sorted(path for path in (ROOT / SOURCES).rglob("*.js") if path.name != "sha256.js")
BEFORE_REGEX = tuple("(,=:[!&|?{};>\n")
PROTOCOLS = {"GET", "POST", "PUT", "DELETE", "X-Meterport", "NFC", "Client Key", "Server Key", "meterport update"}
PROTOCOLS |= {"meterport update 1\\n", "use strict"}
CLASSES = {"field check", "note bad", "note dim", "large columns", "stacked loose"}
SAME_EVERYWHERE = {"English", "Deutsch", "Français", "Español", "Modbus TCP", "BACnet/IP", "BBMD", "MQTT", "SunSpec"}
SAME_EVERYWHERE |= {"CSV", "TLS", "UART", "{} KiB", "{}: UART {}, {} {}", "Wh", "VA", "LL", "LN"}
SAME_EVERYWHERE |= {f"W5500: {name}" for name in ("SCK", "MOSI", "MISO", "CS", "INT")}
# The filter of the overview looks in it; "Wrong" stands before a word of the device; the count stands before the last.
PARTS_OF_TEXTS = {"{} {} {} unit {}", "Wrong", "more connection"}
NO_TEXTS = PROTOCOLS | CLASSES | SAME_EVERYWHERE | PARTS_OF_TEXTS


class Scanner:
    """The literals of a script: strings, and templates with {} for each `${}`."""

    def __init__(self, source):
        self.source = source
        self.found = []
        self._code(0, "")

    def _code(self, at, end):
        """Reads from `at` until behind `end`; the place behind it."""
        depth, source = 0, self.source
        while at < len(source):
            char = source[at]
            if source.startswith("//", at):
                at = (source + "\n").index("\n", at)
            elif char in "\"'`":
                at = self._literal(at + 1, char)
            elif char == "/" and self._begins_regex(at):
                at = self._regex(at + 1)
            elif char == end and not depth:
                return at + 1
            else:
                depth += (char == "{") - (char == "}")
                at += 1
        assert not end, f"no {end} ends what was begun"
        return at

    def _begins_regex(self, at):
        before = self.source[:at].rstrip(" ")
        return before.endswith(BEFORE_REGEX) or before.endswith("return")

    def _regex(self, at):
        in_class = False
        while self.source[at] != "/" or in_class:
            if self.source[at] == "\\":
                at += 1
            elif self.source[at] in "[]":
                in_class = self.source[at] == "["
            at += 1
        return at + 1

    def _literal(self, at, quote):
        text = ""
        while self.source[at] != quote:
            if quote == "`" and self.source.startswith("${", at):
                at = self._code(at + 2, "}")
                text += "{}"
            else:
                length = 2 if self.source[at] == "\\" else 1
                text += self.source[at : at + length]
                at += length
        self.found.append(text)
        return at + 1


def texts(source):
    """The literals that people read, as keys: without outer spaces and the mark of a column of numbers."""
    for literal in Scanner(source).found:
        text = literal.strip().removeprefix(">")
        says_something = re.match(r"[A-Z]\w", text) or re.search(r"[A-Za-z)}:,] [A-Za-z({]", text)
        if says_something and re.search(r"[A-Za-z]{2}", text) and text not in NO_TEXTS:
            yield text


def missing(source, dictionary):
    """The texts that have no translation; a number of a text may be {} in its key."""
    return [text for text in texts(source) if text not in dictionary and re.sub(r"\d+", "{}", text) not in dictionary]


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_text_of_a_script_has_a_translation(script, code):
    dictionary = json.loads((ROOT / PARTS / f"{code}.json").read_text())
    assert missing(script.read_text(), dictionary) == []


def said(node):
    """The text of an expression, with {} for what is filled in."""
    if isinstance(node, ast.BinOp):
        return said(node.left) + ("{}" if isinstance(node.op, ast.Add) else "")
    assert isinstance(node, ast.Constant)
    return re.sub(r"%[ds]", "{}", node.value)


def test_every_advice_of_the_device_is_known_to_the_page():
    tree = ast.parse((ROOT / "firmware/services/http/documents/sockets.py").read_text())
    appended = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "texts.append"
    ]
    wanted = {said(call.args[0]) for call in appended}
    script = (ROOT / SOURCES / "sockets.js").read_text()
    listed = re.search(r"const ADVICE = \[(.*?)\n\]", script, re.DOTALL)[1]
    assert len(wanted) >= 8
    assert set(re.findall(r'"(.*)"', listed)) == wanted


def reasons():
    """What the device says is wrong with a meter: the texts of fault_text(), and what stands before and in lists of
    registers, with {} for what is filled in."""
    for path in ("firmware/bus/bus.py", "firmware/bus/listening.py", "firmware/meters/refusals.py"):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.FunctionDef) and node.name in ("fault_text", "_name"):
                about = ast.get_docstring(node, clean=False)
                for one in (one for statement in node.body for one in ast.walk(statement)):
                    if (
                        isinstance(one, ast.Constant)
                        and isinstance(one.value, str)
                        and one.value not in (about, "", ", ")
                    ):
                        yield re.sub(r"%[ds]", "{}", one.value)


def test_every_reason_of_the_device_is_known_to_the_page():
    script = (ROOT / SOURCES / "status.js").read_text()
    listed = re.findall(r'"(.*)"', re.search(r"const REASONS = \[(.*?)\n\]", script, re.DOTALL)[1])
    found = set(reasons())
    ranges = "{} to {} of function {}"  # a place of the texts that name registers, and a text of its own
    more = " and {} more ranges"
    assert {ranges, more} < found
    begins = {text for text in found if text.endswith("registers ")}
    assert len(begins) == 2
    wanted = found - begins - {ranges, more} | {f"{text}{{}}{end}" for text in begins for end in ("", more)}
    assert set(listed) == wanted


def test_a_text_without_a_translation_is_found():
    source = (
        'x = el("p", { class: "dim" }, `Unit ${k} is silent`, "No line", say("{} of them", a / b / c)); // "Not This"'
    )
    assert list(texts(source)) == ["Unit {} is silent", "No line", "{} of them"]
    assert missing(source, {"Unit {} is silent": "", "{} of them": ""}) == ["No line"]
    assert missing('f("Line 1")', {"Line {}": ""}) == []
    assert missing(r"if (/[/\"]`/.test(x)) f(`a ${g({ b: 'An inner one' })} c`)", {"a {} c": ""}) == ["An inner one"]


def test_all_dictionaries_have_the_same_keys_and_as_many_places():
    """A {} stands for a number or word of the English text, in its order."""
    books = {code: json.loads((ROOT / PARTS / f"{code}.json").read_text()) for code in LANGUAGES}
    for code, book in books.items():
        assert set(book) == set(books["de"]), code
        for key, text in book.items():
            assert text, (code, key)
            assert text.count("{}") == key.count("{}"), (code, key)


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_translation_begins_with_a_capital_letter_where_the_text_does(code):
    book = json.loads((ROOT / PARTS / f"{code}.json").read_text())
    assert [text for key, text in book.items() if key[0].isupper() and text[0].islower()] == []


def test_the_german_word_for_a_unit_on_the_line_is_not_that_for_the_gateway():
    book = json.loads((ROOT / PARTS / "de.json").read_text())
    assert [key for key, text in book.items() if "Gerät" in text and "unit" not in key.lower()] == []
