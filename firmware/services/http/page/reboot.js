// Restarting the device, and coming back to it.

const FIRST_LOOK_MS = 1500, LONGEST_PAUSE_MS = 8000, LOOK_MS = 3000;

const untilVisible = () => new Promise(resolve => {
  if (!document.hidden) return resolve();
  document.addEventListener("visibilitychange", function seen() {
    if (document.hidden) return;
    document.removeEventListener("visibilitychange", seen);
    resolve();
  });
});

// Sends the command that restarts, then asks until the device is there again: its sessions have ended with it.
async function restart(path, body) {
  await ask("POST", path, body);
  pausePolling();
  Object.assign(draft, { loaded: false, now: {}, saved: {} });
  showChanges();
  const dialog = $("dialog"), said = el("span");
  dialog.replaceChildren(el("p", { id: "question", role: "status" }, "The device restarts. This page comes back by itself; then log in again. ", said));
  dialog.oncancel = event => event.preventDefault();
  dialog.showModal();
  const begun = Date.now();
  for (let pause = FIRST_LOOK_MS; ; pause = Math.min(1.5 * pause, LONGEST_PAUSE_MS)) {
    await sleep(pause);
    await untilVisible();
    said.textContent = `${Math.round((Date.now() - begun) / 1000)} s`;
    if (Date.now() - begun > 60000) said.textContent += ". " + translated("Has it got another address or port?");
    try {
      await askSession(LOOK_MS);
    } catch {
      continue;
    }
    if (!session.logged_in) break;
  }
  dialog.oncancel = null;
  dialog.close();
  forgetHealth();
  trends.ids = null;
  trends.known.clear();
  notice("The device has restarted.");
  show();
}

async function restartAsked() {
  if (isChanged() && !await confirmed("There are changes that are not saved. Restart without them?", "Restart")) return;
  await restart("api/reboot");
}
