"""An update over the network on real MicroPython: whatever comes, the gateway that runs afterwards is a whole one."""

import contextlib
import json
import os
import subprocess
import threading
import time

import pytest

from host_tests.system.packages import package
from host_tests.system.rig import HOST, wait_for
from tools import gateway, update
from tools.device_api import ApiError, Device

PASSWORD = "correct horse"
PICO_2_W_HEAP = "440K"
OUTAGE_S = 30
KEPT_S = 60  # of uptime
PATIENCE_S = 60  # of a busy machine on top
STALL_S = 5  # below the watchdog's 8.388 s; where nothing else runs it is a tenth of a second
# In place of firmware/app.py
CRASHES = b"def run(board, failed_starts=0):\n    board.crashed(ValueError('a fault of this test'))\n"
HANGS = b"print('hangs')\ndef run(board, failed_starts=0):\n    while True:\n        pass\n"
NOT_IMPORTED = b"raise ValueError('a fault of this test')\n"
NO_SERVICE = b"class NtpClient:\n    def __init__(self, *given):\n        raise OSError(5)\n"


class Updated:
    """A rig whose modules are files, with a password, and a session."""

    def __init__(self, rig):
        self.rig = rig
        self.device = Device(HOST, rig.http_port)
        self.device.set_password(PASSWORD)
        self.device.login(PASSWORD)
        self.key = update.device_key(PASSWORD, self.device.session())

    def send(self, sent, **options):
        update.send(self.device, sent, self.key, **options)
        self.device.close()

    @property
    def version(self):
        return self.rig.status()["version"]

    def use(self):
        """What tree/use says; None without one."""
        path = self.rig.folder / "tree" / "use"
        return path.read_text() if path.exists() else None

    def assert_whole(self, version):
        self.rig.gateway.wait_ready()
        self.rig.wait_polled()
        assert self.version == version


