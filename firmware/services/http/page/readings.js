// One meter: its quantities as rows, its phases as columns, their past, and its answers on the line.

const PHASES = ["L1", "L2", "L3", "all"];
const PAIRS = ["voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1", "voltage_ll_average"];
const LINE_EVERY_MS = 10000;

// Row and column of a point in the table.
function cellOf(name) {
  if (PAIRS.includes(name)) return ["Voltage L1-L2, L2-L3, L3-L1", PAIRS.indexOf(name)];
  const [, quantity, phase] = /^(.+?)_(l1|l2|l3|ln_average|average)$/.exec(name) || [null, name, ""];
  return [quantity, phase[1] > 0 ? phase[1] - 1 : 3];
}

// {row: [point or undefined, ...]}, with the columns that are used.
function arranged(points) {
  const rows = new Map(), hasPhases = points.some(({ name }) => /_l[23]$/.test(name));
  for (const point of points) {
    let [title, column] = cellOf(point.name);
    if (!hasPhases) column = 3;
    if (rows.get(title)?.[column]) title = point.name;
    if (!rows.has(title)) rows.set(title, []);
    rows.get(title)[column] = point;
  }
  return { rows, columns: hasPhases ? [0, 1, 2, 3] : [3] };
}

// The cell of a value and the button for its past, which stands at the end of the row; and what keeps both up to date.
function pointCell(point, past, columns, meter) {
  const title = pointTitle(point.name), value = el("span", { class: "value" }), note = el("span", { class: "note bad" });
  const mean = point.name.endsWith("average") ? el("span", { class: "dim", title: translated("Mean of the phases") }, "Ø ") : null;
  const cell = el("td", { role: "cell", class: "n", "data-point": point.id }, mean, value, note);
  let shown, unfolded, name = "", drawn;
  const hasRecords = () => trends.records?.points.includes(point.id);
  const toggle = el("button", { type: "button", class: "trend", "aria-expanded": "false", "aria-label": say("Past of {}", title), title, "data-past": point.id, onclick() {
    if (unfolded) unfolded.remove();
    unfolded = unfolded ? null : el("tr", { role: "row", class: "unfolded" }, el("td", { role: "cell", colspan: columns + 2 }));
    toggle.setAttribute("aria-expanded", Boolean(unfolded));
    if (!unfolded) return;
    cell.parentNode.after(unfolded);
    choose(shown ? "" : "day");
  } });
  // Draws the last hours (""), or one of SPANS.
  async function choose(wanted) {
    name = wanted;
    drawn = null;
    draw(dim("Reading ..."));
    try {
      await loadPart("charts");
      drawn = name ? await recorded(point, wanted, trends.records.interval_s) : shown;
    } catch (error) {
      return wanted === name && draw(dim(capital(error.message)));
    }
    if (wanted === name) draw();
  }
  function draw(instead) {
    const isRise = name && big[point.unit], what = isRise && drawn ? say("{} in {}", title, span(drawn.step_s)) : title;
    const names = [...(shown ? [""] : []), ...(hasRecords() ? Object.keys(SPANS) : [])];
    const csv = drawn && el("a", { href: csvOf(drawn, point.name + (isRise ? "_rise" : ""), point.unit), download: `${meter.name}-${point.name}-${name || "hours"}.csv` }, "CSV");
    unfolded?.firstChild.replaceChildren(instead || chart(drawn, point.unit, what, Boolean(isRise)), el("div", { class: "actions" },
      names.length < 2 ? [] : names.map(one => button(capital(one || "hours"), () => choose(one), "plain", { "aria-pressed": String(one === name) })), csv));
  }
  // `common`: a quality that most of the meter's values have, which stands at its head.
  function update(now, common) {
    const trend = trends.known.get(now.id);
    value.textContent = numeral(now.value, now.unit);
    value.classList.toggle("bad", now.quality !== "good");
    note.textContent = now.quality === "good" || now.quality === common ? "" : translated(words(now.quality)) + (now.value != null && now.age_s != null ? ", " + span(now.age_s) : "");
    if (!toggle.parentNode && (trend || hasRecords())) past.append(toggle);
    if (trend === shown && toggle.firstChild) return;
    shown = trend;
    toggle.replaceChildren(trend && sparkOf(trend) || translated("past"));
    if (unfolded && !name) choose("");
  }
  return { cell, update };
}

// What is drawn of a point as a file: the end of each step in UTC, and its value.
function csvOf({ values, step_s, at, newest_age_s }, name, unit) {
  const time = i => new Date(at - 1000 * (newest_age_s + (values.length - 1 - i) * step_s)).toISOString().slice(0, 19) + "Z";
  const rows = values.map((value, i) => `${time(i)},${value == null ? "" : Number(value.toFixed(3))}`);
  return "data:text/csv," + encodeURIComponent([`time,${name}${unit && ` (${unit})`}`, ...rows, ""].join("\n"));
}

