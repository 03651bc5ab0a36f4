// Set-up, step by step. It keeps no state of its own: how far it is follows from the configuration, so that a step can be
// left and found again, by its address too.

// "meter 3" is the name that newMeter() gives.
const isUnnamed = meter => /^meter \d+$/.test(meter.name);
const SETUP_SERVICES = ["modbus", "bacnet", "finder", "ntp"];
// Somebody else gets the values.
const isHandedOut = () => valueAt("posting.url") !== "" || ["modbus", "bacnet", "mqtt", "shelly"].some(name => valueAt(name + ".enabled"));

// [name, title, whether it is done, fills its place]; null: a step that may stay as it is.
const SETUP_STEPS = [
  ["password", "Password", () => !session.setup, place => place.append(dim("The password is set: who has it may change this device."), passwordCard())],
  ["network", "Network", () => Boolean(valueAt("network.link") !== "wifi" || valueAt("network.ssid")), place => networkPage.show(place)],
  ["search", "Search for meters", () => valueAt("meters").length > 0, async (place, wizard) => {
    profiles ??= (await get("api/profiles")).profiles;
    const count = dim();
    metersPage.list = () => { count.textContent = say("{} in the list.", plural(valueAt("meters").length, "meter")); };
    metersPage.list();
    wizard.scan = scanCard(profiles);
    place.append(wizard.scan.section, count, linesForm());
  }],
  ["names", "Names of the meters", () => valueAt("meters").length > 0 && !valueAt("meters").some(isUnnamed), place => {
    const all = valueAt("meters");
    place.append(card("Names of the meters", all.length ? dim("As they are called at the switchboard: names stand on every page and in what is sent to others.") : el("p", null, "There is no meter yet: ", el("a", { href: "#/setup/search" }, "search for them"), "."),
      all.map((meter, k) => el("fieldset", null, el("legend", null, `Unit ${meter.unit}, line ${(meter.bus || 0) + 1}`, ofDevice(": " + meter.profile)), el("div", { class: "fields" }, field(`meters[${k}].name`), field(`meters[${k}].interval_s`))))));
  }],
  ["services", "Services", isHandedOut, place => place.append(card("Services", dim("What is switched off leaves its socket to clients."), SETUP_SERVICES.map(name => {
    const cost = dim(), tell = () => { cost.textContent = costOf(name); };
    tell();
    return el("fieldset", null, el("legend", null, SERVICES[name][0]), field(name + ".enabled", { onchange: tell }), cost);
  })), card("Posting", field("posting.url"), el("p", null, el("a", { href: "#/posting" }, "More of posting"))))],
  ["done", "Done", null, place => {
    const open = SETUP_STEPS.filter(([, , isDone]) => isDone && !isDone());
    place.append(card("Done", open.length ? el("p", null, "Left open: ", open.map(([name, title], i) => [i ? ", " : "", el("a", { href: "#/setup/" + name }, title)]).flat(), ".") : el("p", null, "All steps are done."),
      health.reboot_due.length ? el("div", null, el("p", null, "What was chosen counts after a restart: "), el("div", { class: "actions" }, button("Restart now", event => attempt(event, restartAsked)))) : null,
      el("p", null, el("a", { href: "#/status" }, "To the values of the meters"))));
  }],
];

const setupStep = name => "#/setup/" + name;

Object.assign(PAGES.setup, {
  async show(main, name) {
    await loadPart("meters");
    await loadPart("scan");
    const first = SETUP_STEPS.findIndex(([, , isDone]) => isDone && !isDone());
    const named = SETUP_STEPS.findIndex(step => step[0] === name), at = named >= 0 ? named : first >= 0 ? first : SETUP_STEPS.length - 1;
    this.scan = null;
    this.step = SETUP_STEPS[at][0];
    this.every_ms = SELDOM_MS;
    const place = el("div");
    const steps = el("nav", { "aria-label": "Steps", class: "steps" }, el("ol", null, SETUP_STEPS.map(([key, title, isDone], i) =>
      el("li", null, el("a", { href: setupStep(key), "aria-current": i === at ? "step" : null }, title), isDone?.() ? el("span", { class: "good" }, " ✓") : null))));
    const go = by => event => attempt(event, async () => {
      if (isChanged()) await save();
      location.hash = setupStep(SETUP_STEPS[at + by][0]);
    });
    main.append(el("section", null, el("h2", null, `Set-up: step ${at + 1} of ${SETUP_STEPS.length}`), steps), place,
      el("div", { class: "actions" }, at ? button("Back", go(-1), "plain") : null, at + 1 < SETUP_STEPS.length ? button("Save and go on", go(1)) : null));
    await SETUP_STEPS[at][3](place, this);
    await this.refresh();
  },
  async refresh() {
    if (this.step === "network") networkPage.refresh();
    if (!this.scan) return;
    this.scan.show(await get("api/scan"));
    this.every_ms = this.scan.isRunning() ? 1000 : SELDOM_MS;
  },
});
