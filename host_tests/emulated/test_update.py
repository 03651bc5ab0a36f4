"""An update by files on the emulated chip with an RP2350's RAM, whose image holds the firmware: what is refused, a
power cut while it comes and at its switch, a good one, beside a Modbus client that polls, and an image that is flashed
over it. One chip goes through all of it, in this order, and is a whole gateway after each."""

import hashlib
import random
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from host_tests import uf2_drive
from host_tests.system.packages import name_of_image, package
from host_tests.system.rig import HOST, METERS, Background, ModbusError
from tools import littlefs_files, update
from tools.device import rp2
from tools.device_api import ApiError, Device
from tools.emulator import build, emulated, image
from tools.emulator.variant import Variant

pytestmark = pytest.mark.timeout(900)

TCP_PCBS = Variant(frozen=True, ram_kib=520)
CONFIG = {"meters": list(METERS[:1])}
PASSWORD = "correct horse"
RP2040 = 0xE48BFF56
OLD, NEW = "0.1.0", "0.2.0"
ANSWER_S = 120
OUTAGE_S = 30  # of the chip's time
LATE_S = 10  # the same, between two answers while an update comes
KEPT_S = 400  # a minute of the chip's time, on a busy machine
PAUSE_S = 0.3  # between polls
TRY_S = 5  # for a connection, and for an answer
SAMPLES = 24  # of the power cuts while files are written
AROUND = 40  # flash operations on both sides of the switch: a cut in each
ROOT = Path(__file__).resolve().parent.parent.parent
CHOOSES = compile((ROOT / "main.py").read_text(encoding="utf-8"), "main.py", "exec")


class Uptimes(Background):
    """Polls version and uptime by Modbus, and connects again when the chip is gone.

    answers       [(version, uptime in s)]
    first_s       time of the chip between its reset and the first answer of NEW
    """

    def __init__(self, chip):
        super().__init__("poller")
        self.chip = chip
        self.answers = []
        self.first_s = None

    def work(self):
        while not self.stopping.wait(PAUSE_S):
            try:
                with self.chip.client(TRY_S) as client:
                    while not self.stopping.wait(PAUSE_S):
                        self.read(client)
            except (OSError, EOFError, ModbusError):
                pass  # connects again

    def read(self, client):
        major_minor, patch, uptime_s = struct.unpack(">HHI", client.read(255, 3, 2, 4))
        version = f"{major_minor >> 8}.{major_minor & 0xFF}.{patch}"
        if version == NEW and self.first_s is None:
            self.first_s = self.chip.emulator.statistics()["chip_s"]
        self.answers.append((version, uptime_s))

    def uptimes(self, version):
        return [uptime_s for one, uptime_s in list(self.answers) if one == version]


class Sent:
    """What a good update was: the flash before it and every operation on it, and how it was for the client."""

    def __init__(self, chip):
        self.before = chip.emulator.flash.read_bytes()
        begin = len(image.read_journal(chip.emulator.flash))
        with Uptimes(chip) as poller:
            poller.wait(lambda: poller.answers, ANSWER_S, "an answer")
            started_s = chip.emulator.statistics()["chip_s"] - poller.answers[-1][1]  # to a second
            with chip.device() as device:
                device.login(PASSWORD)
                update.send(device, package(), update.device_key(PASSWORD, device.session()))
            chip.emulator.wait_reset(1, ANSWER_S)
            poller.wait(lambda: poller.first_s, ANSWER_S, "an answer of the new version")
        uptimes = poller.uptimes(OLD)
        self.answers = len(uptimes)
        self.longest_s = max(after - before for before, after in zip(uptimes, uptimes[1:], strict=False))
        reset_s = chip.emulator.wait_event("reset")["chip_s"]
        self.outage_s = reset_s - started_s - uptimes[-1] + poller.first_s
        chip.emulator.wait_ready()
        self.operations = image.read_journal(chip.emulator.flash)[begin:]

    def cut(self, count, tear):
        """The flash when the power goes in the operation behind the first `count`."""
        flash = bytearray(self.before)
        for operation in self.operations[:count]:
            operation.apply(flash)
        if count < len(self.operations):
            self.operations[count].tear(flash, tear)
        return bytes(flash)


@pytest.fixture(scope="module")
def chip(shared_chip):
    """The shared chip, with a password."""
    with shared_chip.device() as device:
        device.set_password(PASSWORD)
    return shared_chip


@pytest.fixture(scope="module")
def sent(chip):
    """After a good update of the chip, which keeps a journal of its flash from here on."""
    chip.emulator.power_cut()
    image.keep_journal(chip.emulator.flash)
    chip.start()
    return Sent(chip)


