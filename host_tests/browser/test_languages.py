"""The page in other languages: dictionaries that the device sends on demand."""

import json

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PASSWORD, PHONE, Visit, assert_accessible, assert_fits
from tools.page import PARTS, ROOT

PRIVATE = {"http": {"public_status": False}}
WORDS = {
    "de": ("Zähler", "Kennwort wählen", "Netzwerk"),
    "fr": ("Compteurs", "Choisir un mot de passe", "Réseau"),
    "es": ("Contadores", "Elegir una contraseña", "Red"),
}


def in_language(browser, rig, locale, size=DESK):
    return Visit(browser, rig, size, locale=locale)


def set_up(seen, words):
    page = seen.page
    expect(page.get_by_role("heading", name=words[1])).to_be_visible()
    page.locator("#new-password").fill(PASSWORD)
    page.locator("#repeat-password").fill(PASSWORD)
    page.locator("form button").click()
    expect(page.get_by_role("navigation").first).to_contain_text(words[0])


@pytest.mark.parametrize("code", WORDS)
def test_the_page_is_in_the_language_of_the_browser(make_rig, browser, code):
    meters = [{"slot": 0, "name": "Search", "unit": 1, "profile": "eastron-sdm630", "interval_s": 1}]
    rig = make_rig(config=PRIVATE, meters=meters)
    seen = in_language(browser, rig, f"{code}-{code.upper()}", PHONE).open("meters")
    page = seen.page
    set_up(seen, WORDS[code])
    assert page.evaluate("document.documentElement.lang") == code
    expect(page.get_by_role("heading", name=WORDS[code][0], exact=True)).to_be_visible()
    # A name from the device is a name, whatever it means in English.
    expect(page.get_by_role("link", name="Search", exact=True)).to_be_visible()
    for name in ("status", "bus", "network", "services", "sockets", "posting", "system", "setup/names"):
        page.evaluate("name => { location.hash = '#/' + name; }", name)
        expect(page.locator("main section").first).to_be_visible()
        assert_accessible(seen, name)
        assert_fits(seen, name)
    seen.screenshot(f"names-{code}")
    seen.close()


def test_another_language_is_chosen_and_remembered_and_no_dictionary_comes_for_english(make_rig, visit):
    rig = make_rig(config=PRIVATE)
    asked = []
    seen = visit(rig)
    page = seen.page
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    seen.open("network")
    seen.set_up()
    assert not any(name.endswith(".json") for name in asked)
    page.get_by_label("Language").select_option("Deutsch")
    expect(page.get_by_role("heading", name="Netzwerk jetzt")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Netzwerk jetzt")).to_be_visible()
    assert asked.count("de.json") == 2
    page.get_by_label("Sprache").select_option("English")
    expect(page.get_by_role("heading", name="Network now")).to_be_visible()


def test_what_has_no_translation_stays_english_and_numbers_keep_their_order(make_rig, visit):
    seen = visit(make_rig()).open()
    page = seen.page
    expect(page.locator("tr[data-slot]")).to_have_count(3)
    page.evaluate("useLanguage('de')")
    expect(page.get_by_label("Sprache")).to_have_count(1)
    assert page.evaluate("translated('nothing of the kind 5')") == "nothing of the kind 5"
    assert page.evaluate("translated('constructor')") == "constructor"
    assert page.evaluate("translated(' 3 of 16 sockets in use ')") == " 3 von 16 Sockets belegt "


def test_a_device_that_does_not_send_the_dictionary_is_shown_in_english(make_rig, browser):
    rig = make_rig()
    seen = in_language(browser, rig, "fr-FR")
    seen.page.route("**/page/fr.json", lambda route: route.abort())
    seen.open()
    expect(seen.page.get_by_role("navigation").get_by_role("link", name="Meters")).to_be_visible()
    seen.excuse("GET /page/fr.json")
    seen.close()


def test_all_dictionaries_have_the_same_keys_and_as_many_numbers():
    """A {} stands for a number of the English text, in its order."""
    books = {code: json.loads((ROOT / PARTS / f"{code}.json").read_text()) for code in WORDS}
    for code, book in books.items():
        assert set(book) == set(books["de"]), code
        for key, text in book.items():
            assert text, (code, key)
            assert text.count("{}") == key.count("{}"), (code, key)
