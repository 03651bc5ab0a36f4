// Backup of the configuration as a file, and its restore: what would change is shown first.

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
  return typeof value === "string" ? value || "empty" : JSON.stringify(value);
}

function backupCard() {
  const file = el("input", { type: "file", id: "backup", accept: ".json,application/json" });
  let shown = el("div");
  const compare = event => attempt(event, async () => {
    shown = replace(shown, el("div"));
    if (!file.files[0]) throw new Error("Choose the file of a backup first.");
    let config = null;
    try {
      config = JSON.parse(await file.files[0].text());
    } catch {}
    if (!config || typeof config !== "object" || Array.isArray(config)) throw new Error("This file is not a backup.");
    const changes = differences(draft.saved, config);
    if (!changes.length) return notice("The backup is what the device has.");
    const use = () => {
      draft.now = config;
      draft.errors.clear();
      showChanges();
      show();
      notice("The backup is on the pages now: look at it, then save.");
    };
    shown = replace(shown, el("div", null, el("h3", null, "What would change"), table(["key", "now", "by the backup"],
      changes.map(([path, before, after]) => [path, shownValue(path, before), shownValue(path, after)])),
    el("div", { class: "actions" }, button("Use the backup", use), button("Leave it", () => { shown = replace(shown, el("div")); }, "plain"))));
  });
  return card("Backup", el("p", null, "The configuration as a file, without its passwords: those of Wi-Fi, of services and of this page."),
    el("div", { class: "actions" }, button("Download", event => attempt(event, download))),
    el("div", { class: "field" }, el("label", { for: "backup" }, "Restore from a file"), file),
    el("div", { class: "actions" }, button("Compare", compare, "plain")), shown);
}

// Through the queue of requests, not by a link: that could take a second connection.
async function download() {
  const config = await get("api/config?download=1");
  const link = el("a", { href: "data:application/json," + encodeURIComponent(JSON.stringify(config, null, 1)), download: `${health?.name || "meterport"}-${clock(Date.now() / 1000).slice(0, 10)}.json` });
  link.click();
}
