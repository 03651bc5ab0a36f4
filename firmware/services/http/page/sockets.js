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
    const now = await get("api/sockets"), [budget, past, ledger] = this.parts, scrolled = ledger.querySelector(".scroll")?.scrollLeft || 0;
    this.parts[0] = replace(budget, budgetCard(now));
    // What is under the pointer stays until there is something new.
    if (this.drawn !== JSON.stringify([now.past.in_use, now.past.closed]) && now.past.in_use.length > 1) {
      await loadPart("charts");
      this.drawn = JSON.stringify([now.past.in_use, now.past.closed]);
      this.parts[1] = replace(past, pastCard(now.past));
    }
    this.parts[2] = replace(ledger, ledgerCard(now));
    this.parts[2].querySelector(".scroll").scrollLeft = scrolled;
    this.parts[3] = replace(this.parts[3], clientsCard(seenClients(now)));
  },
};

// Clients by address, as this page has seen them: the device keeps none that has gone. Kept with the tab.
const CLIENTS_KEPT = 64, CLIENTS_KEY = "clients";

// [[address, {kinds, now, most, first, last}], ...], the last seen first; times in ms.
function seenClients({ slots }) {
  const known = new Map(JSON.parse(sessionStorage.getItem(CLIENTS_KEY) || "[]")), at = Date.now();
  for (const client of known.values()) client.now = 0;
  for (const { role, peer, kind } of slots) {
    if (role !== "connection" || !peer) continue;
    const address = peer.replace(/:\d+$/, ""), client = known.get(address) || { kinds: [], most: 0, first: at };
    client.now = (client.now || 0) + 1;
    known.set(address, { ...client, kinds: [...new Set([...client.kinds, kind])], most: Math.max(client.most, client.now), last: at });
  }
  const clients = [...known].sort(([, a], [, b]) => b.last - a.last).slice(0, CLIENTS_KEPT);
  sessionStorage.setItem(CLIENTS_KEY, JSON.stringify(clients));
  return clients;
}

function clientsCard(clients) {
  const ago = ms => span(Math.round((Date.now() - ms) / 1000));
  return card("Clients", dim("Seen while this page was open in this tab: the device itself does not keep them."),
    table(["address", "service", ">now", ">most at once", ">first seen", ">last seen"], clients.map(([address, { kinds, now, most, first, last }]) => [address, kinds.join(", "), now, most, ago(first), now ? "now" : ago(last)])));
}

function budgetCard(now) {
  const closed = Object.entries(now.evictions).filter(([, count]) => count);
  return card(`${now.in_use} of ${now.limit} sockets in use`,
    el("div", { class: "blocks", "aria-hidden": "true" }, Array.from({ length: now.limit }, (_, k) => {
      const slot = now.slots[k];
      return el("span", { class: slot ? slot.role : "free" });
    })),
    el("p", null, say("{} for services, {} for connections; most so far {}. {} accepted,", now.services, now.general, now.high_water, plural(now.accepted, "connection")), " ",
      closed.length ? say("closed to make room or for idleness: {}", closed.map(([reason, count]) => `${translated(words(reason))} ${count}`).join(", ")) : "none closed to make room or for idleness", "."),
    now.advice.length ? el("ul", { class: "advice" }, now.advice.map(text => el("li", null, text))) : null);
}

function ledgerCard(now) {
  const role = slot => slot.role === "connection" ? (slot.busy ? "connection, busy" : "connection") : slot.open ? "service" : "reserved";
  return card("Ledger", table(["service", "socket", "peer", ">age", ">idle", ">requests", ">in", ">out"], now.slots.map(slot => [slot.kind, role(slot), slot.peer,
    span(slot.age_s), slot.role === "connection" ? span(slot.idle_s) : "", slot.requests, slot.received, slot.sent])));
}

// The last hours: how many sockets were in use at once, and when connections had to go.
function pastCard({ step_s, age_s, in_use, closed }) {
  const trend = values => ({ values, step_s, at: Date.now(), newest_age_s: age_s - step_s });
  return card("The last hours", chart(trend(in_use), "", "Sockets in use"), chart(trend(closed), "", say("Closed before their time, in {}", span(step_s))));
}
