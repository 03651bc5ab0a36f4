// Posting: what goes where and when, what the server said, and how it is to be.

const POSTED_MS = 2000; // within which most posts are over
// Of each state its text, and the class of that.
const POSTING_STATES = { waiting: ["Waiting for its time", "good"], posting: ["Posting now", "good"], no_link: ["No network", "bad"], no_time: ["Time unknown", "due"], retrying: ["Trying again", "due"], refused: ["Refused by the server", "bad"] };

Object.assign(PAGES.posting, {
  every_ms: SELDOM_MS,
  show(main) {
    const [at, login, password, tls, authorities, pin, template] = [["url", "format", "interval_s"], ["auth", "user"], [], ["trust"], ["ca_file"], ["pin_sha256"], ["template"]]
      .map(keys => el("div", { class: "fields" }, keys.map(key => field("posting." + key, { onchange: () => arrange() }))));
    authorities.append(authoritiesField("posting", () => PAGES.posting.refresh()));
    password.append(...[secretField("posting.password", "None")].filter(Boolean));
    const unchecked = el("p", { class: "bad" }, "The server's certificate is not checked: everybody on the way can read and change what is posted.");
    const arrange = () => {
      const isHttps = /^https:/.test(valueAt("posting.url")), trust = valueAt("posting.trust");
      password.hidden = valueAt("posting.auth") === "none";
      tls.hidden = !isHttps;
      authorities.hidden = !isHttps || trust !== "ca";
      pin.hidden = !isHttps || trust !== "pin";
      unchecked.hidden = !isHttps || trust !== "none";
      template.hidden = valueAt("posting.format") !== "template";
    };
    arrange();
    this.now = el("div");
    main.append(card("Posting now", this.now, el("div", { class: "actions" }, button("Post now", event => attempt(event, postNow)))),
      serviceCard("posting", at, login, password, tls, authorities, pin, unchecked, template, el("div", { class: "fields" }, field("posting.headers")),
        dim("It counts from the next restart on. Without an address nothing is posted. Records are kept for later where the history is on flash (System).")));
    return this.refresh();
  },
  async refresh() {
    this.now = replace(this.now, postingNow(await get("api/posting")));
  },
});

async function postNow() {
  await ask("POST", "api/posting", {});
  await sleep(POSTED_MS);
  await PAGES.posting.refresh();
}

function postingNow(now) {
  if (!now) return el("div", null, dim("Nothing is posted: the service is off, or has had no address since the last restart."));
  const [state, kind] = POSTING_STATES[now.state] || [capital(words(now.state)), "dim"];
  const facts = {
    To: say("{} as {}, every {}", now.host, words(now.format), span(now.interval_s)),
    "Next time": now.next_s === null ? "not known" : say("in {}", span(now.next_s)),
    "Last answer": now.last ? `${now.last.status} ${now.last.answer.trim()} (${clock(now.last.unix_s)})` : "none yet",
    "Records waiting": now.is_kept ? now.waiting : "none are kept: only present readings are posted",
    "Delivered since the start": say("{} in {}, {}", plural(now.delivered, "record"), plural(now.posts, "request"), plural(now.failures, "failure")),
    "Set aside, refused by the server": now.set_aside, "Lost for want of room": now.lost,
  };
  if (now.undated) facts["Without a time"] = now.undated;
  if (now.tls_stall_ms !== null) {
    facts["Certificates of authorities"] = now.ca_bytes === null ? "no file" : say("{} bytes", now.ca_bytes);
    facts["Longest step of a TLS handshake"] = now.tls_stall_ms + " ms";
  }
  const refused = now.refused.map(one => [clock(one.unix_s), one.status, one.answer]);
  return el("div", null, el("p", { class: kind }, translated(state) + (now.error ? ": " + now.error : "")), factList(facts),
    refused.length ? table(["record of", ">status", "answer"], refused) : null);
}
