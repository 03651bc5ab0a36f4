// The past of a point, small: for a row of a table; and bars. Large ones are the part charts.

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

// Small, for a row of a table; null where no value is known.
function sparkOf(trend) {
  const range = bounds(trend.values);
  return range && picture("spark", line(trend.values, ...range));
}

// A bar at the foot of a cell, as long as `value` is of `most`; of another colour where it flows back.
function showBar(cell, value, most) {
  cell.style.setProperty("--part", most > 0 ? `${(100 * Math.abs(value) / most).toFixed(1)}%` : "0%");
  cell.classList.add("bar-cell");
  cell.classList.toggle("negative", value < 0);
}

// What records on flash are drawn over: seconds, and those between two values (none: the totals of days).
const SPANS = { day: [86400, 300], week: [604800, 1800], month: [2592000], year: [31536000] };
