// Logging in without ever sending the password: SCRAM-SHA-256 (RFC 5802, RFC 7677) with a short authentication message.

// What GET /api/session said last; null before.
let session = null;

const utf8 = text => new TextEncoder().encode(text);
const hex = bytes => Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
const unhex = text => Uint8Array.from(text.match(/../g) || [], pair => parseInt(pair, 16));
const xor = (a, b) => a.map((byte, i) => byte ^ b[i]);
const randomHex = () => hex(crypto.getRandomValues(new Uint8Array(16)));

const FEWEST_ITERATIONS = 4096, MOST_ITERATIONS = 65536;

// The keys of a password. Throws when the iterations asked for would make guessing cheap, or keep a phone busy for long.
function keysOf(password, salt, iterations) {
  if (!(iterations >= FEWEST_ITERATIONS && iterations <= MOST_ITERATIONS)) throw new Error(say("the device asks for {} iterations; no password was used", iterations));
  const salted = pbkdf2(utf8(password.normalize("NFC")), unhex(salt), iterations);
  const client = hmac(salted, utf8("Client Key"));
  return { client, stored: sha256(client), server: hmac(salted, utf8("Server Key")) };
}

// The members of a request that prove the password, and the signature by which the device proves that it has its keys.
function proofOf(keys, nonce) {
  const client_nonce = randomHex(), message = utf8(client_nonce + "," + nonce);
  return {
    fields: { client_nonce, nonce, proof: hex(xor(keys.client, hmac(keys.stored, message))) },
    signature: hex(hmac(keys.server, message)),
  };
}

async function askSession(limit_ms) {
  session = await ask("GET", "api/session", null, limit_ms);
}

async function logIn(password) {
  await askSession();
  if (session.wait_s) throw new Error(say("too many attempts: wait {}", span(Math.ceil(session.wait_s))));
  const { fields, signature } = proofOf(keysOf(password, session.salt, session.iterations), session.nonce);
  const answer = await ask("POST", "api/login", fields);
  if (answer.signature !== signature) throw new Error("this device does not know your password: it may be another one in its place");
  session.logged_in = true;
}

// Sets a password: the first one, or with `old` another one.
async function setPassword(password, old) {
  await askSession();
  const salt = randomHex(), iterations = FEWEST_ITERATIONS;
  const keys = keysOf(password, salt, iterations);
  const body = { salt, iterations, stored_key: hex(keys.stored), server_key: hex(keys.server) };
  if (old != null) Object.assign(body, proofOf(keysOf(old, session.salt, session.iterations), session.nonce).fields);
  await ask("POST", "api/password", body);
}

const passwordField = (label, name, autocomplete) => {
  const input = el("input", { type: "password", id: name, autocomplete, required: true, minlength: autocomplete === "new-password" ? 8 : null });
  return [el("div", { class: "field" }, el("label", { for: name }, label), input), input];
};

// Of a form for password managers: they want a user's name.
const userName = () => el("input", { type: "text", autocomplete: "username", value: "admin", hidden: true });

function loginView(main) {
  const [field, input] = passwordField("Password", "password", "current-password");
  const submit = event => attempt(event, async () => {
    try {
      await logIn(input.value);
    } catch (error) {
      input.value = "";
      input.focus();
      throw error;
    }
    notice("");
    show();
  });
  main.append(el("section", { class: "narrow" }, el("h2", null, "Log in"),
    el("form", { onsubmit: submit }, userName(), field, el("div", { class: "actions" }, el("button", null, "Log in"))),
    dim("The password itself is not sent: the page proves that it knows it.")));
  input.focus();
}

// Two fields for a new password, checked against each other.
function newPassword() {
  const [first, input] = passwordField("New password (8 characters or more)", "new-password", "new-password");
  const [second, again] = passwordField("The same once more", "repeat-password", "new-password");
  const check = () => again.setCustomValidity(again.value === input.value ? "" : translated("This is not the same password."));
  for (const one of [input, again]) one.addEventListener("input", check);
  return { fields: [first, second], value: () => input.value, clear: () => { input.value = again.value = ""; } };
}

function setupView(main) {
  const wanted = newPassword();
  const submit = event => attempt(event, async () => {
    await setPassword(wanted.value());
    await logIn(wanted.value());
    notice("The password is set.");
    // A device without a meter is new: its set-up goes on.
    if (!(await get("api/config")).meters?.length && addressed()[0] === "status") location.hash = "#/setup";
    else show();
  });
  main.append(el("section", { class: "narrow" }, el("h2", null, "Choose a password"),
    el("p", null, "This device has no password yet. Until it has one, nothing can be changed."),
    el("form", { onsubmit: submit }, userName(), wanted.fields, el("div", { class: "actions" }, el("button", null, "Set password")))));
}
