// Fields of forms, made from the device's own schema: limits here and there are the same.

const isIp = text => /^(\d{1,3}\.){3}\d{1,3}$/.test(text) && text.split(".").every(part => part < 256);
const isHostName = text => /^[A-Za-z0-9.-]{1,64}$/.test(text);

// What would be right when `value` is not, else "". As firmware/config.py says it; the device has the last word.
function wanted(value, spec) {
  const [kind, normal, low, high] = spec, isNumber = Number.isInteger(value);
  if (value === undefined) return normal === null && kind !== "pin" ? translated("something has to be here") : "";
  switch (kind) {
    case "int": return isNumber && value >= low && value <= high ? "" : say("{} to {}", low, high);
    case "text": case "lines": return [...value].length >= low && [...value].length <= high ? "" : say("{} to {} characters", low, high);
    case "choice": return low.includes(value) ? "" : say("one of {}", low.join(", "));
    case "pin": return value === null || isNumber && value >= 0 && value <= 48 ? "" : translated("0 to 48, or empty");
    case "ip": return value === normal || isIp(value) ? "" : translated("an address such as 192.0.2.1");
    case "ips": return value.length <= low && value.every(isIp) ? "" : say("at most {} addresses such as 192.0.2.1", low);
    case "names": return value.length <= low && value.every(isHostName) ? "" : say("at most {} names such as meters.example.org", low);
    default: return "";
  }
}

// What stands in a control, as a value of the configuration.
function read(input, spec) {
  const text = input.value.trim(), number = /^-?\d+$/.test(text) ? Number(text) : text;
  switch (spec[0]) {
    case "bool": return input.checked;
    case "choice": return spec[2].find(choice => String(choice) === input.value);
    case "ips": case "names": return text ? text.split(/[\s,;]+/) : [];
    case "pin": return text ? number : null;
    case "int": return input.validity.badInput ? NaN : text ? number : undefined;
    case "uart": return text ? number : undefined;
    case "text": case "lines": return input.value || (spec[2] ? undefined : "");
    default: return text || undefined;
  }
}

function control(path, spec, options) {
  const [kind, , low, high] = spec, value = valueAt(path), written = value == null ? "" : String(value);
  const choices = options || (kind === "choice" && low.map(one => [one, ofDevice(one)]));
  if (kind === "bool") return el("input", { type: "checkbox", role: "switch", checked: value });
  if (choices) {
    if (!choices.some(([one]) => String(one) === written)) choices.unshift([written, written || "choose ..."]);
    return el("select", null, choices.map(([one, text]) => el("option", { value: one, selected: String(one) === written }, text)));
  }
  if (kind === "lines") {
    const area = el("textarea", { rows: 3, spellcheck: "false", maxlength: high });
    area.value = written; // not as a child: visible() would replace its line breaks
    return area;
  }
  if (kind === "int" || kind === "pin") return el("input", { type: "number", inputmode: "numeric", min: low ?? 0, max: high ?? 48, value: written });
  return el("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off", maxlength: kind === "text" ? high : null, value: Array.isArray(value) ? value.join(", ") : written });
}

// The field of one key. options: [[value, text], ...] to choose from; onchange is called once the draft has the value.
function field(path, { options, onchange } = {}) {
  const spec = specOf(path);
  if (!spec) return null; // an older firmware does not know it
  const id = "f-" + path.replace(/[^\w]+/g, "-"), input = control(path, spec, options);
  const [kind, normal, low, high] = spec;
  const limits = kind === "int" && !options ? (normal == null ? say("{} to {}", low, high) : say("{} to {}, normally {}", low, high, normal)) : "";
  const hint = [translated(HINTS[generic(path)]), limits].filter(Boolean).join("; ");
  filled(input, { id, "aria-describedby": id + "-note", "data-path": path, oninput() {
    setValue(path, read(input, spec));
    showError(input);
    if (onchange) onchange(valueAt(path));
  } }, []);
  const box = el("div", { class: kind === "bool" ? "field check" : "field" }, el("label", { for: id }, labelOf(path)), input,
    el("p", { id: id + "-note", class: "note" }, el("span", { class: "error" }), el("span", { class: "dim" }, hint)));
  showError(input, true);
  return box;
}

// The fields of a section, but those that are shown elsewhere.
const fieldsOf = (path, ...but) => Object.keys(specOf(path) || {}).filter(key => !but.includes(key)).map(key => key.startsWith("password") ? secretField(path + "." + key) : field(path + "." + key));

// A secret is never shown: what is typed takes its place. `none_text`: what it means to have none.
function secretField(path, none_text = "None") {
  if (!specOf(path)) return null;
  const id = "f-" + path.replace(".", "-"), high = specOf(path)[3];
  const input = el("input", { type: "password", id, autocomplete: "new-password", maxlength: high, value: lookUp(path, draft.now) || "",
    "aria-describedby": id + "-note", "data-path": path });
  const none = el("input", { type: "checkbox", id: id + "-none", checked: lookUp(path, draft.now) === "" });
  const changed = () => {
    input.disabled = none.checked;
    setSecret(path, none.checked ? "" : input.value || undefined);
    showError(input);
  };
  input.addEventListener("input", changed);
  none.addEventListener("input", changed);
  input.disabled = none.checked;
  return el("div", { class: "field" }, el("label", { for: id }, labelOf(path)), input,
    el("p", { id: id + "-note", class: "note" }, el("span", { class: "error" }), el("span", { class: "dim" }, "empty: stays as it is")),
    el("div", { class: "check" }, none, el("label", { for: none.id }, none_text)));
}

// A secret's default, the empty text, is not the same as leaving it out.
function setSecret(path, value) {
  const [section, key] = keysOfPath(path), place = draft.now[section] ??= {};
  if (value === undefined) delete place[key];
  else place[key] = value;
  draft.errors.delete(path);
  showChanges();
}

const fieldsShown = () => [...$("main").querySelectorAll("[data-path]")];

// What is wrong with a field, beside it: as the device said, or by the same limits here. An empty field of a new
// item is no error before it was edited.
function showError(input, untouched) {
  const path = input.dataset.path, spec = specOf(path), value = lookUp(path, draft.now);
  const note = input.type === "password" || untouched && value === undefined ? "" : wanted(value, spec);
  const text = draft.errors.get(path) || (note && (value === undefined ? note : say("should be {}", note)));
  input.toggleAttribute("aria-invalid", Boolean(text));
  if (text) input.setAttribute("aria-invalid", "true");
  const place = input.closest(".field")?.querySelector(".error");
  if (place) place.textContent = text ? text + ". " : "";
  return text;
}

const showErrors = () => fieldsShown().forEach(input => showError(input));
const firstWrongField = () => fieldsShown().find(input => !draft.errors.has(input.dataset.path) && showError(input));
