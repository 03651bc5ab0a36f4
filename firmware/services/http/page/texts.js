// Texts in the visitor's language: dictionaries keyed by the English text, which the device sends on demand. What a
// dictionary does not have stays English.

const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español" };
let dictionary = null;

// A number of an English text is {} in its key; outer spaces do not count.
function translated(text) {
  if (!dictionary || typeof text !== "string") return text;
  return text.replace(/\S(.*\S)?/s, core => {
    if (Object.hasOwn(dictionary, core)) return dictionary[core];
    const numbers = [], key = core.replace(/\d+/g, number => (numbers.push(number), "{}"));
    return Object.hasOwn(dictionary, key) ? dictionary[key].replace(/\{\}/g, () => numbers.shift()) : core;
  });
}

// A text with places, {} each, which are filled in their order: with words from the device, or that are translated already.
function say(text, ...values) {
  return translated(text).replace(/\{\}/g, () => values.shift());
}

// What the device says, in the visitor's language where it has the form of one of `keys`. inner(): of what stands in a place.
function saidBy(keys, text, inner = part => part) {
  for (const key of keys) {
    const found = new RegExp("^" + key.replace(/[.()]/g, "\\$&").replaceAll("{}", "(.+)") + "$").exec(text);
    if (found) return say(key, ...found.slice(1).map(inner));
  }
  return text;
}

// A name from the device: it is never translated.
const ofDevice = text => document.createTextNode(visible(text));

// The language that was chosen in this browser, or the first of the browser's own that there is.
function wantedLanguage() {
  const chosen = localStorage.getItem("language");
  return [chosen, ...navigator.languages.map(tag => tag.slice(0, 2))].find(code => Object.hasOwn(LANGUAGES, code)) || "en";
}

// The device has the keys once, and of each language the texts in their order; 0: the same as the key.
async function dictionaryOf(code) {
  const keys = await get("page/keys.json"), texts = await get(`page/${code}.json`);
  return Object.fromEntries(keys.map((key, i) => [key, texts[i] || key]));
}

async function useLanguage(code) {
  try {
    dictionary = code === "en" ? null : await dictionaryOf(code);
  } catch {
    code = "en"; // then in English
    dictionary = null;
  }
  document.documentElement.lang = code;
  $("languages").replaceChildren(el("label", { for: "language" }, "Language"), " ", el("select", { id: "language", onchange(event) {
    localStorage.setItem("language", event.target.value);
    useLanguage(event.target.value).then(() => {
      showChanges();
      show();
    });
  } }, Object.entries(LANGUAGES).map(([one, name]) => el("option", { value: one, lang: one, selected: one === code }, ofDevice(name)))));
}
