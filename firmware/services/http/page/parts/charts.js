// Charts, as SVG, once one is opened: the last hours from GET /api/history?point=ID, longer ones from GET /api/records.

// Columns from 0 to `high` in a box of 100 x 100; none where there is no value.
const columns = (values, high) => values.map((value, i) => value == null ? "" : `M${(100 * (i + .1) / values.length).toFixed(2)} 100v${(-100 * value / high).toFixed(1)}h${(80 / values.length).toFixed(2)}V100z`).join("");

// Large: with highest and lowest value, times, and the value under the pointer; with `isCount` as columns from 0.
function chart(trend, unit, name, isCount) {
  const range = bounds(trend.values);
  if (!range) return dim("Nothing was kept yet.");
  // A flat line is not blown up to the height of the picture.
  const margin = Math.max((range[1] - range[0]) * 0.05, Math.abs(range[1]) * 0.001, 1e-6);
  const [low, high] = unit === "%" ? [0, 100] : isCount ? [0, Math.max(1, range[1])] : [range[0] - margin, range[1] + margin];
  const last = trend.values.length - 1;
  // The middle of a step: a day of UTC is the same day nearly everywhere then.
  const time = i => new Date(trend.at - 1000 * (trend.newest_age_s + (last - i + .5) * trend.step_s));
  const hours = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }, date = { month: "short", day: "numeric" };
  const short = i => time(i).toLocaleString(document.documentElement.lang, last * trend.step_s > 172800 ? date : hours);
  const long = i => time(i).toLocaleString(document.documentElement.lang, trend.step_s < 86400 ? { ...date, ...hours } : date);
  const marks = [...new Set([0, 1, 2, 3, 4].map(k => Math.round(k * last / 4)))];
  const length = span(trend.values.length * trend.step_s);
  const reading = el("output", null, say("lowest {}, highest {}", quantity(range[0], unit), quantity(range[1], unit)));
  const still = reading.textContent;
  let at = last;
  const point = i => {
    if (trend.values[i] !== undefined) reading.textContent = `${long(at = i)}  ${quantity(trend.values[i], unit)}`;
  };
  const area = el("div", { class: "plot", role: "img", tabindex: 0, "aria-label": say("{}, the last {}: {}", name, length, still),
    onpointermove(event) {
      const box = area.getBoundingClientRect(), part = (event.clientX - box.left) / box.width;
      point(isCount ? Math.floor(part * (last + 1)) : Math.round(part * last));
    },
    onpointerleave() { reading.textContent = still; },
    onblur() { reading.textContent = still; },
    onkeydown(event) {
      const wanted = { ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last }[event.key];
      if (wanted === undefined) return;
      event.preventDefault();
      point(wanted);
    },
  }, isCount ? picture("large columns", columns(trend.values, high)) : picture("large", line(trend.values, low, high)), el("span", { class: "high" }, quantity(high, unit)), el("span", { class: "low" }, quantity(low, unit)));
  return el("figure", null, el("figcaption", null, el("strong", null, name), " ", reading), area,
    el("div", { class: isCount ? "times around" : "times" }, marks.map(i => el("span", null, short(i)))));
}

const LONG_MS = 40000; // a week of one of 32 meters takes a Pico some seconds, and longer beside other clients

// A trend of a point from records on flash, as chart() takes it: a power is the mean of a step, an energy what it rose by.
// A power of a day is the energy of the day, spread over it.
async function recorded(point, name, interval_s) {
  if (!health?.time_unix_s) throw new Error("The device does not know the time yet.");
  const [length_s, wanted_s] = SPANS[name], step_s = wanted_s ? Math.max(wanted_s, interval_s) : 86400;
  const now_s = health.time_unix_s + (Date.now() - healthAt) / 1000, end_s = Math.floor(now_s / step_s) * step_s;
  const path = `api/records?meter=${point.id >> 8}&from=${end_s - length_s}&every=${wanted_s ? step_s : "day"}`;
  const { series, records } = await ask("GET", path, undefined, LONG_MS);
  const own = series.findIndex(({ id }) => id === point.id), k = 2 + (own < 0 ? 0 : own), isEnergy = series[k - 2].unit.endsWith("Wh");
  const found = new Map(records.map(row => [row[0], row[k]]));
  const scale = own < 0 ? 86400 / 3600 : 1;
  const values = Array.from({ length: length_s / step_s }, (_, i) => {
    const time_s = end_s - length_s + (i + 1) * step_s, value = found.get(time_s), before = found.get(time_s - step_s);
    return !isEnergy ? value : value == null || before == null ? null : (value - before) / scale;
  });
  const first = values.findIndex(value => value != null);
  return { values: first < 0 ? [] : values.slice(first), step_s, at: 1000 * end_s, newest_age_s: 0 };
}