@pytest.fixture
def starts(sent, tmp_path, monkeypatch):
    """starts(flash): the version that main.py starts from it. AssertionError when that is not whole."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree" / "a").mkdir(parents=True)
    main = {"__name__": "started by hand"}
    exec(CHOOSES, main)
    found_id, version = name_of_image(build.ensure_firmware(TCP_PCBS).read_bytes()).split(b" ", 1)
    monkeypatch.setitem(sys.modules, "image_id", SimpleNamespace(ID=found_id + b" "))
    monkeypatch.setattr(sys, "version", version.decode())
    config = littlefs_files.read(sent.before[image.STORAGE_AT :])["data/config.json"]

    def found(flash):
        files = littlefs_files.read(flash[image.STORAGE_AT :])
        assert files["data/config.json"] == config
        for name in ("tree/use", "tree/a/image"):
            Path(name).unlink(missing_ok=True)
            if name in files:
                Path(name).write_bytes(files[name])
        folder, goes_back = main["_choose_tree"]()
        assert not goes_back
        if not folder:
            return OLD
        for line in files[f"{folder}/manifest"].decode().splitlines():
            digest, size, path = line.split(" ")
            body = files[f"{folder}/{path}"]
            assert (hashlib.sha256(body).hexdigest(), len(body)) == (digest, int(size)), path
        return NEW

    return found


def assert_runs(chip, version):
    chip.wait_polled()
    assert chip.get("/api/status")["version"] == version


def test_what_is_too_large_or_tampered_with_is_refused_and_the_old_one_runs_on(chip):
    with chip.device() as device:
        device.login(PASSWORD)
        key = update.device_key(PASSWORD, device.session())
        large = update.Package(NEW, {"firmware/x": bytes(1 << 20)})
        with pytest.raises(ApiError, match="total"):
            update.send(device, large, key)
        with pytest.raises(ApiError, match="mac"):
            update.send(device, package(), b"another key")
        changed = package()
        at = len(changed.manifest) + 9000
        changed.data = changed.data[:at] + bytes([changed.data[at] ^ 1]) + changed.data[at + 1 :]
        with pytest.raises(ApiError, match="a file is not what the manifest says"):
            update.send(device, changed, key)
        with pytest.raises(ApiError) as caught:
            device.post("/api/update", {"step": "switch"})
        assert caught.value.status == 409
    assert chip.emulator.resets == 0
    assert_runs(chip, OLD)


def test_after_a_power_cut_while_it_comes_the_old_one_runs(chip):
    class Cut(Exception):
        pass

    def cut(done, total):
        if done > total // 5:
            raise Cut

    with chip.device() as device:
        device.login(PASSWORD)
        with pytest.raises(Cut):
            update.send(device, package(), update.device_key(PASSWORD, device.session()), tell=cut)
        chip.emulator.power_cut()
    assert "tree/a/manifest" in image.read(chip.emulator.flash)
    chip.start()
    assert_runs(chip, OLD)


def test_a_good_one_runs_and_who_polls_is_served_until_its_switch_and_within_half_a_minute(chip, sent):
    print(f"between two answers: {sent.longest_s} s while it came, {sent.outage_s:.1f} s at the switch, of the chip")
    assert_runs(chip, NEW)
    assert chip.emulator.resets == 1
    assert sent.answers > 20
    assert sent.longest_s <= LATE_S
    assert sent.outage_s <= OUTAGE_S


def deciding(sent, starts):
    """The operation on the flash that makes the new one run."""
    low, high = 0, len(sent.operations)
    assert [starts(sent.cut(count, "nothing")) for count in (low, high)] == [OLD, NEW]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if starts(sent.cut(middle, "nothing")) == NEW else (middle, high)
    return low


def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new(sent, starts):
    decides = deciding(sent, starts)
    rng = random.Random(1)
    early = sorted(rng.sample(range(decides - AROUND), SAMPLES))
    assert [starts(sent.cut(count, rng.choice(image.TEARS))) for count in early] == [OLD] * SAMPLES
    for tear in image.TEARS:
        around = range(decides - AROUND, min(decides + AROUND, len(sent.operations)) + 1)
        names = [starts(sent.cut(count, tear)) for count in around]
        assert names == sorted(names)  # once it is the new one it stays
        assert set(names) == {OLD, NEW}


def test_the_old_one_starts_after_a_cut_in_the_operation_that_decides(sent, starts, tmp_path):
    chip = emulated.Emulator(tmp_path / "chip", ports={"http": 0, "modbus": 0})
    chip.folder.mkdir()
    chip.flash.write_bytes(sent.cut(deciding(sent, starts), "bits"))
    with chip:
        chip.wait_ready()
        with Device(HOST, chip.ports["http"], ANSWER_S) as device:
            assert device.get("/api/status")["version"] == OLD


def test_it_is_kept_after_a_minute(chip, sent):
    chip.emulator.wait_line("the update is kept", KEPT_S)
    chip.emulator.power_cut()
    assert image.read(chip.emulator.flash)["tree/use"] == b"a a 0"


def test_an_image_that_is_flashed_later_runs_and_the_update_goes_out_of_use(chip, sent):
    program = build.ensure_firmware(TCP_PCBS).read_bytes()
    name = name_of_image(program)
    assert image.read(chip.emulator.flash)["tree/a/image"] == name
    within = name.split(b" ")[0]
    program = program.replace(within, within[::-1])
    pages = range(0, len(program), uf2_drive.PAGE)
    pieces = [(uf2_drive.FLASH + at, program[at : at + uf2_drive.PAGE].ljust(uf2_drive.PAGE, b"\0")) for at in pages]
    flash = bytearray(chip.emulator.flash.read_bytes())
    uf2_drive.copy(rp2.make_uf2(pieces, RP2040), flash, RP2040)
    chip.emulator.flash.write_bytes(flash)
    chip.start()
    assert_runs(chip, OLD)
    chip.emulator.wait_line("the update from before it is not used any more", KEPT_S)
    chip.emulator.power_cut()
    assert image.read(chip.emulator.flash)["tree/use"] == b"- - 0"
