"""Callgrind's files, and how counted instructions are compared with those that are kept."""

import json

import pytest

from tools import valgrind
from tools.bench import callgrind, instructions
from tools.bench.instructions import Cost

# As Callgrind writes it: names stand once, then their numbers alone; a call's costs are on the line after it.
DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.24.0
pid: 1
part: 2
positions: line
events: Ir
summary: 1015

ob=(1) /usr/bin/micropython
fl=(1) ???
fn=(1) 0x0004a1c0
0 100
cfn=(2) 0x0000ddc0
calls=3 0
0 700
cob=(2) /usr/lib/libc.so.6
cfn=(3) read
calls=1 0
* 15

fn=(2)
0 690
+4 10

fn=(4) 0x0004a1c0'2
0 200
cfn=(2)
calls=2 0
0 0

ob=(2)
fn=(3)
0 15
totals: 1015
"""


def test_each_function_has_its_own_instructions_and_its_calls():
    profile = callgrind.read(DUMP)
    assert profile.total == 1015
    assert profile.own == {"0x0004a1c0": 300, "0x0000ddc0": 700, "read": 15}
    assert profile.calls == {"0x0000ddc0": 5, "read": 1}
    assert profile.inclusive == {"0x0000ddc0": 700, "read": 15}
    assert sum(profile.own.values()) == profile.total


def test_what_callgrind_did_not_finish_is_refused():
    with pytest.raises(ValueError, match="no totals"):
        callgrind.read(DUMP.replace("totals: 1015\n", ""))


KEPT = {"a read from memory": Cost(10_000, 2.0), "a page": Cost(800_000, 160.0)}


@pytest.mark.parametrize(
    ("name", "now", "said"),
    [
        ("a read from memory", Cost(10_900, 2.0), []),
        ("a read from memory", Cost(11_100, 2.0), ["a read from memory: 11,100 instructions instead of 10,000 (more)"]),
        ("a read from memory", Cost(8_900, 2.0), ["a read from memory: 8,900 instructions instead of 10,000 (fewer)"]),
        ("a read from memory", Cost(10_000, 2.4), []),  # less than one allocation more is none
        ("a read from memory", Cost(10_000, 3.0), ["a read from memory: 3.0 allocations instead of 2.0 (more)"]),
        ("a page", Cost(860_000, 170.0), []),
        ("a page", Cost(900_000, 190.0), []),
        ("a page", Cost(800_000, 220.0), ["a page: 220.0 allocations instead of 160.0 (more)"]),
    ],
)
def test_a_tenth_more_or_fewer_is_said(name, now, said):
    assert instructions.compare(KEPT, KEPT | {name: now}) == said


def test_a_request_that_is_only_kept_or_only_counted_is_said():
    assert instructions.compare(KEPT, {"a page": KEPT["a page"], "new": Cost(1, 1)}) == [
        "a read from memory: not measured",
        "new: not kept",
    ]


def test_what_is_written_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(instructions, "interpreter_digest", lambda: "0123")
    instructions.write_file(KEPT, tmp_path / "kept.json")
    assert instructions.read_file(tmp_path / "kept.json") == ("0123", KEPT)
    assert json.loads((tmp_path / "kept.json").read_text())["requests"]["a read from memory"]["instructions"] == 10_000


def test_the_file_of_the_repository_has_what_is_counted():
    interpreter, kept = instructions.read_file()
    assert len(interpreter) == 64
    assert len(kept) == 7
    assert all(cost.instructions > 1000 for cost in kept.values())


def test_an_interpreter_of_its_own_directory_runs_with_the_tools_beside_it(tmp_path):
    interpreter = tmp_path / "micropython"
    (tmp_path / "root").mkdir()
    tools = tmp_path / "valgrind" / "root" / "usr" / "libexec" / "valgrind"
    tools.mkdir(parents=True)
    (tools / "callgrind-x86-linux").touch()
    command, environment = valgrind.callgrind(interpreter, ["--x"], lambda text: None, tmp_path / "valgrind")
    assert command[:3] == [str(tools / "callgrind-x86-linux"), "--tool=callgrind", "--x"]
    assert command[3].endswith("ld-linux.so.2")
    assert environment["VALGRIND_LIB"] == str(tools)


def test_another_interpreter_needs_the_systems_valgrind(tmp_path, monkeypatch):
    monkeypatch.setattr(valgrind.shutil, "which", lambda name: f"/usr/bin/{name}")
    command, environment = valgrind.callgrind(tmp_path / "micropython", ["--x"])
    assert command == ["/usr/bin/valgrind", "--tool=callgrind", "--x", str(tmp_path / "micropython")]
    assert environment == {}
    monkeypatch.setattr(valgrind.shutil, "which", lambda name: None)
    with pytest.raises(valgrind.NoValgrind, match="apt-get install valgrind"):
        valgrind.callgrind(tmp_path / "micropython", [])
