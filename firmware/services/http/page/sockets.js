// Sockets: the ledger, evictions and advice.

const socketsPage = {
  title: "Sockets",
  open: true,
  every_ms: 2000,
  show(main) {
    this.parts = [el("div", null, dim("Asking ...")), el("div"), el("div"), el("div")];
    this.drawn = "";
    main.append(...this.parts);
  },
  async refresh() {
    const now = await get("api/sockets"), [budget, past] = this.parts;
    this.parts[0] = replace(budget, budgetCard(now));
    // What is under the pointer stays until there is something new.
    if (this.drawn !== JSON.stringify([now.past.in_use, now.past.closed]) && now.past.in_use.length > 1) {
      await loadPart("charts");
      this.drawn = JSON.stringify([now.past.in_use, now.past.closed]);
      this.parts[1] = replace(past, pastCard(now.past));
    }
    [ledgerCard(now), clientsCard(now)].forEach((fresh, i) => {
      const scrolled = this.parts[2 + i].querySelector(".scroll")?.scrollLeft || 0, part = this.parts[2 + i] = replace(this.parts[2 + i], fresh);
      part.querySelector(".scroll")?.scrollTo(scrolled, 0);
    });
  },
};

// Clients by address and service: those that the device keeps, and those that are connected now; the last seen first.
function clientsOf({ clients, slots }) {
  const known = new Map(clients.map(client => [client.kind + client.address, { ...client, now: 0 }]));
  for (const { role, peer, kind, age_s, requests } of slots) {
    if (role !== "connection" || !peer) continue;
    const address = peer.replace(/:\d+$/, ""), client = known.get(kind + address) || { kind, address, now: 0, age_s: 0, requests: 0, most: 0, closed: 0 };
    client.now++;
    client.most = Math.max(client.most, client.now);
    client.gone_s = 0;
    client.age_s = Math.max(client.age_s, age_s);
    client.requests += requests;
    known.set(kind + address, client);
  }
  return [...known.values()].sort((a, b) => a.gone_s - b.gone_s || b.now - a.now || b.requests - a.requests);
}

const CLIENTS_SHOWN_S = 43200;

// The bar of a row: from its first connection to its last, of the hours that are shown.
function clientsCard(now) {
  const clients = clientsOf(now), length_s = Math.min(CLIENTS_SHOWN_S, Math.max(1, ...clients.map(({ age_s }) => age_s)));
  const bar = ({ age_s, gone_s }) => {
    const from = Math.min(1, age_s / length_s), to = Math.min(1, gone_s / length_s), part = el("span");
    part.style.cssText = `margin-left:min(${(100 - 100 * from).toFixed(1)}%,100% - 3px);width:${(100 * (from - to)).toFixed(1)}%`;
    return el("div", { class: "stay" }, gone_s < length_s ? part : null);
  };
  const closed = ({ closed, reason }) => closed ? closed + (reason ? ` (${translated(words(reason))})` : "") : 0;
  return card("Clients", clients.length ? table(["address", "service", ">now", ">first seen", ">last seen", ">requests", ">closed before their time", ">most at once", say("the last {}", span(length_s))],
    clients.map(client => [client.address, client.kind, client.now, span(client.age_s), client.now ? "now" : span(client.gone_s), client.requests, closed(client), client.most, bar(client)])) : dim("None yet."),
    now.clients_lost ? dim(say("The device keeps {} of them; {} older ones had to go.", now.clients.length, now.clients_lost)) : null);
}

// What the device advises, in the visitor's language: its texts (documents/sockets.py) with {} for what differs.
const ADVICE = [
  "not started, since no socket was left: {}; switch off services that are not needed",
  "a MicroPython build with room for all services and 10 connections: {}",
  "{} Modbus clients: with more than {} connections they take turns",
  "{} connections of browsers: each takes the place of a Modbus client",
  "switching off what is not needed frees a connection each: {}",
  "a connection for each poll, left open, from {}: let such a client keep one, or close them",
  "{} connections sent RTU frames to the port of Modbus TCP: set those clients to Modbus TCP, or give them a port by modbus.rtu_over_tcp",
  "a reboot is due: until then every service keeps its socket",
];

const adviceText = text => ofDevice(saidBy(ADVICE, text));

function budgetCard(now) {
  const closed = Object.entries(now.evictions).filter(([, count]) => count);
  return card(`${now.in_use} of ${now.limit} sockets in use`,
    el("div", { class: "blocks", "aria-hidden": "true" }, Array.from({ length: now.limit }, (_, k) => {
      const slot = now.slots[k];
      return el("span", { class: slot ? slot.role : "free" });
    })),
    el("p", null, say("{} for services, {} for connections; most so far {}. {} accepted,", now.services, now.general, now.high_water, plural(now.accepted, "connection")), " ",
      closed.length ? say("closed to make room or for idleness: {}", closed.map(([reason, count]) => `${translated(words(reason))} ${count}`).join(", ")) : "none closed to make room or for idleness", "."),
    now.advice.length ? el("ul", { class: "advice" }, now.advice.map(text => el("li", null, adviceText(text)))) : null);
}

function ledgerCard(now) {
  const role = slot => slot.role === "connection" ? (slot.busy ? "connection, busy" : "connection") : slot.open ? "service" : "reserved";
  return card("Ledger", table(["service", "socket", "peer", ">age", ">idle", ">requests", ">in", ">out"], now.slots.map(slot => [slot.kind, role(slot), slot.peer,
    span(slot.age_s), slot.role === "connection" ? span(slot.idle_s) : "", slot.requests, slot.received, slot.sent])));
}

// The last hours: how many sockets were in use at once, and when connections had to go.
function pastCard({ step_s, age_s, in_use, closed }) {
  const trend = values => ({ values, step_s, at: Date.now(), newest_age_s: age_s - step_s });
  return card("The last hours", chart(trend(in_use), "", "Sockets in use", true), chart(trend(closed), "", say("Closed before their time, in {}", span(step_s)), true));
}
