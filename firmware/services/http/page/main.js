// Which page is shown, when the device is asked, and what all pages have in common.

const PAGES = { status: statusPage, bus: { title: "Bus", open: true, part: "bus" }, meters: { title: "Meters", config: true, part: "meters" }, network: networkPage, services: servicesPage, sockets: socketsPage, posting: { title: "Posting", config: true, part: "posting" }, system: systemPage, setup: { title: "Set-up", config: true, part: "wizard", hidden: true } };
const HEALTH_EVERY_MS = 15000, LONGEST_WAIT_MS = 30000;

// GET /api/status, for all pages; null before.
let health = null;

// The page that is shown; null while there is only a login to see, or nothing yet.
let page = null;
let shownAt = 0, timer = 0, wait_ms = 0, healthAt = 0;
// A round is under way; another one is to follow at once.
let asking = false, again = false;
// A page could not be shown for want of an answer.
let unshown = false;
// A visitor without a session wants to log in.
let loginWanted = false;

const addressed = () => {
  const [, name, argument] = location.hash.split("/");
  return [Object.hasOwn(PAGES, name) ? name : "status", argument];
};

// Shows what the address says, or the login in front of it.
async function show() {
  const [name, argument] = addressed(), wanted = PAGES[name], main = $("main"), mine = ++shownAt;
  page = null;
  unshown = false;
  showFrame(name);
  if (!session) return wake();
  main.replaceChildren();
  if (session.logged_in) loginWanted = false;
  else if (loginWanted || !wanted.open || !session.public_status) return session.setup ? setupView(main) : loginView(main);
  try {
    if (wanted.config && !draft.loaded) await loadDraft();
    if (wanted.config && !health) await refreshHealth();
    if (wanted.part) await loadPart(wanted.part);
    const content = el("div");
    if (mine === shownAt) {
      await wanted.show(content, argument);
    }
    if (mine !== shownAt) return; // another page was opened meanwhile
    main.replaceChildren(content);
    page = wanted;
    wake();
  } catch (error) {
    failed(error);
    unshown = true;
    schedule(wait_ms);
  }
}

function showFrame(name) {
  $("tabs").replaceChildren(...Object.entries(PAGES).filter(([, { hidden }]) => !hidden).map(([key, { title }]) => el("a", { href: "#/" + key, "aria-current": key === name ? "page" : null }, title)));
  $("tabs").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  const button = $("session");
  button.hidden = !session;
  button.textContent = translated(session?.logged_in ? "Log out" : session?.setup ? "Set a password" : "Log in");
  if (session) showName(session.name);
}

$("session").addEventListener("click", event => attempt(event, async () => {
  if (!session.logged_in) {
    loginWanted = true;
    return show();
  }
  if (isChanged() && !await confirmed("There are changes that are not saved. Log out without them?", "Log out")) return;
  isLeaving = true;
  try {
    await ask("POST", "api/logout");
  } finally {
    isLeaving = false;
  }
  session.logged_in = false;
  forgetHealth();
  Object.assign(draft, { loaded: false, now: {}, saved: {} });
  showChanges();
  show();
}));

function showName(name) {
  document.title = visible(name);
  setText($("name"), name);
}

async function refreshHealth() {
  health = await get("api/status");
  healthAt = Date.now();
  showProblems();
}

// Forgets the device: it has restarted, or the session has ended.
function forgetHealth() {
  health = null;
  healthAt = 0;
  $("about").textContent = "";
  $("problems").replaceChildren();
}

// Notices that every page shows.
function showProblems() {
  const { name, version, board, uptime_s, time_unix_s, config, reboot_due, services } = health;
  showName(name);
  setText($("about"), say("meterport {} on {}, up {}, {}", version, board, span(uptime_s), time_unix_s ? clock(time_unix_s) : translated("time not set")));
  const texts = [...config.errors];
  if (texts.length) texts.push(config.source === "partly" ? "The device runs by the rest of the file." : say("The device runs by the {} configuration.", translated(config.source)));
  for (const service of services) if (["failed", "no_room", "no_memory"].includes(service.state)) texts.push(`${service.name}: ${translated(words(service.state))}`);
  for (const { name } of services) if (health[name]?.conflict) texts.push(health[name].conflict);
  const fresh = el("div", { id: "problems", role: "region", "aria-label": "Notices" }, texts.length ? el("ul", { class: "bad" }, texts.map(text => el("li", null, text))) : null,
    reboot_due.length ? el("p", { class: "due" }, "A restart is due for: ", reboot_due.join(", ") + ". ",
      session.logged_in ? el("button", { type: "button", id: "restart" }, "Restart now") : null) : null);
  if (replace($("problems"), fresh) === fresh) $("restart")?.addEventListener("click", event => attempt(event, restartAsked));
}

// One round of questions; the next one follows, later and later while there is no answer, and not at all while nobody
// looks: then the device closes the connection.
async function round() {
  again = asking;
  if (asking || document.hidden) return;
  asking = true;
  const mine = page;
  try {
    if (!session) await askSession().then(show);
    else if (unshown) await show();
    if (mine) {
      await mine.refresh?.(); // first: values are waited for
      if (Date.now() - healthAt >= HEALTH_EVERY_MS) await refreshHealth();
    }
    if (!unshown) wait_ms = 0;
    if (!unshown) $("link").textContent = "";
  } catch (error) {
    failed(error);
  }
  asking = false;
  schedule(again ? 1 : wait_ms || page?.every_ms);
}

function schedule(ms) {
  clearTimeout(timer);
  if (ms && !document.hidden) timer = setTimeout(round, ms);
}
const wake = () => { if (asking) again = true; else schedule(1); };
const pausePolling = () => { page = null; schedule(0); };

function failed(error) {
  wait_ms = Math.min(Math.max(2 * wait_ms, 2000), LONGEST_WAIT_MS);
  if (isLeaving) return; // no fault
  if (error.status === 401 || error.status === 403) {
    session = null; // it has ended: ask what is the case
    page = null;
  } else {
    setText($("link"), say("no data: {}", translated(error.message)));
    if (!(error instanceof Refused || error instanceof Unanswered)) console.error(error); // a defect of this page
  }
}

addEventListener("hashchange", () => {
  notice("");
  loginWanted = false;
  scrollTo(0, 0);
  show().then(() => {
    // Announces the page to screen readers.
    const title = $("main").querySelector("h2");
    title?.setAttribute("tabindex", -1);
    title?.focus({ preventScroll: true });
  });
});
document.addEventListener("visibilitychange", () => document.hidden ? schedule(0) : round());
useLanguage(wantedLanguage()).then(show);
