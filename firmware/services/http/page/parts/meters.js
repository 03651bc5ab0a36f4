// Meters, the lines that they hang on, and the routes of their unit ids.

let profiles = null;

const lineName = (bus, k) => `${k + 1}: UART ${bus.uart ?? 1}, ${bus.baud ?? 9600} ${bus.framing ?? "8N1"}`;
const lineOptions = () => valueAt("buses").map((bus, k) => [k, lineName(bus, k)]);
const smallestFree = (taken, first) => { while (taken.includes(first)) first++; return first; };

// Adds a meter in the first free slot, with what is known of it.
function newMeter(known) {
  const all = listAt("meters"), slot = smallestFree(all.map(meter => meter.slot), 0);
  const bus = known.bus || 0, unit = known.unit || smallestFree(all.filter(meter => (meter.bus || 0) === bus).map(meter => meter.unit), 1);
  const meter = { slot, name: "meter " + (slot + 1), unit, profile: known.profile };
  if (bus) meter.bus = bus;
  const index = addItem("meters", meter);
  metersPage.list?.();
  return index;
}

const metersPage = Object.assign(PAGES.meters, {
  every_ms: SELDOM_MS,
  async show(main, index) {
    await loadPart("scan");
    profiles ??= (await get("api/profiles")).profiles;
    this.scan = this.list = null;
    if (index !== undefined) return meterView(main, Number(index));
    const place = el("div");
    this.list = () => place.replaceChildren(metersTable());
    this.list();
    this.scan = scanCard(profiles);
    main.append(card("Meters", place, el("div", { class: "actions" }, button("Add a meter", () => {
      location.hash = "#/meters/" + newMeter({ profile: profiles[0]?.name });
    }))), this.scan.section, linesForm(), routesForm(), ...[servedForm(), await servedRead()].filter(Boolean));
  },
  async refresh() {
    if (!this.scan) return;
    const { isRunning, show } = this.scan;
    show(await get("api/scan"));
    this.every_ms = isRunning() ? 1000 : SELDOM_MS;
  },
});

function metersTable() {
  const all = valueAt("meters");
  if (!all.length) return dim("None yet.");
  const states = new Map(health?.meters.map(meter => [meter.slot, meter.state]));
  return table(["name", ">unit", ">line", "kind", "state", "remove"], all.map((meter, k) => [
    el("a", { href: "#/meters/" + k }, meter.name ? ofDevice(meter.name) : "(no name)"), meter.unit, (meter.bus || 0) + 1, meter.profile, states.get(meter.slot) || "after saving and a restart",
    button("Remove", async () => {
      if (!await confirmed(say("Remove {}? Its points go with it.", `"${meter.name}"`), "Remove")) return;
      removeItem("meters", k);
      metersPage.list();
    }, "plain", { "aria-label": say("Remove {}", meter.name) })]));
}

const PLAIN_KEYS = ["name", "unit", "bus", "profile", "interval_s"];

function meterView(main, index) {
  const path = `meters[${index}]`;
  if (!lookUp(path, draft.now)) return main.append(el("p", null, "There is no such meter. ", el("a", { href: "#/meters" }, "All meters")));
  const kinds = profiles.map(({ name, title, confidence }) => [name, ofDevice(title + (confidence === 2 ? "" : translated(" (not certain)")))]);
  const title = el("h2", null, ofDevice(valueAt(path + ".name")));
  const own = { name: { onchange: name => setText(title, name) }, bus: { options: lineOptions() }, profile: { options: kinds } };
  main.append(el("p", null, el("a", { href: "#/meters" }, "All meters")),
    el("section", null, title, el("div", { class: "fields" }, PLAIN_KEYS.map(key => field(`${path}.${key}`, own[key]))),
      el("details", null, el("summary", null, "More"), el("div", { class: "fields" }, fieldsOf(path, ...PLAIN_KEYS)))),
    testRead("Test read", dim("Asks the unit on its line now, as the line is set up at present."), () => ({ bus: valueAt(path + ".bus"), unit: valueAt(path + ".unit") }), valueAt(path + ".slot")));
}

// Asks a unit for registers, here and now, and shows them as what they might be. unit(): what names it to the device; slot:
// of the meter whose first block is offered.
function testRead(title, about, unit, slot) {
  const number = (id, value, min, max) => el("input", { id, type: "number", inputmode: "numeric", value, min, max, required: true });
  const code = el("select", { id: "read-function" }, [[3, "3: holding registers"], [4, "4: input registers"], [1, "1: coils"], [2, "2: discrete inputs"]]
    .map(([value, text]) => el("option", { value }, text)));
  const first = number("read-first", 0, 0, 65535), count = number("read-count", 2, 1, 16), result = el("div", { role: "status" });
  const submit = event => attempt(event, async () => {
    result.replaceChildren(dim("Asking ..."));
    try {
      result.replaceChildren(await readNow(unit(), Number(code.value), Number(first.value), Number(count.value)));
    } catch (error) {
      result.replaceChildren(el("p", { class: "bad" }, error.status === 504 ? "The meter is silent." : error.message));
    }
  });
  if (slot !== undefined) get("api/bus").then(({ meters }) => {
    const block = meters.find(meter => meter.slot === slot)?.plan[0];
    if (block) [code.value, first.value, count.value] = [block[0], block[1], Math.min(16, block[2])];
  }).catch(() => {}); // then the fields stay as they are
  return card(title, about,
    el("form", { onsubmit: submit }, el("div", { class: "fields" }, [["Function", code], ["First register", first], ["Count", count]]
      .map(([text, input]) => el("div", { class: "field" }, el("label", { for: input.id }, text), input))),
    el("div", { class: "actions" }, el("button", null, "Read"))), result);
}

