"""A configuration that is saved while the power fails comes back as the old or as the new one: whole, and never none.

The firmware's own code saves on the chip, to a littlefs in the chip's flash. Two ways to cut the power:
* at every single operation on the flash, each torn in three ways, from the journal that the machine keeps of one save.
  Which configuration comes back is asked of the firmware's own code on real MicroPython; some cuts are booted whole.
* the emulator is killed at random moments, again and again, and the chip itself says what it finds after each.
"""

import contextlib
import json
import random
import subprocess
import urllib.request
from pathlib import Path

import pytest

from firmware.config import load as schema
from host_tests.system.rig import METERS, wait_for
from tools import gateway, micropython
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated, image
from tools.simulator import seeds

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = "data/config.json"
SAFE_MODE = "data/safe_mode"
ANSWER_S = 120
KILLS = 5
SEVERAL_SAVES = 60  # flash operations
OPERATIONS_MAX = 200  # more than a save takes

# No common size, no common name: a mixture of them is neither.
USERS = {
    "one": emulate.configuration({"name": "one", "meters": list(METERS[:1])}),
    "two": emulate.configuration(
        {
            "name": "two",
            "http": {"idle_timeout_s": 77},
            "meters": [
                {"slot": k, "name": f"meter number {k}", "unit": 101 + k, "profile": "pzem-004t-v3"} for k in range(10)
            ],
        }
    ),
}


def whole(user):
    config, errors = schema.validate(user)
    assert not errors
    return config


WHOLE = {name: whole(user) for name, user in USERS.items()}

# Saves one after the other in turn, and says what is there.
SAVES = """\
from firmware.config import load as config, store

def body(name):
    with open("data/" + name, "rb") as f:
        return f.read()

bodies = {name: body(name) for name in ("one", "two")}

def for_ever():
    while True:
        for name in sorted(bodies):
            store.save(config.LAST_GOOD, bodies[name])

def found():
    kept = store.load(config.LAST_GOOD)
    loaded = config.load()
    print(loaded.source, [name for name in bodies if bodies[name] == kept and name == loaded.config["name"]])
"""


def name_of(found):
    """By whose configuration the device would run; the whole of it is compared."""
    name = found["config"]["name"]
    assert found["config"] == WHOLE[name]
    return name


class SafeChip(emulated.Emulator):
    """An emulated Pico in safe mode, with "one" as its configuration and a journal of its flash."""

    def __init__(self, folder, files=None):
        flashed = {SAFE_MODE: b"", CONFIG: image.config_file(USERS["one"])}
        firmware = build.ensure_firmware(build.Variant(frozen=True))
        super().__init__(folder, firmware=firmware, ports={"http": 0, "modbus": 0})
        image.make(self.flash, firmware, emulated.device_files(USERS["one"], frozen=True) | flashed | (files or {}))
        self.new = self.flash.read_bytes()
        image.keep_journal(self.flash)

    def journal(self):
        return image.read_journal(self.flash)

    def upload(self, content):
        """As mpremote does it: the file itself is written, piece by piece."""
        pieces = [content[at : at + 256] for at in range(0, len(content), 256)]
        self.exec("\n".join([f"f = open({CONFIG!r}, 'wb')", *(f"f.write({piece!r})" for piece in pieces), "f.close()"]))

    def load(self):
        """Reads the configuration as the firmware does when it starts, and keeps it as the last good one, as it does
        once the page is up."""
        code = "from firmware.config import load; found = load.load(); load.save_last_good(found.profiles)"
        assert self.exec(code + "; print(found.source)").strip() == "file"


