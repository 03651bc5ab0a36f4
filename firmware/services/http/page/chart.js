// The last hours of a point, from GET /api/history?point=ID, as SVG.

// A path through values in a box of 100 x 100; a gap where there are none.
function line(values, low, high) {
  const step = 100 / Math.max(1, values.length - 1), scale = high > low ? 100 / (high - low) : 0;
  let path = "", pen = "M";
  values.forEach((value, i) => {
    if (value == null) { pen = "M"; return; }
    path += `${pen}${(i * step).toFixed(1)} ${(scale ? 100 - (value - low) * scale : 50).toFixed(1)}`;
    // A value between two gaps is a dot.
    if (pen === "M" && values[i + 1] == null) path += "h.1";
    pen = "L";
  });
  return path;
}

function bounds(values) {
  const known = values.filter(value => value != null);
  return known.length ? [Math.min(...known), Math.max(...known)] : null;
}

const picture = (kind, path) => svg("svg", { class: kind, viewBox: "0 -4 100 108", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { d: path }));

// Small, for a row of a table.
function spark(trend) {
  const range = bounds(trend.values);
  return picture("spark", range ? line(trend.values, ...range) : "");
}

// Large: with highest and lowest value, times, and the value under the pointer.
function chart(trend, unit, name) {
  const range = bounds(trend.values);
  if (!range) return dim("Nothing was kept yet.");
  // A flat line is not blown up to the height of the picture.
  const margin = Math.max((range[1] - range[0]) * 0.05, Math.abs(range[1]) * 0.001, 1e-6);
  const [low, high] = [range[0] - margin, range[1] + margin];
  const last = trend.values.length - 1;
  const time = i => new Date(trend.at - 1000 * (trend.newest_age_s + (last - i) * trend.step_s));
  const short = i => time(i).toLocaleTimeString("sv", { hour: "2-digit", minute: "2-digit" });
  const hours = span(last * trend.step_s);
  const reading = el("output", null, `lowest ${quantity(range[0], unit)}, highest ${quantity(range[1], unit)}`);
  const still = reading.textContent;
  const area = el("div", { class: "plot", role: "img", "aria-label": `${name}, the last ${hours}: ${still}`,
    onpointermove(event) {
      const box = area.getBoundingClientRect(), i = Math.round((event.clientX - box.left) / box.width * last);
      if (trend.values[i] !== undefined) reading.textContent = `${short(i)}  ${quantity(trend.values[i], unit)}`;
    },
    onpointerleave() { reading.textContent = still; },
  }, picture("large", line(trend.values, low, high)), el("span", { class: "high" }, quantity(high, unit)), el("span", { class: "low" }, quantity(low, unit)));
  return el("figure", null, el("figcaption", null, el("strong", null, name), " ", reading), area,
    el("div", { class: "times" }, [0, 1, 2, 3, 4].map(k => el("span", null, short(Math.round(k * last / 4))))));
}
