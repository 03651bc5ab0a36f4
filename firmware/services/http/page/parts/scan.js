// The search for meters on a line: POST starts it, GET says how far it is, DELETE stops it.

const BAUDS_TRIED = "9600,19200", FRAMINGS_TRIED = "8N1,8E1";

function scanCard(profiles) {
  const lines = valueAt("buses");
  const line = el("select", { id: "scan-line" }, lines.map((bus, k) => el("option", { value: k }, lineName(bus, k))));
  const speeds = el("select", { id: "scan-speeds" },
    el("option", { value: "" }, "as the line is set"),
    el("option", { value: `&baud=${BAUDS_TRIED}&framing=${FRAMINGS_TRIED}` }, "9600 and 19200, 8N1 and 8E1"));
  const last = el("input", { id: "scan-last", type: "number", min: 1, max: 247, value: 32, inputmode: "numeric", required: true });
  const go = el("button", null, "Search"), stop = button("Stop", event => attempt(event, async () => show(await ask("DELETE", "api/scan"))), "plain", { hidden: true });
  const bar = el("progress", { max: 1, value: 0, "aria-label": "units asked", hidden: true });
  const said = el("p", { role: "status" }), results = el("div");
  let found = "";

  function show(scan) {
    go.disabled = scan.running;
    stop.hidden = bar.hidden = !scan.running;
    bar.max = scan.total || 1;
    bar.value = scan.done;
    setText(said, scan.error || (scan.running ? say("{} of {} asked, {} found", scan.done, scan.total, plural(scan.found.length, "meter"))
      : scan.total ? say("{} found", plural(scan.found.length, "meter")) : ""));
    said.className = scan.error ? "bad" : "";
    if (JSON.stringify(scan.found) === found) return;
    found = JSON.stringify(scan.found);
    results.replaceChildren(...scan.found.map(one => foundRow(one, Number(line.value), profiles)));
  }

  const form = el("form", { onsubmit: event => attempt(event, async () => {
    show(await ask("POST", `api/scan?bus=${line.value}&first=1&last=${last.value}${speeds.value}`));
    wake();
  }) }, el("div", { class: "fields" },
    [["Line", line], ["Speeds", speeds], ["Last unit id", last]].map(([text, input]) => el("div", { class: "field" }, el("label", { for: input.id }, text), input))),
  el("div", { class: "actions" }, go, stop, bar));
  const section = card("Search for meters", lines.length ? form : dim("There is no line yet."), said, results,
    dim("Meanwhile nothing else is read on this line. A silent unit takes about a sixth of a second at each speed, a found one some seconds."));
  return { section, show, isRunning: () => go.disabled };
}

// A meter that was found, with what it takes to add it.
function foundRow(one, bus, profiles) {
  const line = valueAt(`buses[${bus}]`), isKnown = listAt("meters").some(meter => meter.unit === one.unit && (meter.bus || 0) === bus);
  const likely = profiles.filter(({ name }) => one.profiles.includes(name)).sort((a, b) => one.profiles.indexOf(a.name) - one.profiles.indexOf(b.name));
  const kind = el("select", { "aria-label": `Kind of meter at unit ${one.unit}` }, [...likely, ...profiles.filter(profile => !likely.includes(profile))]
    .map(profile => el("option", { value: profile.name }, (likely.includes(profile) ? "" : "(?) ") + profile.title)));
  const add = button("Add", () => {
    add.disabled = true;
    newMeter({ unit: one.unit, bus, profile: kind.value });
    notice(`Unit ${one.unit} is added; save when all are.`);
  });
  const speed = (line.baud ?? 9600) === one.baud && (line.framing ?? "8N1") === one.framing;
  return el("div", { class: "found" }, el("strong", null, `Unit ${one.unit}`),
    el("span", { class: speed ? "dim" : "bad" }, `${one.baud} ${one.framing}${speed ? "" : translated(": not what the line is set to")}`),
    isKnown ? el("span", { class: "dim" }, "is configured already") : [kind, add]);
}
