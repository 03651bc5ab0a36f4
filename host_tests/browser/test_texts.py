"""Texts of the device on the page, in the browser itself: what would change how a line is shown is not passed on."""

import pytest

from tools.page import ROOT, SOURCES

HARMFUL = (
    "\\u0000", "\\t", "\\n", "\\u001b", "\\u007f", "\\u0085", "\\u009f", "\\u061c", "\\u200e", "\\u200f", "\\u2028",
    "\\u2029", "\\u202a", "\\u202e", "\\u2066", "\\u2069", "\\ud800", "\\udfff",
)  # fmt: skip
HARMLESS = ("", "a b", "Z\u00e4hler", "\u7535\u8868", "\u0639\u062f\u0627\u062f", "\U0001f50c", "\u00a0", "<b>&amp;")


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    for name in ("texts.js", "dom.js"):
        page.add_script_tag(path=ROOT / SOURCES / name)
    yield page
    page.close()


@pytest.mark.parametrize("character", HARMFUL)
def test_a_character_that_changes_how_a_line_is_shown_becomes_a_replacement(page, character):
    """As JavaScript writes it, since a half of a character does not come through the driver."""
    text = f'"a{character}b"'
    assert page.evaluate(f"visible({text})") == "a\ufffdb"
    assert page.evaluate(f'el("p", null, {text}, el("b", null, {text})).textContent') == "a\ufffdba\ufffdb"
    assert page.evaluate(f'{{ const p = el("p"); setText(p, {text}); p.textContent }}') == "a\ufffdb"


def test_other_texts_are_shown_as_they_are(page):
    for text in HARMLESS:
        assert page.evaluate("text => el('p', null, text).textContent", text) == text
    assert page.evaluate("el('p', null, 1, 'x').textContent") == "1x"
