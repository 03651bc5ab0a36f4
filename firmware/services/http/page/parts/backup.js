// Restore of a backup: what would change is shown first.

// [path, before, after] of each value that differs; an item more or less of a list is one.
function differences(before, after, path = "") {
  if (same(before, after)) return [];
  const isTree = value => value !== null && typeof value === "object";
  if (!isTree(before) || !isTree(after)) return [[path, before, after]];
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .flatMap(key => differences(before[key], after[key], Array.isArray(before) ? `${path}[${key}]` : path ? `${path}.${key}` : key));
}

// A value in a table; a password is not shown.
function shownValue(path, value) {
  if (value === undefined) return "not set";
  if (/(^|\.)password/.test(path)) return value ? "a password" : "none";
  return value === "" ? "empty" : ofDevice(typeof value === "string" ? value : JSON.stringify(value));
}

// The part of the card that says what the backup `config` would change. `leave()` removes it.
function comparison(config, leave) {
  const changes = differences(draft.saved, config);
  if (!changes.length) {
    notice("The backup is what the device has.");
    return null;
  }
  const use = () => {
    draft.now = config;
    draft.errors.clear();
    showChanges();
    show();
    notice("The backup is on the pages now: look at it, then save.");
  };
  return el("div", null, el("h3", null, "What would change"), table(["key", "now", "by the backup"],
    changes.map(([path, before, after]) => [ofDevice(path), shownValue(path, before), shownValue(path, after)]), "stacked loose"),
  el("div", { class: "actions" }, button("Use the backup", use), button("Leave it", leave, "plain")));
}
