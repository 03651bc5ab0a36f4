"""The page in other languages: dictionaries that the device sends on demand."""

import re

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PASSWORD, PHONE, Visit, assert_accessible, assert_fits, assert_whole
from host_tests.system.rig import METERS

PRIVATE = {"http": {"public_status": False}}
WORDS = {
    "de": ("Zähler", "Kennwort wählen", "Netzwerk"),
    "fr": ("Compteurs", "Choisir un mot de passe", "Réseau"),
    "es": ("Contadores", "Elegir una contraseña", "Red"),
}

TABLET = (768, 1024)
PAGES = ("status", "status/0", "bus", "network", "services", "sockets", "posting", "system", "meters/0")
PAGES += ("setup/password", "setup/search", "setup/services", "setup/done", "setup/names")
# What is no word of a language.
SAME = re.compile(
    r"Modbus TCP|BACnet/IP|BBMD|MQTT|NTP|SunSpec|TLS|UART|W5500: \w+|\d+: UART .*|([\d.,]+ )?(kWh|kvarh|kVAh|KiB)"
)


def in_language(browser, rig, locale, size=DESK):
    return Visit(browser, rig, size, locale=locale)


def set_up(seen, words):
    page = seen.page
    expect(page.get_by_role("heading", name=words[1])).to_be_visible()
    page.locator("#new-password").fill(PASSWORD)
    page.locator("#repeat-password").fill(PASSWORD)
    page.locator("form button").click()
    expect(page.get_by_role("navigation").first).to_contain_text(words[0])


# From now on the page keeps what it shows without a translation, and what it has translated.
KEEP_MISSES = """() => {
  const known = [translated, say];
  window.misses = new Set();
  window.made = new Set();
  const kept = text => (typeof text === "string" && made.add(text.trim()), text);
  translated = text => {
    if (dictionary && typeof text === "string" && /[A-Za-z]{3}/.test(text)) {
      const core = text.trim(), key = core.replace(/\\d+/g, "{}");
      if (![core, key].some(one => Object.hasOwn(dictionary, one))) {
        misses.add(core);
        return text;
      }
    }
    return kept(known[0](text));
  };
  say = (...all) => kept(known[1](...all));
}"""


def strings(document):
    """All texts of a JSON document: the device's own words."""
    if isinstance(document, dict):
        return set(document) | set().union(*(strings(one) for one in document.values()))
    if isinstance(document, list):
        return set().union(*(strings(one) for one in document))
    return {document} if isinstance(document, str) else set()


def misses(seen, documents):
    """What was shown without a translation: neither made of translated parts nor said by the device itself."""
    own = {text.strip() for document in documents for text in strings(document)}
    parts = sorted({*seen.page.evaluate("[...made]"), *own}, key=len, reverse=True)
    found = []
    for text in seen.page.evaluate("[...misses]"):
        rest = text
        for part in parts:
            rest = rest.replace(part, "") if len(part) > 2 else rest
        if re.search(r"[^\W\d_]{3}", rest) and not SAME.fullmatch(text):
            found.append(text)
    return found


@pytest.mark.parametrize("code", WORDS)
def test_the_page_is_in_the_language_of_the_browser(make_rig, browser, code):
    meters = [{"slot": 0, "name": "Search", "unit": 1, "profile": "eastron-sdm630", "interval_s": 1}, METERS[1]]
    lines = [{"uart": "bus0", "baud": 115200, "framing": "8N1"}]
    served = [{"unit": 100, "meters": "0", "as": "carlo-gavazzi-em24-e1"}]
    rig = make_rig(config=PRIVATE | {"buses": lines, "served": served, "routes": [{"unit": 9}]}, meters=meters)
    seen = in_language(browser, rig, f"{code}-{code.upper()}", PHONE)
    page = seen.page
    documents = []
    page.on("response", lambda answer: "/api/" in answer.url and documents.append(answer))
    seen.open("meters")
    expect(page.get_by_role("heading", name=WORDS[code][1])).to_be_visible()
    page.evaluate(KEEP_MISSES)
    set_up(seen, WORDS[code])
    assert page.evaluate("document.documentElement.lang") == code
    expect(page.get_by_role("heading", name=WORDS[code][0], exact=True)).to_be_visible()
    # A name from the device is a name, whatever it means in English.
    expect(page.get_by_role("link", name="Search", exact=True)).to_be_visible()
    for name in PAGES:
        page.evaluate("name => { location.hash = '#/' + name; }", name)
        expect(page.locator("main section").first).to_be_visible()
        if name == "status/0":
            expect(page.locator("td[data-point='16'] .value")).to_have_text(re.compile(r"\d"))
        assert_accessible(seen, name)
        assert_fits(seen, name)
        assert_whole(seen, name)
        seen.screenshot(f"{name.replace('/', '-')}-{code}")
    page.set_viewport_size({"width": TABLET[0], "height": TABLET[1]})
    for name in PAGES[:9]:
        page.evaluate("name => { location.hash = '#/' + name; }", name)
        expect(page.locator("main section").first).to_be_visible()
        assert_whole(seen, f"{name} on a tablet")
    assert misses(seen, [answer.json() for answer in documents if answer.ok and answer.text()]) == []
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
    advice = "switching off what is not needed frees a connection each: ntp, posting"
    assert page.evaluate("text => adviceText(text).textContent", advice) == (
        "Ausschalten, was nicht gebraucht wird, gibt je eine Verbindung frei: ntp, posting"
    )
    assert page.evaluate("adviceText('an advice of tomorrow').textContent") == "an advice of tomorrow"
    assert page.evaluate("translated(' 3 of 16 sockets in use ')") == " 3 von 16 Sockets belegt "


def test_a_device_that_does_not_send_the_dictionary_is_shown_in_english(make_rig, browser):
    rig = make_rig()
    seen = in_language(browser, rig, "fr-FR")
    seen.page.route("**/page/fr.json", lambda route: route.abort())
    seen.open()
    expect(seen.page.get_by_role("navigation").get_by_role("link", name="Meters")).to_be_visible()
    seen.excuse("GET /page/fr.json")
    seen.close()
