// Update of the firmware by a file that `meterport package` has made: sent in pieces, each a request of its own.

const UPDATE_HEAD = "meterport update 1\n", PIECE_BYTES = 4096;

// What a package is: its first two lines say it, `begins` is where the manifest begins. Throws when it is none, or cut.
async function packageOf(file) {
  const head = await file.slice(0, 512).text();
  const [line, second] = head.startsWith(UPDATE_HEAD) ? head.slice(UPDATE_HEAD.length).split("\n") : [""];
  const found = line.match(/^(files|image) (\S+) (\d+) ([0-9a-f]{64}) (\d+)$/);
  if (!found) throw new Error("This file is not a package of the firmware: meterport package makes one.");
  const [, kind, version, manifest, digest, total] = found, signature = second.match(/^signature ([0-9a-f]{128})$/)?.[1];
  const begins = UPDATE_HEAD.length + line.length + 1 + (signature ? second.length + 1 : 0);
  if (file.size !== begins + Number(total)) throw new Error("This package is cut short.");
  return { kind, version, manifest: Number(manifest), digest, total: Number(total), signature, line, begins };
}

// Sends a package until the device has verified all of it. `tell(done)` hears of each piece.
async function sendPackage(file, found, password, older, tell) {
  await askSession();
  const key = hmac(keysOf(password, session.salt, session.iterations).server, utf8("meterport update"));
  const { kind, version, manifest, digest, total, signature, line, begins } = found;
  const mac = hex(hmac(key, utf8(UPDATE_HEAD + line + (older ? " 1" : " 0"))));
  const begin = { step: "begin", kind, version, manifest, digest, total, older, mac, signature };
  while (!(await ask("POST", "api/update", begin, SAVE_MS)).ready);
  for (let at = 0; at < total;) {
    const piece = file.slice(begins + at, begins + Math.min(at + PIECE_BYTES, total));
    at = (await ask("PUT", "api/update?at=" + at, piece, SAVE_MS)).received;
    tell(at);
  }
  while (!(await ask("POST", "api/update", { step: "verify" }, SAVE_MS)).done);
}

// The part of the card that is shown once the device has said what it takes.
async function updateParts() {
  const { version, takes, failed } = await get("api/update");
  return [dim(say("It runs meterport {}.", version)), failed ? el("p", { class: "bad" }, say("The last update was taken back: {}", failed)) : null,
    dim(UPDATE_NEEDS[takes]), takes ? updateForm() : null];
}

const UPDATE_NEEDS = {
  files: "This device takes a package of files.", image: "This device takes a package with an image.",
  "": "This device runs its firmware from flash and takes a new image by its cable only.",
};

function updateForm() {
  const file = el("input", { type: "file", id: "package", required: true }), older = el("input", { type: "checkbox", role: "switch", id: "older" });
  const [field, password] = passwordField("Password of this page", "update-password", "current-password");
  const progress = el("progress", { value: 0, max: 1, hidden: true, "aria-label": "Sent" });
  return el("form", { onsubmit: event => attempt(event, async () => {
    const chosen = file.files[0], found = await packageOf(chosen);
    progress.hidden = false;
    try {
      await sendPackage(chosen, found, password.value, older.checked, done => { progress.value = done / found.total; });
    } catch (error) {
      if (error.fields?.some(one => one.field === "mac")) throw new Error("The password is not this device's, or the package was changed on the way.");
      throw error;
    } finally {
      progress.hidden = true;
      password.value = "";
    }
    await restart("api/update", { step: "switch" });
    notice(say("meterport {} is on trial: after a minute it is kept, or the one before runs again.", found.version));
  }) }, userName(), el("div", { class: "fields" }, el("div", { class: "field" }, el("label", { for: "package" }, "Package"), file), field,
    el("div", { class: "field" }, el("label", { for: "older" }, "Also when it is not newer"), older)),
    progress, el("div", { class: "actions" }, el("button", null, "Send and restart")));
}