// Six digits; what is no plausible value, as most of what two registers make by chance, with an exponent.
const floatText = value => value === 0 || Math.abs(value) >= 1e-4 && Math.abs(value) < 1e7 ? Number(value.toPrecision(6)) : value.toExponential(4);

async function readNow(unit, code, first, count) {
  const answer = await ask("POST", "api/read", { ...unit, function: code, first, count }, 20000);
  if (answer.exception) return el("p", { class: "bad" }, `The meter answers with exception ${answer.exception}.`);
  const said = dim(`Answered within ${answer.ms} ms.`);
  if (answer.bits) return el("div", null, said, table([">address", ">state"], answer.bits.map((bit, i) => [first + i, bit])));
  const view = new DataView(new ArrayBuffer(2 * answer.registers.length));
  answer.registers.forEach((word, i) => view.setUint16(2 * i, word));
  const rows = answer.registers.map((word, i) => [first + i, word, word.toString(16).padStart(4, "0"), view.getInt16(2 * i),
    i + 1 < answer.registers.length ? floatText(view.getFloat32(2 * i)) : ""]);
  return el("div", null, said, table([">address", ">number", ">hex", ">signed", ">float32 from here"], rows));
}

function linesForm() {
  const lines = valueAt("buses").map((_, k) => el("fieldset", null, el("legend", null, say("Line {}", k + 1)),
    el("div", { class: "fields" }, fieldsOf(`buses[${k}]`)), button("Remove this line", () => { removeItem("buses", k); show(); }, "plain")));
  const more = valueAt("buses").length < draft.schema.buses[1] && button("Add a line", () => { addItem("buses", { uart: smallestFree(valueAt("buses").map(bus => bus.uart ?? 1), 1) }); show(); });
  return card("Serial lines", lines, more || null);
}

function routesForm() {
  const routes = valueAt("routes").map((_, k) => el("fieldset", null, el("legend", null, say("Route {}", k + 1)),
    el("div", { class: "fields" }, fieldsOf(`routes[${k}]`, "bus"), field(`routes[${k}].bus`, { options: lineOptions() })), button("Remove this route", () => { removeItem("routes", k); show(); }, "plain")));
  return card("Routes", dim("Without a route a unit id stands for its own address, on the line of the meter that has it, else on the first."),
    routes, button("Add a route", () => { addItem("routes", { unit: 1 }); show(); }, "plain"));
}

function servedForm() {
  if (!draft.schema.served) return null; // an older firmware does not know it
  const kinds = [["", "SunSpec only"], ...profiles.map(({ name, title }) => [name, title])];
  const served = valueAt("served").map((_, k) => el("fieldset", null, el("legend", null, say("Served meter {}", k + 1)),
    el("div", { class: "fields" }, field(`served[${k}].unit`), field(`served[${k}].meters`), field(`served[${k}].as`, { options: [...kinds] }), fieldsOf(`served[${k}]`, "unit", "meters", "as")),
    button("Remove this served meter", () => { removeItem("served", k); show(); }, "plain")));
  const taken = [...valueAt("meters"), ...valueAt("served")].map(one => one.unit);
  const more = served.length < draft.schema.served[1] && button("Add a served meter", () => {
    addItem("served", { unit: smallestFree(taken, 100), meters: String(valueAt("meters")[0]?.slot ?? 0), as: "" });
    show();
  }, "plain");
  return card("Served meters", dim("A unit id that answers other masters as a meter of another kind would, with the values of yours."), served, more || null);
}

// What masters have asked for, and what one would get now.
async function servedRead() {
  const served = await get("api/served");
  if (!served.length) return null;
  const unit = el("select", { id: "read-served" }, served.map(one => el("option", { value: one.unit }, one.unit)));
  return testRead("Read a served meter", [table([">unit", "kind", "meters", ">requests", ">refused"],
    served.map(one => [one.unit, one.as || "SunSpec", ofDevice(one.meters), one.requests, one.exceptions])),
    el("div", { class: "fields" }, el("div", { class: "field" }, el("label", { for: unit.id }, "Unit id"), unit))], () => ({ served: true, unit: Number(unit.value) }));
}
