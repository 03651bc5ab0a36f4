// "Find out what is wrong": watches the lines until each meter has been asked again, and says what its counters mean, in
// the order of docs/commissioning.md.

const WATCH_LEAST_MS = 6000, WATCH_MOST_MS = 75000, WATCH_EVERY_MS = 1500; // a silent meter is asked each minute at least
const REQUEST_BYTES = 8;

const lookAtLines = async () => ({ status: await get("api/status"), bus: await get("api/bus") });
const ofNumber = (list, number) => list.find(one => one.number === number);
const ofSlot = (list, slot) => list.find(one => one.slot === slot);
const grown = (before, after, key) => after[key] - before[key];

// [{line, what, so, todo}] of two looks: what was seen, what it means, and what to do, a text each.
function findings(before, after) {
  return after.status.buses.flatMap(bus => findingsOfLine(bus.number, before, after).map(([what, so, todo]) => ({ line: bus.uart, what, so, todo })));
}

function findingsOfLine(number, before, after) {
  const bus = ofNumber(after.status.buses, number);
  if (!bus.open) return [[say("The line is not open: {}.", bus.error || translated("no reason is known")), "The UART or one of its pins cannot be used.", "Look at UART and pins of this line on the Meters page, and at the board."]];
  if (bus.role === "slave") return findingsOfSlave(ofNumber(before.bus.buses, number), ofNumber(after.bus.buses, number));
  const meters = after.status.meters.filter(meter => meter.bus === number);
  if (!meters.length) return [["No meter is configured on this line.", "Nothing is asked.", "Search for meters on the Meters page."]];
  const now = ofNumber(after.bus.buses, number), then = ofNumber(before.bus.buses, number);
  const sent = grown(then, now, "sent"), answered = grown(then, now, "answered"), timeouts = grown(then, now, "timeouts");
  const noise = grown(then, now, "noise_bytes"), damaged = grown(then.wrong, now.wrong, "crc");
  const others = ["unit", "function", "length", "content"].reduce((sum, kind) => sum + grown(then.wrong, now.wrong, kind), 0);
  const was = meter => ofSlot(before.status.meters, meter.slot) || { requests: 0, timeouts: 0, errors: 0 };
  const asked = meters.filter(meter => meter.requests > was(meter).requests);
  const silent = asked.filter(meter => meter.state !== "online" && meter.timeouts > was(meter).timeouts);
  const wrong = asked.filter(meter => meter.errors > was(meter).errors);
  const names = list => list.map(meter => say("{} (unit {})", meter.name, meter.unit)).join(", ");
  const found = [];
  if (bus.role === "listen") return findingsOfListening(sent, answered, noise, others, names(meters.filter(meter => !asked.includes(meter))));
  if (!asked.length) return [["Nothing was asked while the page watched.", "The line is lent to a search, or its meters are asked more seldom.", "Wait for the end of the search, then watch again."]];
  if (grown(then, now, "echoes") || noise && noise === REQUEST_BYTES * sent) {
    if (!grown(then, now, "echoes")) found.push(["As many bytes come back as are sent.", "The module repeats what is sent.", "Switch on The line echoes for this line, or tie RE to DE."]);
  } else if (!answered && (noise || damaged || others)) {
    found.push([`No request has a right answer, and there is noise (${noise} bytes, ${damaged} damaged frames).`, "Speed or framing is wrong, or A and B are swapped.",
      "Search with 9600 and 19200, 8N1 and 8E1 on the Meters page. Then swap the two wires at the gateway."]);
  } else if (!answered && timeouts) {
    found.push([`Nothing at all comes back (${sent} requests).`, meters.length > 1 ? "What all of them share: the gateway's own side of the line." : "The meter does not hear, or is not heard.",
      "In this order: power of the meter; unit id; TX and RX; direction pin; A and B; speed and framing; voltage of the idle line (0.2 V or more from A to B); one meter alone on the line."]);
  } else {
    if (silent.length) found.push([say("Silent while others answer: {}.", names(silent)), "Its power, unit id or wires, not the line.", "Power; the unit id in its menu; its own A and B; search all units, 1 to 247."]);
    if (wrong.length === 1 && (damaged || others)) found.push([say("Wrong answers of {} only ({} damaged, {} others).", names(wrong), damaged, others), "Two meters have the same unit id, or this one's wires are bad.", "Disconnect it and watch again: if something still answers, another meter has its unit id."]);
    else if (damaged || noise) found.push([`${damaged} damaged answers and ${noise} bytes of noise among ${answered} right ones.`, "Reflections or disturbance.", "120 ohms at both ends of the line and nowhere else, bias at one place, no stubs, the shield on one side."]);
    else if (others) found.push([`${others} frames that were not the answer.`, "An answer came too late, or another master is on the line.", "A longer time-out for the meters; one master only on each line."]);
  }
  const stale = grown(then, now, "stale_bytes");
  if (stale) found.push([`${stale} bytes came while nothing was asked.`, "A second master, or a line without bias.", "Disconnect the other master; bias at one place of the line."]);
  const refused = meters.filter(meter => ofSlot(after.bus.meters, meter.slot)?.refused.length);
  if (refused.length) found.push([say("Registers are refused by {}.", names(refused)), "The kind of meter is not quite this one.", "Choose another kind on the Meters page, and compare with the meter's manual."]);
  // Time-outs of a silent meter take the time of the others.
  const late = silent.length ? [] : meters.filter(meter => (ofSlot(after.bus.meters, meter.slot)?.missed || 0) > (ofSlot(before.bus.meters, meter.slot)?.missed || 0));
  if (late.length) found.push([say("There is no time to read {} as often as asked.", names(late)), "The line is too slow for the intervals.", "Longer intervals, a higher speed, or a second line."]);
  return found.length ? found : [[`${answered} of ${sent} requests were answered.`, "Nothing is wrong on this line.", ""]];
}

