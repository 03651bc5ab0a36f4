// Sockets are scarce here: one request at a time, so that one kept-alive connection does for all of a page.

class Refused extends Error {
  // An answer with a status of 400 or more; `fields` are what is wrong with which: [{field, text}].
  constructor(status, body) {
    const fields = body.errors || [];
    super([body.error || say("the device answers {}", status), ...fields.map(one => `${one.field}: ${one.text}`)].join("; "));
    this.status = status;
    this.fields = fields;
  }
}

// There was no answer, or not all of it.
class Unanswered extends Error {}

// How often a page asks on which little happens by itself: longer than the device keeps a connection that is idle.
const SELDOM_MS = 20000;

// How long a save may take: longer than the device waits for its buses.
const SAVE_MS = 30000;

let lastRequest = Promise.resolve();

// The JSON that answers, in its turn. Throws Refused or Unanswered.
function ask(method, path, body, limit_ms = 10000) {
  const turn = lastRequest.then(() => send(method, path, body, limit_ms));
  lastRequest = turn.catch(() => {});
  return turn;
}

// Scripts of the folder page/parts, which fill in a page of PAGES once it is opened; each is asked for in its turn, too.
const loadedParts = new Map();

function loadPart(name) {
  if (!loadedParts.has(name)) {
    const turn = lastRequest.then(() => new Promise((resolve, reject) => {
      document.head.append(el("script", { src: `page/${name}.js`, onload: resolve, onerror() {
        loadedParts.delete(name);
        reject(new Unanswered("the device does not answer"));
      } }));
    }));
    lastRequest = turn.catch(() => {});
    loadedParts.set(name, turn);
  }
  return loadedParts.get(name);
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
// The session is being ended. What a page that is still being read would ask behind that has no right to an answer.
let isLeaving = false;
const get = path => isLeaving ? Promise.reject(new Unanswered("the session ends")) : ask("GET", path);

async function send(method, path, body, limit_ms) {
  let response, text, answer = {};
  try {
    response = await fetch(path, {
      method,
      // No page of another site can send this header without asking first.
      headers: method === "GET" ? {} : { "X-Meterport": "1" },
      body: body instanceof Blob ? body : body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(limit_ms),
    });
    text = await response.text();
  } catch {
    throw new Unanswered("the device does not answer");
  }
  try {
    answer = JSON.parse(text);
  } catch {
    if (response.ok) throw new Unanswered("the device's answer was cut short");
  }
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}
