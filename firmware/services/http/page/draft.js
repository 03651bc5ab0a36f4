// The configuration as it is being changed: all pages change one draft, which is saved as a whole or not at all.

const draft = {
  schema: null, // GET /api/schema: a key is [kind, default, allowed...], a section an object, a list [of item, most]
  saved: {}, // what the device has
  now: {}, // what it is to become
  errors: new Map(), // path: text, as the device found them
  loaded: false,
};

// "meters[2].unit": ["meters", "2", "unit"]
const keysOfPath = path => path.match(/[^.[\]]+/g) || [];
const copy = value => JSON.parse(JSON.stringify(value));

function specOf(path) {
  return keysOfPath(path).reduce((spec, key) => spec && (Array.isArray(spec) ? spec[0] : spec[key]), draft.schema);
}

function lookUp(path, config) {
  return keysOfPath(path).reduce((value, key) => value?.[key], config);
}

// What is configured at a path: the default where nothing is said.
function valueAt(path) {
  const value = lookUp(path, draft.now), spec = specOf(path);
  if (value !== undefined) return value;
  return Array.isArray(spec) ? (typeof spec[0] === "object" ? [] : spec[1]) : {};
}

// Sets the value at a path. undefined takes it out, and so does the default unless the file has it written.
function setValue(path, value) {
  const keys = keysOfPath(path), last = keys.pop(), spec = specOf(path);
  const isDefault = typeof spec[0] === "string" && same(value, spec[1]);
  if (isDefault && lookUp(path, draft.saved) === undefined) value = undefined;
  let place = draft.now;
  keys.forEach((key, i) => { place = place[key] ??= /^\d/.test(keys[i + 1] ?? last) ? [] : {}; });
  if (value === undefined) delete place[last];
  else place[last] = value;
  draft.errors.delete(path);
  showChanges();
}

function listAt(path) {
  return draft.now[path] ??= [];
}

// An item more in a list, or less: what was wrong by number is no longer known.
function addItem(list, item) {
  listAt(list).push(item);
  draft.errors.clear();
  showChanges();
  return listAt(list).length - 1;
}
function removeItem(list, index) {
  listAt(list).splice(index, 1);
  draft.errors.clear();
  showChanges();
}

// Equal, whatever the order of the keys; an empty list or section is as good as none.
function same(a, b) {
  if (a === b) return true;
  const empty = value => value === undefined || typeof value === "object" && value !== null && !Object.keys(value).length;
  if (empty(a) && empty(b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b || Array.isArray(a) !== Array.isArray(b)) return false;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every(key => same(a[key], b[key]));
}

const isChanged = () => draft.loaded && !same(draft.now, draft.saved);

async function loadDraft() {
  draft.schema ??= await get("api/schema");
  draft.saved = await get("api/config");
  draft.now = copy(draft.saved);
  draft.errors.clear();
  draft.loaded = true;
  showChanges();
}

// Which page shows a path.
function placeOf(path) {
  const [section, index] = keysOfPath(path);
  if (section === "meters" && index) return "#/meters/" + index;
  const page = { meters: "meters", buses: "meters", routes: "meters", served: "meters", network: "network", posting: "posting", name: "system", system: "system", sockets: "system", history: "system" };
  return "#/" + (page[section] || "services");
}

// The bar at the bottom: there while something is not saved, with all that is wrong.
const wrongPlace = el("div", { role: "alert" });
$("changes").append(wrongPlace, el("div", { class: "actions" }, el("span", null, "Not saved yet"),
  button("Save", event => attempt(event, save)), button("Discard", discard, "plain")));

function showChanges() {
  $("changes").hidden = !isChanged();
  const wrong = [...draft.errors].map(([path, text]) => el("li", null,
    path ? el("a", { href: placeOf(path) }, path) : "The configuration", ": " + text));
  wrongPlace.replaceChildren(...(wrong.length ? ["Nothing was saved:", el("ul", { class: "bad" }, wrong)] : []));
}

function discard() {
  draft.now = copy(draft.saved);
  draft.errors.clear();
  showChanges();
  show();
}

async function save() {
  const wrong = firstWrongField();
  if (wrong) {
    wrong.focus();
    throw new Error("Look at the field that is marked: nothing was saved.");
  }
  try {
    const answer = await ask("PUT", "api/config", draft.now, SAVE_MS);
    if (health) health.reboot_due = answer.reboot_due;
  } catch (error) {
    if (error.status !== 422) throw error;
    draft.errors = new Map(error.fields.map(one => [one.field, one.text]));
    showChanges();
    showErrors();
    throw new Error("Nothing was saved.");
  }
  await loadDraft();
  showProblems();
  show();
  notice(health?.reboot_due.length ? "Saved. It counts after a restart." : "Saved.");
}

addEventListener("beforeunload", event => { if (isChanged()) event.preventDefault(); });