// A line that another master polls. `unasked`: meters that it has not asked, as a text.
function findingsOfListening(sent, answered, noise, others, unasked) {
  if (!sent) return [noise ? [`${noise} bytes came, and no request.`, "Speed or framing is not that of the other master, or A and B are swapped.", "Set this line as the other master is set. Then swap the two wires at the gateway."]
    : ["Nothing was heard.", "The other master does not ask, or the gateway does not hear.", "Set-up of the other master; RX; direction pin; A and B."]];
  const found = [];
  if (unasked) found.push([say("The other master has not asked: {}.", unasked), "It knows another unit id, or does not read this meter.", "Compare the unit ids with the set-up of the other master."]);
  if (noise) found.push([`${noise} bytes of noise among ${answered} answers.`, "Reflections or disturbance, or a driver that sends a stray byte when it turns.", "120 ohms at both ends of the line and nowhere else, bias at one place, no stubs."]);
  else if (others) found.push([`${others} frames were not taken.`, "They came too late, or could be late answers to other requests.", "A longer time-out in the other master, and a pause after each of its rounds."]);
  return found.length ? found : [[`${answered} of ${sent} requests of the other master were answered.`, "Nothing is wrong on this line.", ""]];
}

// A line whose master reads served meters here.
function findingsOfSlave(then, now) {
  const sent = grown(then, now, "sent"), answered = grown(then, now, "answered");
  return [sent ? [`${answered} of ${sent} requests to served meters were answered.`, "Nothing is wrong on this line.", ""]
    : ["No request to a served meter was heard.", "The other master asks other units, or speed, framing or wires are wrong.", "Compare unit ids, speed and framing with its set-up. Then swap the two wires at the gateway."]];
}

// The button, and the place where it says what it has found.
function diagnosis() {
  const place = el("div", { role: "status" });
  const watch = event => attempt(event, async () => {
    const before = await lookAtLines(), begun = Date.now();
    let after = before, asked = 0;
    const meters = before.status.meters;
    while (Date.now() - begun < WATCH_LEAST_MS || asked < meters.length && Date.now() - begun < WATCH_MOST_MS) {
      place.replaceChildren(dim(`Watching: ${asked} of ${meters.length} meters were asked.`));
      await sleep(WATCH_EVERY_MS);
      if (!place.isConnected) return; // another page is shown
      after = await lookAtLines();
      asked = meters.filter(meter => (ofSlot(after.status.meters, meter.slot)?.requests || 0) > meter.requests).length;
    }
    place.replaceChildren(el("dl", { class: "findings" }, findings(before, after).map(({ line, what, so, todo }) =>
      el("div", null, el("dt", null, say("Line {}: {}", line, translated(what))), el("dd", null, so), todo && el("dd", null, todo)))));
  });
  return el("div", null, el("div", { class: "actions" }, button("Find out what is wrong", watch, "plain")), place);
}
