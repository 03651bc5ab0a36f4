// Status: one line for each meter, and the meter that was opened.

// What a line shows: of each quantity the first point that the meter has (docs/reference/points.md).
const OVERVIEW = { power: [16, 17], voltage: [4, 1, 8, 5], current: [12, 9, 14], energy: [32, 40] };
const OVERVIEW_QUERY = "api/readings?points=" + Object.values(OVERVIEW).flat();
const STATE_KINDS = { online: "good", unknown: "dim" };
const FILTER_FROM = 9; // meters

// Of the columns: the title, which starts with ">" when it is of numbers, and by what lines are sorted.
const COLUMNS = [
  ["meter", line => line.now.name.toLowerCase()], [">power", line => -line.value("power")], [">voltage", line => -line.value("voltage")],
  [">current", line => -line.value("current")], [">energy", line => -line.value("energy")], [">today", line => -(line.today_wh() ?? 0)], ["last hours", null],
];
const attention = line => line.now.state !== "online" ? 0 : line.fault() ? 1 : 2;

// What the device says is wrong with a meter (Bus.fault_text), with {} for what differs.
const REASONS = [
  "silent",
  "serial line gone",
  "wrong answers ({})",
  "refuses registers {} and {} more ranges",
  "refuses registers {}",
  "damaged answers",
  "not seen: nobody asks this unit",
  "not seen for {} s",
  "not seen: registers {} and {} more ranges",
  "not seen: registers {}",
  "answers that may be late ones to other requests",
];

const reasonText = text => saidBy(REASONS, text, part => part.split(", ").map(translated).join(", "));
const stateText = meter => translated(meter.state) + (meter.reason ? ": " + reasonText(meter.reason) : "");
const shapeOf = meters => JSON.stringify(meters.map(meter => [meter.slot, meter.name, meter.unit, meter.profile, meter.points.map(point => point.id)]));
const pointOf = (meter, numbers) => numbers.map(number => meter.points.find(({ id }) => (id & 255) === number)).find(point => point);

// What the bar of a meter shows, in W: nothing of a value that failed.
function barOf(meter) {
  const power = pointOf(meter, OVERVIEW.power);
  return power && power.quality !== "failed" ? power.value ?? 0 : 0;
}

// One meter's line of the overview.
function meterLine(meter) {
  const state = el("span"), spark = el("td"), cells = {};
  for (const name of [...Object.keys(OVERVIEW), "today"]) cells[name] = el("td", { class: "n" });
  const row = el("tr", { "data-slot": meter.slot }, el("th", { scope: "row" }, el("a", { href: "#/status/" + meter.slot }, ofDevice(meter.name)), " ", state),
    Object.values(cells), spark);
  const line = {
    row, now: meter,
    point: name => pointOf(line.now, OVERVIEW[name]),
    value: name => line.point(name)?.value ?? 0,
    // What is wrong with the values of a meter that answers: a quality that most have, or the first point that is not good.
    fault() {
      const points = Object.keys(OVERVIEW).map(line.point).filter(point => point), common = commonFault(points), first = points.find(({ quality }) => quality !== "good");
      return common ? translated(words(common)) : first && `${pointTitle(first.name)}: ${translated(words(first.quality))}`;
    },
    // What the filter looks in.
    text: () => `${line.now.name} ${line.now.profile} ${stateText(line.now)} ${line.fault() || ""} ${say("Unit {}", line.now.unit)}`,
    today_wh() {
      const energy = line.point("energy");
      return energy && today_wh(energy);
    },
    // Of the whole width of the power's cell as much as of `most`, in W.
    update(now, most) {
      line.now = now;
      const isOnline = now.state === "online", fault = isOnline && line.fault();
      setText(state, [isOnline && !now.reason ? "" : stateText(now), fault].filter(Boolean).join(", "));
      state.className = fault ? "bad" : STATE_KINDS[now.state] || "bad";
      for (const name in OVERVIEW) {
        const point = line.point(name);
        setText(cells[name], point ? quantity(point.value, point.unit) : "–");
        cells[name].classList.toggle("bad", Boolean(point) && point.quality !== "good" && now.state !== "unknown");
      }
      const wh = line.today_wh();
      setText(cells.today, wh == null ? "" : quantity(wh, "Wh"));
      cells.today.classList.toggle("bad", cells.energy.classList.contains("bad"));
      showBar(cells.power, barOf(now), most);
      const trend = trends.known.get(line.point("power")?.id);
      if (trend && line.trend !== trend) spark.replaceChildren(sparkOf(line.trend = trend) || "–");
    },
  };
  return line;
}

// The sums below the lines that are shown, of the values that are good; a note says of how many meters, where that is not all, and of what:
// what was imported and what flowed in both directions are not added up.
function sums(lines) {
  const good = name => lines.map(line => line.point(name)).filter(point => point?.quality === "good" && point.value != null);
  const sum = (points, title, valueOf = ({ value }) => value) => {
    const note = [title, points.length < lines.length && say("{} of {}", points.length, lines.length)].filter(Boolean).join(", ");
    return el("div", null, quantity(points.reduce((total, point) => total + valueOf(point), 0), points[0].unit), note && [" ", el("span", { class: "note dim" }, ofDevice(note))]);
  };
  const powers = good("power"), energies = good("energy"), names = [...new Set(energies.map(({ name }) => name))].sort();
  const byName = (points, valueOf) => names.map(name => points.filter(point => point.name === name)).filter(points => points.length)
    .map(points => sum(points, names.length > 1 && pointTitle(points[0].name), valueOf));
  return [say("sum of {}", plural(lines.length, "meter")), powers.length ? sum(powers) : "–", "", "", energies.length ? byName(energies) : "–",
    byName(energies.filter(energy => today_wh(energy) != null), today_wh), ""];
}

