// Status: every value of every meter with its age and quality, and the past of those that are kept.

// Of many points these are shown at first (docs/reference/points.md); the rest on demand.
const FIRST_POINTS = new Set([1, 9, 15, 16, 28, 32, 36, 40]);
const FEWEST_SHOWN = 6, TRENDS_A_ROUND = 2;

// What is known of the past: `ids` of the points whose last hours are kept (null: not asked yet), `known` by id; `records`:
// what is said of the records on flash, if there are any.
const trends = { ids: null, known: new Map(), records: null };

// Once the next step has ended.
function isDue(id) {
  const trend = trends.known.get(id);
  return !trend || Date.now() > trend.at + 1000 * Math.max(10, trend.step_s - trend.newest_age_s + 1);
}

// A few of them a round: readings do not wait for all.
async function refreshTrends() {
  if (!trends.ids) {
    const { points, records } = await get("api/history");
    Object.assign(trends, { ids: points, records });
  }
  for (const id of trends.ids.filter(isDue).slice(0, TRENDS_A_ROUND)) {
    const trend = await get("api/history?point=" + id), first = trend.values.findIndex(value => value != null);
    // What was before the device began to keep values is no part of the picture.
    trends.known.set(id, { ...trend, at: Date.now(), values: first < 0 ? [] : trend.values.slice(first) });
  }
}

// A row of the table and what keeps it up to date.
function pointRow(point) {
  const title = pointTitle(point.name), value = el("td", { class: "n" }), age = el("td", { class: "n" }), past = el("td");
  const row = el("tr", { "data-point": point.id }, el("th", { scope: "row" }, title), value, past, age);
  let shown, unfolded, name = "", drawn;
  const hasRecords = () => trends.records?.points.includes(point.id);
  const toggle = el("button", { type: "button", class: "trend", "aria-expanded": "false", "aria-label": "Past of " + title, onclick() {
    if (unfolded) unfolded.remove();
    unfolded = unfolded ? null : el("tr", { class: "unfolded" }, el("td", { colspan: 4 }));
    toggle.setAttribute("aria-expanded", Boolean(unfolded));
    if (!unfolded) return;
    row.after(unfolded);
    choose(shown ? "" : "day");
  } });
  // Draws the last hours (""), or one of SPANS.
  async function choose(wanted) {
    name = wanted;
    drawn = null;
    draw(dim("Reading ..."));
    try {
      drawn = name ? await recorded(point, wanted, trends.records.interval_s) : shown;
    } catch (error) {
      return wanted === name && draw(dim(capital(error.message)));
    }
    if (wanted === name) draw();
  }
  function draw(instead) {
    const step = name && drawn && big[point.unit] ? ` in ${span(drawn.step_s)}` : "";
    const names = [...(shown ? [""] : []), ...(hasRecords() ? Object.keys(SPANS) : [])];
    unfolded?.firstChild.replaceChildren(instead || chart(drawn, point.unit, title + step), el("div", { class: "actions" },
      names.length < 2 ? [] : names.map(one => button(capital(one || "hours"), () => choose(one), "plain", { "aria-pressed": String(one === name) }))));
  }
  function update(now) {
    const good = now.quality === "good", trend = trends.known.get(now.id);
    value.textContent = quantity(now.value, now.unit);
    age.textContent = good ? span(now.age_s) : words(now.quality);
    value.classList.toggle("bad", !good);
    age.className = good ? "n dim" : "n bad";
    if (!past.firstChild && (trend || hasRecords())) past.append(toggle);
    if (trend === shown && toggle.firstChild) return;
    shown = trend;
    toggle.replaceChildren(trend ? spark(trend) : "past");
    if (unfolded && !name) choose("");
  }
  return { row, update };
}

const STATE_KINDS = { online: "good", unknown: "dim" };

function meterCard(meter) {
  const state = el("span"), body = el("tbody"), rows = meter.points.map(pointRow);
  const first = meter.points.filter(point => FIRST_POINTS.has(point.id & 255));
  const isFirst = first.length < FEWEST_SHOWN ? (_, i) => i < FEWEST_SHOWN : point => first.includes(point);
  const rest = rows.filter((_, i) => !isFirst(meter.points[i], i));
  const fold = folded => rest.forEach(({ row }) => {
    row.hidden = folded;
    if (folded && row.nextSibling?.className === "unfolded") row.querySelector("button").click();
  });
  const more = rest.length && el("button", { type: "button", class: "plain", "aria-expanded": "false", onclick() {
    const folded = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", !folded);
    more.textContent = folded ? label : "Fewer";
    fold(folded);
  } });
  const label = `All ${rows.length} values`;
  if (more) more.textContent = label;
  fold(true);
  body.append(...rows.map(({ row }) => row));
  const head = ["point", ">value", "past", ">age"].map(headCell);
  const section = el("section", { class: "meter" }, el("h2", null, meter.name, " ", state), dim(`unit ${meter.unit}, ${meter.profile}`),
    el("table", null, el("thead", null, el("tr", null, head)), body), more || null);
  return { section, update(now) {
    setText(state, now.state + (now.reason ? ": " + now.reason : ""));
    state.className = STATE_KINDS[now.state] || "bad";
    now.points.forEach((point, i) => rows[i].update(point));
  } };
}

const shapeOf = meters => JSON.stringify(meters.map(meter => [meter.slot, meter.name, meter.unit, meter.profile, meter.points.map(point => point.id)]));

const statusPage = {
  title: "Status",
  open: true, // without a login, where http.public_status is on
  every_ms: 2000,
  show(main) {
    this.shape = null;
    this.meters = el("div", { class: "meters" }, dim("Asking ..."));
    this.lines = el("div");
    main.append(this.meters, this.lines);
  },
  async refresh() {
    const { meters } = await get("api/readings");
    for (const meter of meters) meter.points.sort((a, b) => a.id - b.id);
    if (this.shape !== shapeOf(meters)) {
      this.shape = shapeOf(meters);
      this.cards = meters.map(meterCard);
      this.meters.replaceChildren(...(meters.length ? this.cards.map(({ section }) => section)
        : [el("p", null, "No meters are configured yet: ", el("a", { href: "#/meters" }, "add one, or search for them"), ".")]));
    }
    meters.forEach((meter, i) => this.cards[i].update(meter));
    if (health) this.lines = replace(this.lines, linesCard(health));
    await refreshTrends();
  },
};

// What the serial lines have carried, from /api/status.
function linesCard(now) {
  const rows = now.buses.map(bus => [bus.uart, `${bus.baud} ${bus.framing}`, bus.open ? "open" : bus.error || "opening", bus.sent, bus.answered,
    bus.timeouts, bus.crc, bus.foreign, Math.round(bus.busy_ms / 10 / Math.max(1, now.uptime_s)) + " %"]);
  return card("Serial lines", now.buses.length ? table(["line", "set-up", "state", ">sent", ">answered", ">time-outs", ">CRC errors", ">foreign", ">load"], rows) : dim("None is configured."));
}
