// System: name, time, password, restart, factory reset, log, backup and update.

const systemPage = {
  title: "System",
  config: true,
  every_ms: SELDOM_MS,
  show(main) {
    this.about = el("div");
    this.log = el("div");
    this.logFilter = el("input", { type: "search", id: "log-filter", autocomplete: "off", oninput: () => this.showLog() });
    this.clock = el("strong");
    this.history = el("div");
    this.crash = el("div");
    this.board = el("div");
    main.append(card("Device", el("div", { class: "fields" }, field("name"), field("board"), fieldsOf("sockets"), fieldsOf("system"), fieldsOf("history")), el("p", null, el("a", { href: "#/setup" }, "Set-up, step by step")), this.about, this.history), this.board,
      timeCard(this.clock), passwordCard(), backupCard(), updateCard(), restartCard(), this.crash, card("Log", el("div", { class: "field" }, el("label", { for: "log-filter" }, "Show only lines with"), this.logFilter), this.log));
    this.askedCrash = false;
  },
  async refresh() {
    if (!health) return;
    if (!this.askedCrash) {
      this.askedCrash = true;
      const { board } = await get("api/board");
      if (board) this.board = replace(this.board, card(say("Terminals: {}", board.title), textBlock(board.terminals)));
      const crash = await get("api/crash");
      if (crash) this.crash = replace(this.crash, card("Last crash", factList({ Reason: crash.reason, "After": crash.uptime_s === null ? "unknown" : span(crash.uptime_s),
        "Memory then": say("{} KiB free", Math.round(crash.heap_free / 1024)), Firmware: crash.version }), crash.traceback ? textBlock(crash.traceback.split("\n")) : null));
    }
    const { version, board, uptime_s, heap, config, task_restarts, ntp } = health;
    const facts = { Firmware: say("meterport {} on {}", version, board), "Up for": span(uptime_s), "Memory free": `${Math.round(heap.free / 1024)} KiB`,
      Configuration: config.source === "file" ? "as saved" : config.source, "Parts started again": task_restarts, NTP: !ntp ? "off" : ntp.error || (ntp.age_s === null ? "not set yet" : say("set {} ago, stratum {}", span(ntp.age_s), ntp.stratum)) };
    this.about = replace(this.about, factList(facts));
    this.clock.textContent = health.time_unix_s ? clock(health.time_unix_s) : translated("not set");
    this.showLog();
    const { records } = await get("api/history");
    if (records) this.history = replace(this.history, factList({
      "History on flash": say("keeps {} at this rate", span(records.kept_s)), "A power cut loses": say("{} at most", span(records.window_s)),
      "Written to flash": say("{} KB a day", Math.ceil(records.bytes_a_day / 1024)), "Records lost": records.lost + (records.error ? ": " + records.error : ""),
    }));
  },
  // The newest first.
  showLog() {
    const events = health.events.filter(event => hasWords(`${event.source} ${lineOf(event)}`, this.logFilter.value)).reverse();
    this.log = replace(this.log, el("div", { role: "log" }, events.length ? table([">ago", "from", "what"],
      events.map(event => [span(health.uptime_s - event.uptime_s), event.source, lineOf(event)])) : dim("No line has all of these words.")));
  },
};

const lineOf = event => event.times > 1 ? say("{} ({} times)", event.text, event.times) : event.text;

const factList = facts => el("dl", null, Object.entries(facts).map(([name, fact]) => el("div", null, el("dt", null, name), el("dd", null, String(fact)))));

function timeCard(clock) {
  return card("Time", el("p", null, "The device's clock: ", clock), dim("Shown in the time of this browser. NTP sets it by itself where it is on and reaches its server."),
    button("Set it by this browser", event => attempt(event, async () => {
      await ask("POST", "api/time", { unix_s: Math.round(Date.now() / 1000) });
      await refreshHealth();
      notice("The clock is set.");
    })));
}

function passwordCard() {
  const [field, input] = passwordField("Present password", "old-password", "current-password"), wanted = newPassword();
  return card("Password", el("form", { onsubmit: event => attempt(event, async () => {
    await setPassword(wanted.value(), input.value);
    input.value = "";
    wanted.clear();
    notice("The password is changed. Everybody else is logged out.");
  }) }, userName(), el("div", { class: "fields" }, field, wanted.fields), el("div", { class: "actions" }, el("button", null, "Change password"))));
}

function backupCard() {
  const file = el("input", { type: "file", id: "backup", accept: ".json,application/json" }), shown = el("div");
  const compare = event => attempt(event, async () => {
    shown.replaceChildren();
    if (!file.files[0]) throw new Error("Choose the file of a backup first.");
    let config = null;
    try {
      config = JSON.parse(await file.files[0].text());
    } catch {}
    if (!config || typeof config !== "object" || Array.isArray(config)) throw new Error("This file is not a backup.");
    await loadPart("backup");
    shown.append(comparison(config, () => shown.replaceChildren()) || "");
  });
  return card("Backup", el("p", null, "The configuration as a file, without its passwords: those of Wi-Fi, of services and of this page."),
    el("div", { class: "actions" }, button("Download", event => attempt(event, download))),
    el("div", { class: "field" }, el("label", { for: "backup" }, "Restore from a file"), file),
    el("div", { class: "actions" }, button("Compare", compare, "plain")), shown);
}

// Through the queue of requests, not by a link: that could take a second connection. The day stands in the file's name as
// ISO 8601 writes it, which is how Swedish does.
async function download() {
  const config = await get("api/config?download=1");
  const link = el("a", { href: "data:application/json," + encodeURIComponent(JSON.stringify(config, null, 1)), download: `${health?.name || "meterport"}-${new Date().toLocaleDateString("sv")}.json` });
  link.click();
}

function updateCard() {
  const place = card("Update", el("div", { class: "actions" }, button("Update the firmware", event => attempt(event, async () => {
    const pressed = event.target;
    await loadPart("update");
    place.append(...(await updateParts()).filter(Boolean));
    pressed.remove();
  }), "plain")));
  return place;
}

function restartCard() {
  return card("Restart", el("div", { class: "actions" }, button("Restart", event => attempt(event, restartAsked)),
    button("Factory reset", event => attempt(event, async () => {
      const name = health.name;
      if (await confirmed(say("Everything is removed: configuration, password, history. Type the device's name, {}, to go on.", name), "Remove everything", name)) await restart("api/factory_reset", { confirm: name });
    }), "danger")));
}