// The table of all meters; it sorts itself anew with each update.
function overview(meters) {
  const lines = meters.map(meterLine), body = el("tbody"), foot = el("tr");
  const filter = meters.length < FILTER_FROM ? null : el("input", { type: "search", "aria-label": "Filter", placeholder: "Filter by name, kind, state or fault", oninput: arrange });
  let by = null, isUpward = true;
  const heads = COLUMNS.map(([title, key], i) => el("th", { class: numberKind(title), scope: "col" }, key
    ? el("button", { type: "button", class: "sort", onclick() {
      isUpward = by === i ? !isUpward : true;
      by = i;
      arrange();
    } }, title.replace(">", "")) : title));
  // What needs attention comes first until a column is chosen. With `isUnasked` the lines stay where they are while the
  // pointer or the focus is among them: a click would meet another meter, and the focus would be lost.
  function arrange(isUnasked) {
    const key = by === null ? attention : COLUMNS[by][1], turn = isUpward ? 1 : -1;
    const rank = (a, b) => key(a) < key(b) ? -turn : key(a) > key(b) ? turn : a.now.slot - b.now.slot;
    const rows = [...lines].sort(rank).map(({ row }) => row);
    const isHeld = isUnasked === true && (body.matches(":hover") || body.contains(document.activeElement));
    if (!isHeld && rows.some((row, i) => row !== body.children[i])) body.replaceChildren(...rows);
    for (const line of lines) line.row.hidden = !hasWords(line.text(), filter?.value || "");
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== by ? "none" : isUpward === (i === 0) ? "ascending" : "descending"));
    foot.replaceChildren(...sums(lines.filter(({ row }) => !row.hidden)).map((text, i) => el(i ? "td" : "th", i ? { class: numberKind(COLUMNS[i][0]) } : { scope: "row" }, text)));
  }
  const part = el("section", { class: "overview" }, el("h2", null, "Meters"), filter,
    el("div", { class: "scroll", tabindex: 0 }, el("table", null, el("thead", null, el("tr", null, heads)), body, el("tfoot", null, foot))));
  return { part, points: () => lines.map(line => line.point("power")?.id), energies: () => lines.map(line => line.point("energy")).filter(point => point),
    update(now) {
      const most = Math.max(...now.map(meter => Math.abs(barOf(meter))));
      now.forEach((meter, i) => lines[i].update(meter, most));
      arrange(true);
      part.classList.toggle("no-days", !lines.some(line => line.today_wh() != null));
    } };
}

const statusPage = {
  title: "Status",
  open: true, // without a login, where http.public_status is on
  every_ms: 2000,
  show(main, slot) {
    this.shape = null;
    this.slot = slot;
    this.meters = el("div", null, dim("Asking ..."));
    this.lines = el("div");
    main.append(this.meters, card("Serial lines", this.lines, el("p", null, el("a", { href: "#/bus" }, "Find out what is wrong"))));
  },
  async refresh() {
    const { meters } = await get(this.slot === undefined ? OVERVIEW_QUERY : "api/readings?meter=" + this.slot);
    // A single meter needs no overview.
    if (this.slot === undefined && meters.length === 1) {
      this.slot = meters[0].slot;
      this.isOnly = true;
      return this.refresh();
    }
    for (const meter of meters) meter.points.sort((a, b) => a.id - b.id);
    if (this.shape !== shapeOf(meters)) {
      this.shape = shapeOf(meters);
      this.view = !meters.length ? null : this.slot === undefined ? overview(meters) : readingsView(meters[0], this.isOnly);
      this.meters.replaceChildren(this.view ? this.view.part
        : el("p", null, "No meters are configured yet: ", el("a", { href: "#/meters" }, "add one, or search for them"), ", or go through the ", el("a", { href: "#/setup" }, "set-up, step by step"), "."));
    }
    this.view?.update(meters);
    if (health) this.lines = replace(this.lines, linesTable(health));
    if (!this.view) return;
    await refreshTrends(this.view.points());
    await refreshMidnight(this.view.energies());
    await this.view.refresh?.();
  },
};

// What the serial lines have carried, from /api/status.
function linesTable(now) {
  const rows = now.buses.map(bus => [bus.uart, `${bus.baud} ${bus.framing}`, bus.open ? (bus.role === "listen" ? "open, listening" : bus.role === "slave" ? "open, slave" : "open") : bus.error || "opening", bus.sent, bus.answered,
    bus.timeouts, bus.crc, bus.foreign, now.uptime_s < 60 ? "–" : Math.min(100, Math.round(bus.busy_ms / 10 / now.uptime_s)) + "\u00a0%"]);
  return now.buses.length ? table(["line", "set-up", "state", ">sent", ">answered", ">time-outs", ">errors (CRC)", ">foreign", ">load"], rows) : dim("None is configured.");
}
