// Bus: load, answer times and errors of each line and meter, and "Find out what is wrong" (part diagnose).

const exceptionsOf = one => Object.entries(one.exceptions).map(([code, times]) => say("{} {} times", Number(code).toString(16).padStart(2, "0").toUpperCase(), times)).join(", ");

// The load is that of a minute: before the first one has passed since the start it says nothing.
const isLoadKnown = ({ past }) => past.load_percent.length > 0 || past.age_s >= 60;

const LOADS_KEPT = 720; // of each line, while the page is open: an hour

Object.assign(PAGES.bus, {
  every_ms: 5000,
  async show(main) {
    await loadPart("diagnose");
    await loadPart("charts");
    this.now = el("div", null, dim("Asking ..."));
    this.loads = new Map();
    main.append(card("Find out what is wrong", dim("Watches the lines until each meter was asked, and says what their counters mean and what to do."), diagnosis()), this.now);
    return this.refresh();
  },
  async refresh() {
    const { buses, meters } = await get("api/bus");
    for (const bus of buses) {
      const loads = this.loads.get(bus.number) || [];
      if (isLoadKnown(bus)) loads.push(bus.load_percent);
      this.loads.set(bus.number, loads.slice(-LOADS_KEPT));
    }
    const fresh = el("div", null, buses.map(bus => this.busCard(bus, meters.filter(meter => meter.bus === bus.number))));
    const scrolls = [...this.now.querySelectorAll(".scroll")].map(part => part.scrollLeft);
    this.now = replace(this.now, fresh);
    this.now.querySelectorAll(".scroll").forEach((part, i) => { part.scrollLeft = scrolls[i] || 0; });
  },
  busCard(bus, meters) {
    const loads = this.loads.get(bus.number), { crc, ...others } = bus.wrong;
    const facts = { Load: isLoadKnown(bus) ? bus.load_percent + " %" : "measured after a minute", Sent: bus.sent, Answered: bus.answered, "Time-outs": bus.timeouts, Retries: bus.retries, "CRC errors": crc,
      ...Object.fromEntries(Object.entries(others).map(([name, count]) => ["Wrong " + name, count])), "Bytes of noise": bus.noise_bytes, "Bytes unasked": bus.stale_bytes };
    const ms = times => times ? [times.min, times.mean, times.max] : ["", "", ""];
    return card(say("Line {}", bus.number + 1), factList(facts),
      loads.length ? chart({ values: loads, step_s: this.every_ms / 1000, at: Date.now(), newest_age_s: 0 }, "%", "Load while this page is open") : null,
      bus.past?.load_percent.length > 1 ? chart({ values: bus.past.load_percent, step_s: bus.past.step_s, at: Date.now(), newest_age_s: bus.past.age_s }, "%", "Load, the last hours") : null,
      meters.length ? table(["meter", "state", ">least ms", ">mean ms", ">most ms", ">time-out ms", ">missed", "exceptions"],
        [...meters].sort((a, b) => (a.state === "online") - (b.state === "online")).map(meter => [el("a", { href: "#/status/" + meter.slot }, ofDevice(meter.name)), el("span", { class: STATE_KINDS[meter.state] || "bad" }, stateText(meter)), ...ms(meter.answer_ms), meter.timeout_ms, meter.missed, exceptionsOf(meter)])) : null);
  },
});