// Bars compare the phases of a row, not of a voltage: there they are nearly the same.
const hasBars = row => row.filter(point => point).length > 2 && row.some(point => ["A", "W", "var", "VA"].includes(point?.unit));

function readingsView(meter, isOnly) {
  const state = el("span"), age = el("span"), fault = el("span", { class: "bad" }), answers = el("div"), cells = new Map(), { rows, columns } = arranged(meter.points);
  const lines = [...rows].map(([title, row]) => {
    // Empty columns before the first value are the title's: on a phone it has no room otherwise.
    const past = el("td", { role: "cell" }), { unit } = row.find(point => point), free = columns.findIndex(column => row[column]);
    return el("tr", { role: "row" }, el("th", { role: "rowheader", scope: "row", colspan: free + 1 }, pointTitle(title), " ", el("span", { class: "dim" }, big[unit] || unit)), columns.slice(free).map(column => {
      const point = row[column];
      if (!point) return el("td", { role: "cell" });
      cells.set(point.id, pointCell(point, past, columns.length, meter));
      return cells.get(point.id).cell;
    }), past);
  });
  const barred = [...rows.values()].filter(hasBars).map(row => row.slice(0, 3).filter(point => point).map(({ id }) => id));
  const today = el("p");
  const part = el("section", { class: "meter" }, el("h2", null, ofDevice(meter.name), " ", state),
    el("p", { class: "dim" }, isOnly ? null : el("a", { href: "#/status" }, "All meters"), isOnly ? "" : ", ", say("unit {}, {}", meter.unit, meter.profile), age, fault), today,
    el("div", { class: "scroll", tabindex: 0 }, el("table", { role: "table", class: columns.length > 1 && "phases" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, headCell("quantity"), columns.map(column => headCell(columns.length > 1 ? ">" + PHASES[column] : ">value")), headCell("past"))), el("tbody", { role: "rowgroup" }, lines))), answers);
  let askedAt = 0, energies = [];
  return { part, points: () => meter.points.map(({ id }) => id), energies: () => energies,
    update([now]) {
      setText(state, stateText(now));
      state.className = STATE_KINDS[now.state] || "bad";
      const oldest_s = Math.max(...now.points.filter(({ quality }) => quality === "good").map(({ age_s }) => age_s));
      age.textContent = oldest_s >= 0 ? say(", read within the last {}", span(Math.max(1, oldest_s))) : "";
      const common = commonFault(now.points), late = now.points.filter(({ quality, age_s }) => quality === common && age_s != null);
      setText(fault, common ? ", " + translated(words(common)) + (late.length ? ", " + span(Math.max(...late.map(({ age_s }) => age_s))) : "") : "");
      const byId = new Map(now.points.map(point => [point.id, point]));
      for (const [id, { update }] of cells) update(byId.get(id), common);
      for (const ids of barred) {
        const most = Math.max(...ids.map(id => Math.abs(byId.get(id).value ?? 0)));
        for (const id of ids) showBar(cells.get(id).cell, byId.get(id).value ?? 0, most);
      }
      const energy = pointOf(now, OVERVIEW.energy), wh = energy && today_wh(energy);
      energies = energy ? [energy] : [];
      today.textContent = wh == null ? "" : say("Today {}", quantity(wh, energy.unit));
      today.hidden = wh == null;
    },
    async refresh() {
      if (Date.now() - askedAt < LINE_EVERY_MS) return;
      const found = (await get("api/bus")).meters.find(({ slot }) => slot === meter.slot);
      askedAt = Date.now();
      if (found) answers.replaceChildren(answersList(found));
    } };
}

// The quality that more than half of the values have, where that is not "good".
function commonFault(points) {
  const names = points.map(({ quality }) => quality);
  return names.find(name => name !== "good" && 2 * names.filter(one => one === name).length > names.length);
}

// What the line has of a meter, from /api/bus.
function answersList(found) {
  const { answer_ms, exceptions, refused } = found;
  const rows = [
    ["Answers take", answer_ms && say("{} to {} ms, mean {} ms; waited for {} ms", answer_ms.min, answer_ms.max, answer_ms.mean, found.timeout_ms)],
    ["Asked every", found.kept_ms && say("{} s, wanted {} s", local(found.kept_ms / 1000, 1), found.interval_ms / 1000)],
    ["Rounds missed", found.missed],
    ["Exceptions", Object.entries(exceptions).map(([code, times]) => `${code}: ${times}`).join(", ")],
    ["Refused registers", refused.map(([number, first, count]) => say("{} to {} of function {}", first, first + count - 1, number)).join(", ")],
  ].filter(([, text]) => text || text === 0);
  return el("dl", null, rows.map(([title, text]) => el("div", null, el("dt", null, title), el("dd", null, text))));
}
