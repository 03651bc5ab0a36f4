// How quantities, ages and names are written.

const big = { Wh: "kWh", varh: "kvarh", VAh: "kVAh" };

// A number as the browser's language writes it; what is rounded to 0 has no sign.
const local = (value, digits) => (Number(value.toFixed(digits)) + 0).toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });

const quantity = (value, unit) => numeral(value, unit) + (value != null && unit ? " " + (big[unit] || unit) : "");

// The same without the unit.
function numeral(value, unit) {
  if (value == null) return "–";
  if (big[unit]) return local(value / 1000, value < 1e8 ? 2 : 0);
  const size = Math.abs(value), digits = unit === "%" ? 0 : unit === "" ? 3 : size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3;
  return local(value, Number.isInteger(value) && unit === "" ? 0 : digits);
}

function span(s) {
  if (s == null) return "";
  return s < 120 ? s + " s" : s < 7200 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " d";
}

const words = name => name.replaceAll("_", " ");
const capital = text => text.charAt(0).toUpperCase() + text.slice(1);
// active_power_l1: Active power L1
const pointTitle = name => {
  const [, quantity, phases] = /^(.+?)((_l[1-3n])*)$/.exec(name);
  return translated(capital(words(quantity).replace(/\bl[ln]\b/, letters => letters.toUpperCase()))) + words(phases).toUpperCase();
};
const clock = unix_s => new Date(1000 * unix_s).toLocaleString();
const plural = (count, name) => translated(`${count} ${name}${count === 1 ? "" : "s"}`);