class Loader:
    """host_tests/on_micropython/load_configs.py, asked about one image after the other."""

    def __init__(self, folder):
        self.image = folder / "cut.bin"
        script = ROOT / "host_tests" / "on_micropython" / "load_configs.py"
        self.process = subprocess.Popen(
            [micropython.ensure(), script, ROOT, ROOT / "lib"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.communicate(timeout=ANSWER_S)

    def ask(self, flash):
        self.image.write_bytes(flash)
        self.process.stdin.write(f"{image.STORAGE_AT} {self.image}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Save:
    """What the flash was before "two" was uploaded and kept as the last good one, and every operation from then on."""

    def __init__(self, before, operations):
        self.before, self.operations = before, operations

    def cut(self, count, tear):
        """The flash when the power goes in the operation behind the first `count`."""
        flash = bytearray(self.before)
        for operation in self.operations[:count]:
            operation.apply(flash)
        if count < len(self.operations):
            self.operations[count].tear(flash, tear)
        return bytes(flash)


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    with SafeChip(tmp_path_factory.mktemp("save")) as chip:
        for name in ("two", "one"):
            chip.load()
            chip.upload(image.config_file(USERS[name]))
        chip.load()  # now both copies exist
        chip.exec(f"import os; os.remove({SAFE_MODE!r})")
        begin = len(chip.journal())
        chip.upload(image.config_file(USERS["two"]))
        chip.load()
        operations = chip.journal()
    flash = bytearray(chip.new)
    for operation in operations[:begin]:
        operation.apply(flash)
    recorded = Save(bytes(flash), operations[begin:])
    assert 10 < len(recorded.operations) < OPERATIONS_MAX
    assert recorded.cut(len(recorded.operations), "nothing") == chip.flash.read_bytes(), "the journal is not the flash"
    return recorded


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    with Loader(tmp_path_factory.mktemp("loader")) as one:
        yield one


@pytest.mark.parametrize("tear", image.TEARS)
def test_a_cut_at_any_flash_operation_of_an_upload_leaves_the_old_or_the_new(save, loader, tear):
    names, last_good = [], []
    for count in range(len(save.operations) + 1):
        found = loader.ask(save.cut(count, tear))
        assert (found["source"], found["errors"], found["next"]) == ("file", [], "file"), f"cut in operation {count}"
        names.append(name_of(found))
        # The user's file is written before its copy is kept, and either comes whole.
        assert found["last_good"]["source"] == "last good", f"cut in operation {count}"
        last_good.append(name_of(found["last_good"]))
    for seen in (names, last_good):
        assert seen == sorted(seen)  # once it is the new one it stays
        assert set(seen) == set(USERS)
    assert names.count("two") > last_good.count("two") > 0


def boot(folder, flash):
    """Starts the firmware from this flash; what it says of itself."""
    folder.mkdir()
    chip = emulated.Emulator(folder, ports={"http": 0, "modbus": 0})
    chip.flash.write_bytes(flash)
    with chip:
        chip.wait_ready()
        return status(chip)


def status(chip):
    with urllib.request.urlopen(f"http://127.0.0.1:{chip.ports['http']}/api/status", timeout=ANSWER_S) as response:
        return json.load(response)


def assert_runs_by(status, source):
    assert status["config"]["source"] == source
    meters = [meter["name"] for meter in USERS[status["name"]]["meters"]]
    assert [meter["name"] for meter in status["meters"]] == meters


def test_the_gateway_starts_after_a_cut_in_the_operation_that_decides(save, loader, tmp_path):
    names = [name_of(loader.ask(save.cut(count, "nothing"))) for count in range(len(save.operations) + 1)]
    found = boot(tmp_path / "chip", save.cut(names.index("two") - 1, "bits"))
    assert_runs_by(found, "file")
    assert found["config"]["errors"] == []


@pytest.mark.parametrize(
    "seed",
    [*seeds.chosen(fixed=(1,)), *[pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 8)]],
)
def test_killed_at_random_moments_of_saving_the_chip_finds_the_old_or_the_new(tmp_path, seed):
    print(f"{seeds.VARIABLE}={seed}")
    rng = random.Random(seed)
    bodies = {f"data/{name}": json.dumps(config).encode() for name, config in WHOLE.items()}
    chip = SafeChip(tmp_path, bodies | {"saves.py": SAVES.encode()})
    with contextlib.ExitStack() as stack:
        stack.callback(chip.stop)
        chip.start()
        chip.exec("from firmware.config import load, store; store.save(load.LAST_GOOD, open('data/one', 'rb').read())")
        chip.upload(b'{"name":')  # from here on only the copy counts
        for _ in range(KILLS):
            enough = len(chip.journal()) + rng.randrange(1, SEVERAL_SAVES)
            chip.type("import saves; saves.for_ever()\r")
            wait_for(lambda enough=enough: len(chip.journal()) >= enough, ANSWER_S, "flash operations")
            chip.power_cut()
            chip.start()
            assert chip.exec("import saves; saves.found()").strip() in ("last good ['one']", "last good ['two']")
        chip.exec(f"import os; os.remove({SAFE_MODE!r})")
        chip.type("import machine; machine.reset()\r")
        chip.wait_reset()
        chip.network.wait_up(ANSWER_S)
        wait_for(lambda: gateway.http_answers(chip.ports["http"]), ANSWER_S, "the page")
        assert_runs_by(status(chip), "last good")
