// What is known of the past, for sparks and charts.

const TRENDS_A_ROUND = 2;

// What is known of the past: `ids` of the points whose last hours are kept (null: not asked yet), `known` by id; `records`:
// what is said of the records on flash, if there are any.
const trends = { ids: null, known: new Map(), records: null };

// Once the next step has ended.
function isDue(id) {
  const trend = trends.known.get(id);
  return !trend || Date.now() > trend.at + 1000 * Math.max(10, trend.step_s - trend.newest_age_s + 1);
}

// Asks for the last hours of some of the points `shown`: a few a round, readings do not wait for all.
async function refreshTrends(shown) {
  if (!trends.ids) {
    const { points, records } = await get("api/history");
    Object.assign(trends, { ids: points, records });
  }
  for (const id of shown.filter(id => trends.ids.includes(id) && isDue(id)).slice(0, TRENDS_A_ROUND)) {
    const trend = await get("api/history?point=" + id), first = trend.values.findIndex(value => value != null);
    // What was before the device began to keep values is no part of the picture.
    trends.known.set(id, { ...trend, at: Date.now(), values: first < 0 ? [] : trend.values.slice(first) });
  }
}

// The energy of each meter at the last midnight of the browser's zone, from the records on flash.
const midnights = new Map();

const midnight_s = () => new Date().setHours(0, 0, 0, 0) / 1000;

// The energy of today in Wh; null while it is not known.
function today_wh(energy) {
  const known = midnights.get(energy.id);
  const wh = known?.at_s === midnight_s() && known.value != null && energy.value != null ? energy.value - known.value : -1;
  return wh >= 0 ? wh : null; // a meter was exchanged
}

// Asks for the midnight of the first of these points whose it does not know.
async function refreshMidnight(energies) {
  const at_s = midnight_s(), recorded = trends.records;
  if (!recorded || !health?.time_unix_s) return;
  const energy = energies.find(({ id }) => recorded.points.includes(id) && midnights.get(id)?.at_s !== at_s);
  if (!energy) return;
  const { series, records } = await get(`api/records?meter=${energy.id >> 8}&from=${at_s - recorded.interval_s}&to=${at_s + 1}`);
  const column = 2 + series.findIndex(({ id }) => id === energy.id);
  midnights.set(energy.id, { at_s, value: records.at(-1)?.[column] });
}