@pytest.fixture
def make_updated(make_rig):
    """make_updated(**options): the options are Rig's."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            found = Updated(make_rig(**options))
            stack.callback(found.device.close)
            return found

        yield make


@pytest.fixture
def updated(make_updated):
    return make_updated(frozen=False, heap=PICO_2_W_HEAP)


class SteadyPoller(threading.Thread):
    """Polls by Modbus, on a new connection when the last one has ended. `longest_s`: between two answers."""

    def __init__(self, rig):
        super().__init__(daemon=True)
        self._rig, self._ends = rig, threading.Event()
        self.longest_s = 0
        self.answers = 0

    def run(self):
        last = time.monotonic()
        while not self._ends.is_set():
            try:
                with self._rig.client() as client:
                    while not self._ends.is_set():
                        client.read(255, 3, 0, 1)
                        now = time.monotonic()
                        self.longest_s, last = max(self.longest_s, now - last), now
                        self.answers += 1
                        self._ends.wait(0.05)
            except (OSError, EOFError):
                self._ends.wait(0.1)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self._ends.set()
        self.join()


def test_a_good_update_is_tried_and_kept_and_pollers_hardly_notice(updated):
    rig = updated.rig
    rig.wait_polled()
    with SteadyPoller(rig) as poller:
        update.send(updated.device, package(), updated.key)
        before_s = poller.longest_s
        updated.device.close()
        rig.gateway.wait_reboots(1)
        updated.assert_whole("0.2.0")
        assert updated.use() == "- a 1"
        wait_for(
            lambda: "the update is kept" in str(rig.status()["events"]), KEPT_S + PATIENCE_S, "the end of the trial"
        )
    print(f"between two answers: {before_s:.2f} s while it came, {poller.longest_s:.2f} s at the switch")
    assert before_s < STALL_S
    assert poller.longest_s < OUTAGE_S
    assert poller.answers > 100
    assert updated.use() == "a a 0"
    rig.gateway.kill()
    rig.gateway.start()
    updated.assert_whole("0.2.0")


def test_an_update_without_all_its_services_is_taken_back_after_a_minute(updated):
    rig = updated.rig
    updated.send(package({"firmware/services/ntp/client": NO_SERVICE}))
    rig.gateway.wait_reboots(1)
    updated.assert_whole("0.2.0")
    rig.gateway.wait_reboots(2, KEPT_S + PATIENCE_S)
    updated.assert_whole("0.1.0")
    assert updated.use() == "- - 0"
    assert "the last update was taken back: ntp failed" in str(rig.status()["events"])


@pytest.mark.parametrize("app", [CRASHES, HANGS], ids=["crashes", "hangs"])
def test_an_update_that_does_not_run_is_taken_back_after_three_starts(updated, app):
    rig = updated.rig
    updated.send(package({"firmware/app": app}))
    rig.gateway.wait_reboots(1)
    for start in range(3):
        if start:
            rig.gateway.start()
        if app is HANGS:  # a development machine has no watchdog
            wait_for(lambda start=start: list(rig.gateway.lines).count("hangs") > start, 30, "the hang")
            rig.gateway.kill()
        else:
            assert rig.gateway.wait_exit(30) == 1
    rig.gateway.start()
    updated.assert_whole("0.1.0")
    assert updated.use() == "- - 0"
    assert "taken back: it did not run for a minute in 3 starts" in str(rig.status()["events"])
    rig.gateway.lines.clear()  # the tracebacks of this test are no findings


def test_an_update_that_cannot_be_imported_is_given_up_within_its_first_start(updated):
    rig = updated.rig
    updated.send(package({"firmware/app": NOT_IMPORTED}))
    rig.gateway.wait_reboots(1)
    updated.assert_whole("0.1.0")
    assert updated.use() == "- - 0"
    assert "taken back: it cannot be imported: ValueError" in str(rig.status()["events"])


def test_a_tampered_update_is_refused_and_the_next_one_is_taken(updated):
    rig = updated.rig
    good = package()
    sent = package()
    sent.data = sent.data[:-5000] + bytes([sent.data[-5000] ^ 1]) + sent.data[-4999:]
    with pytest.raises(ApiError) as caught:
        updated.send(sent)
    assert caught.value.status == 422
    assert updated.version == "0.1.0"
    assert updated.use() is None
    with pytest.raises(ApiError) as caught:
        updated.device.post("/api/update", {"step": "begin", **good.fields(b"another key", False)})
    assert caught.value.status == 422
    with pytest.raises(ApiError) as caught:
        updated.device.post("/api/update", {"step": "switch"})
    assert caught.value.status == 409
    updated.send(good)
    rig.gateway.wait_reboots(1)
    updated.assert_whole("0.2.0")


def test_an_update_that_is_cut_off_by_the_power_is_begun_again(updated):
    rig = updated.rig
    good = package()

    class Cut(Exception):
        pass

    def cut(done, total):
        if done > total // 2:
            raise Cut

    with pytest.raises(Cut):
        updated.send(good, tell=cut)
    updated.device.close()
    rig.gateway.kill()
    rig.gateway.start()
    updated.assert_whole("0.1.0")
    updated.device.login(PASSWORD)
    updated.send(good)
    rig.gateway.wait_reboots(1)
    updated.assert_whole("0.2.0")


def test_what_is_too_large_or_older_or_from_nobody_is_refused_by_its_head(updated):
    device = updated.device
    for refused, said in (
        (update.Package("0.2.0", {"firmware/x": bytes(1 << 20)}), "total"),
        (package(version="0.1.0"), "not newer"),
        (package(version="0.0.9"), "not newer"),
    ):
        with pytest.raises(ApiError, match=said):
            device.post("/api/update", {"step": "begin", **refused.fields(updated.key, False)})
    stranger = Device(HOST, updated.rig.http_port)
    for method, body in (("POST", {"step": "switch"}), ("PUT", b"x"), ("GET", None), ("DELETE", None)):
        with pytest.raises(ApiError) as caught:
            stranger.call(method, "/api/update", body)
        assert caught.value.status == 403
    stranger.close()
    device.close()
    assert not (updated.rig.folder / "tree").exists()


def test_a_board_whose_firmware_lies_in_flash_says_that_files_have_no_room(make_updated):
    updated = make_updated(frozen=True, heap="150K")
    with pytest.raises(ApiError, match="no memory for files") as caught:
        updated.send(package())
    assert caught.value.status == 409


def test_beside_an_image_an_update_runs_until_another_image_is_flashed(make_updated):
    updated = make_updated(frozen=True, heap=PICO_2_W_HEAP)
    rig = updated.rig
    updated.send(package())
    rig.gateway.wait_reboots(1)
    updated.assert_whole("0.2.0")
    beside = rig.folder / "tree" / "a" / "image"
    assert b"MicroPython" in beside.read_bytes()
    rig.gateway.kill()
    beside.write_bytes(b"0123456789abcdef " + beside.read_bytes()[17:])
    rig.gateway.start()
    updated.assert_whole("0.1.0")


def run_meterport(*words):
    """The finished process of this command line."""
    return subprocess.run(
        [gateway.ROOT / "tools" / "meterport", *words],
        env={**os.environ, "METERPORT_PASSWORD": PASSWORD}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def run_update(sent, rigs, *options):
    """`meterport update` of these gateways by a package: the document that it prints, and what it ends with."""
    places = [word for one in rigs for word in ("-g", f"{HOST}:{one.rig.http_port}:{one.rig.modbus_port}")]
    done = run_meterport("update", sent, "--json", *options, *places)
    return list(json.loads(done.stdout).values()), done.returncode


def test_a_fleet_is_updated_behind_its_canary_and_who_refuses_is_named(make_updated, tmp_path):
    rigs = [make_updated(frozen=False, heap=PICO_2_W_HEAP) for _ in range(2)]
    rigs.append(make_updated(frozen=True, heap="150K"))
    sent = tmp_path / "new.package"
    package().write(sent)
    [canary, second, refuses], code = run_update(sent, rigs, "--no-wait")
    assert code == 1
    assert canary == "0.1.0 -> 0.2.0"  # and not on trial any more
    assert second == "0.1.0 -> 0.2.0, on trial"
    assert "no memory for files" in refuses["error"]
    rigs[1].rig.gateway.wait_reboots(1, 30)
    for one in rigs[:2]:
        one.assert_whole("0.2.0")


def test_with_a_release_key_only_packages_that_are_signed_by_it_are_taken(updated, tmp_path):
    rig = updated.rig
    place = f"{HOST}:{rig.http_port}:{rig.modbus_port}"
    sent, ours, anothers = tmp_path / "new.package", tmp_path / "release.pem", tmp_path / "another.pem"
    public = run_meterport("release-key", ours).stdout.strip()
    for words in (("config", "set", "system.release_key", public), ("reboot",)):
        done = run_meterport(*words, "-g", place)
        assert done.returncode == 0, done.stderr
    package().write(sent)
    for key in (None, anothers):
        if key is not None:
            made = package()
            made.sign(update.release_key(key))
            made.write(sent)
        [refused], code = run_update(sent, [updated])
        assert (code, "not of the key that system.release_key has" in refused["error"]) == (1, True)
        assert updated.use() is None
    made = package()
    made.sign(update.release_key(ours))
    made.write(sent)
    [outcome], code = run_update(sent, [updated], "--no-wait")
    assert (outcome, code) == ("0.1.0 -> 0.2.0, on trial", 0)
    rig.gateway.wait_reboots(2)
    updated.assert_whole("0.2.0")


def test_a_canary_that_goes_back_keeps_the_update_from_the_others(make_updated, tmp_path):
    rigs = [make_updated(frozen=False, heap=PICO_2_W_HEAP) for _ in range(2)]
    sent = tmp_path / "new.package"
    package({"firmware/services/ntp/client": NO_SERVICE}).write(sent)
    [canary, second], code = run_update(sent, rigs)
    assert code == 1
    assert "0.2.0 did not run well: it is 0.1.0 again (ntp failed)" in canary["error"]
    assert second == {"error": "not begun: 1 failed before"}
    assert rigs[1].rig.gateway.reboots == 0
    for one in rigs:
        one.assert_whole("0.1.0")
