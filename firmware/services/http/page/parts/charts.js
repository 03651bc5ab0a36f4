// Charts, as SVG, once one is opened: the last hours from GET /api/history?point=ID, longer ones from GET /api/records.

// Columns from 0 in a box of 100 x 100 between `low` and `high`; none where there is no value.
function columns(values, low, high) {
  const scale = 100 / (high - low), zero = (high * scale).toFixed(2), step = 100 / values.length;
  return values.map((value, i) => value == null ? "" : `M${((i + .1) * step).toFixed(2)} ${zero}v${(-value * scale).toFixed(2)}h${(.8 * step).toFixed(2)}V${zero}z`).join("");
}

const TICKS_S = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800]; // then each quarter of a year
const TICKS_MOST = 5;

// Round local times between two, as [part of the way from the first to the second, text]; the two where there is less than
// two of them.
function ticks(from, to) {
  const every_s = TICKS_S.find(s => (to - from) / 1000 / s <= TICKS_MOST), found = [];
  const text = (at, isDay) => at.toLocaleString(document.documentElement.lang, !every_s ? { month: "short" } : isDay ? DATE : HOURS);
  const year = from.getFullYear(), month = from.getMonth(), day = from.getDate();
  const tick = k => !every_s ? new Date(year, 3 * (Math.floor(month / 3) + k)) : every_s < 86400 ? new Date(year, month, day, 0, 0, k * every_s) : new Date(year, month, day + k * every_s / 86400);
  for (let k = 0, at = tick(0); at <= to; at = tick(++k)) {
    if (at >= from) found.push([(at - from) / (to - from), text(at, !at.getHours() && !at.getMinutes())]);
  }
  return found.length > 1 ? found : from < to ? [[0, text(from)], [1, text(to)]] : [[0, text(from)]];
}

// Texts at their parts of the way, within its ends.
const timesRow = marks => el("div", { class: "times" }, marks.map(([part, text]) => {
  const mark = el("span", null, ofDevice(text));
  mark.style.cssText = `left:${(100 * part).toFixed(2)}%;translate:${part < .06 ? 0 : part > .94 ? -100 : -50}%`;
  return mark;
}));

const HOURS = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }, DATE = { month: "short", day: "numeric" };

// Large: with highest and lowest value, times, and the value under the pointer; as columns from 0
// with `isSum`, where a value is the sum of its step.
function chart(trend, unit, name, isSum) {
  const range = bounds(trend.values);
  if (!range) return dim("Nothing was kept yet.");
  // A flat line is not blown up to the height of the picture.
  const margin = Math.max((range[1] - range[0]) * 0.05, Math.abs(range[1]) * 0.001, 1e-6);
  const [low, high] = unit === "%" ? [0, 100] : isSum ? [Math.min(0, range[0]), Math.max(1, range[1])] : [range[0] - margin, range[1] + margin];
  const last = trend.values.length - 1;
  // The middle of a step: a day of UTC is the same day nearly everywhere then.
  const time = i => new Date(trend.at - 1000 * (trend.newest_age_s + (last - i + .5) * trend.step_s));
  const long = i => time(i).toLocaleString(document.documentElement.lang, trend.step_s < 86400 ? { ...DATE, ...HOURS } : DATE);
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
      point(isSum ? Math.floor(part * (last + 1)) : Math.round(part * last));
    },
    onpointerleave() { reading.textContent = still; },
    onblur() { reading.textContent = still; },
    onkeydown(event) {
      const wanted = { ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last }[event.key];
      if (wanted === undefined) return;
      event.preventDefault();
      point(wanted);
    },
  }, isSum ? picture("large columns", columns(trend.values, low, high)) : picture("large", line(trend.values, low, high)), el("span", { class: "high" }, quantity(high, unit)), el("span", { class: "low" }, quantity(low, unit)));
  return el("figure", null, el("figcaption", null, el("strong", null, name), " ", reading), area,
    isSum ? timesRow(ticks(time(-.5), time(last + .5))) : timesRow(ticks(time(0), time(last))));
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
