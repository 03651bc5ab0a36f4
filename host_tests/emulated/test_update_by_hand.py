"""Two signed updates in a row on the emulated chip with an RP2350's RAM, which has the key of releases, as somebody
makes them: by the page in Chromium, then by `meterport update`, which writes the other tree. And one without signature.
"""

import contextlib
import json
import os
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.sync_api import expect

from host_tests.browser.visit import PASSWORD, Visit
from host_tests.system.packages import package
from host_tests.system.rig import HOST, METERS, wait_for
from tools import gateway
from tools.chromium import chromium
from tools.emulator import image
from tools.emulator.variant import Variant

pytestmark = pytest.mark.timeout(2400)  # both updates take five minutes on an idle machine

TCP_PCBS = Variant(frozen=True, ram_kib=520)
RELEASE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CONFIG = {
    "meters": list(METERS[:1]),
    "system": {"release_key": RELEASE.public_key().public_bytes_raw().hex()},
}
ANSWER_MS = 60_000  # the chip runs slower than real time
SENT_MS = 900_000
KEPT_S = 600  # a minute of the chip's time, on a busy machine


@pytest.fixture
def packages(tmp_path):
    """Files of three versions, each newer than the one before; the last one is not signed."""
    made = package(), package(version="0.3.0"), package(version="0.4.0")
    paths = [tmp_path / f"meterport-{one.version}.package" for one in made]
    for one, path in zip(made, paths, strict=True):
        if one is not made[-1]:
            one.sign(RELEASE)
        one.write(path)
    return paths


def update_by_page(chip, file):
    """Sets the password, sends the file from the System page, and waits until the page has found the new version."""
    address = f"http://{HOST}:{chip.emulator.ports['http']}/"
    with chromium() as browser, contextlib.closing(Visit(browser, None, address=address)) as visit:
        page = visit.page
        page.set_default_timeout(ANSWER_MS)
        visit.open("system")
        page.get_by_label("New password").fill(PASSWORD)
        page.get_by_label("The same once more").fill(PASSWORD)
        visit.press("Set password")
        visit.press("Update the firmware")
        page.get_by_label("Package").set_input_files(file)
        page.get_by_label("Password of this page").fill(PASSWORD)
        visit.press("Send and restart")
        expect(page.get_by_role("dialog")).to_contain_text("comes back by itself", timeout=SENT_MS)
        expect(page.locator("#notice")).to_contain_text("meterport 0.2.0 is on trial", timeout=SENT_MS)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        visit.press("Log in")
        expect(page.get_by_role("main")).to_contain_text("meterport 0.2.0", timeout=ANSWER_MS)
        visit.excuse("GET /api/session", 0)  # nobody answered meanwhile


def update_by_command(chip, file):
    """What `meterport update` prints for this chip, and what it ends with."""
    ports = chip.emulator.ports
    done = subprocess.run(
        [gateway.ROOT / "tools" / "meterport", "update", file, "--json", "--no-wait", "--timeout", "60",
         "-g", f"{HOST}:{ports['http']}:{ports['modbus']}"],
        env={**os.environ, "METERPORT_PASSWORD": PASSWORD}, capture_output=True, text=True, timeout=SENT_MS / 1000,
        check=False,
    )  # fmt: skip
    [outcome] = json.loads(done.stdout).values()
    return outcome, done.returncode


def wait_kept(chip, count):
    """Waits until so many updates have been kept."""
    wait_for(lambda: sum("the update is kept" in line for line in list(chip.emulator.lines)) == count, KEPT_S)


def test_the_page_and_then_the_command_line_bring_a_newer_version_each(chip, packages):
    update_by_page(chip, packages[0])
    wait_kept(chip, 1)
    assert chip.get("/api/status")["version"] == "0.2.0"
    assert update_by_command(chip, packages[1]) == ("0.2.0 -> 0.3.0, on trial", 0)
    wait_kept(chip, 2)
    chip.wait_polled()
    assert chip.get("/api/status")["version"] == "0.3.0"
    assert chip.emulator.resets == 2
    outcome, code = update_by_command(chip, packages[2])
    assert (code, "not of the key that system.release_key has" in outcome["error"]) == (1, True)
    chip.emulator.power_cut()
    assert image.read(chip.emulator.flash)["tree/use"] == b"b b 0"
