"""Each profile against what public sources say of its meter: meter_facts/NAME.txt, written from these sources and not
from the profile.

A letter stands for a source. A line of registers: the address of the first, the type, the unit in which the meter
counts (0.1 kWh), the letters of the sources that say so, and the names of the points that lie there one behind the
other. "code": what a register holds by which the meter is known; "-" where no source
was found again. "at most": registers that the meter gives at once. "gap": time that it needs between two requests.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools import profiles

FACTS = Path(__file__).parent / "meter_facts"
BASE_UNITS = {unit: (unit, 1) for unit in ("V", "A", "W", "var", "VA", "Hz", "Wh", "varh", "VAh", "")}
PREFIXED = {f"k{unit}": (unit, 1000) for unit in ("W", "var", "VA", "Wh", "varh", "VAh")}
UNITS = BASE_UNITS | PREFIXED
REGISTERS = {"uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "uint64": 4, "int64": 4, "float32": 2, "float64": 4}
ROW = re.compile(r"(0x[0-9A-F]{4}|\d{4,5}) +(\w+) +([\d.]+)(?: (\w+))? +((?:[A-Z] )*) *(\S.*)")


@dataclass
class Facts:
    sources: dict = field(default_factory=dict)  # letter: what it stands for
    function: int = 0
    word_order: str = ""
    points: dict = field(default_factory=dict)  # name: (address, type, factor to base units, unit)
    letters: dict = field(default_factory=dict)  # name: letters of the sources
    codes: dict = field(default_factory=dict)  # (address, type): values
    registers_max: int = 125
    gap_ms: int = 0


def names_of(text):
    """The names that a line lists; power_ch1 .. power_ch3 is three."""
    several = re.fullmatch(r"(\w+?)1 \.\. \1(\d+)", text)
    return [f"{several[1]}{k + 1}" for k in range(int(several[2]))] if several else text.split()


def facts(profile_id):
    told = Facts()
    for line in (FACTS / f"{profile_id}.txt").read_text().splitlines():
        first = line.split(" ", 1)[0]
        if not line or first == "#":
            continue
        if re.match(r"[A-Z] {2}", line):
            assert first not in told.sources, line
            told.sources[first] = line[3:]
        elif match := re.fullmatch(r"function ([34]), (high|low) word first", line):
            told.function, told.word_order = int(match[1]), {"high": "big", "low": "little"}[match[2]]
        elif match := re.fullmatch(r"at most (\d+) registers {2}[A-Z ]+", line):
            told.registers_max = int(match[1])
        elif match := re.fullmatch(r"gap (\d+) ms {2}[A-Z ]+", line):
            told.gap_ms = int(match[1])
        elif match := re.fullmatch(r"code (\w{4,6}) (\w+)((?: \w{2,})+) {2}(?:[A-Z ]+|-)", line):
            told.codes.setdefault((int(match[1], 0), match[2]), set()).update(
                int(value, 0) for value in match[3].split()
            )
        elif match := ROW.fullmatch(line):
            address, kind, factor, unit, letters, names = match.groups()
            base, thousand = UNITS[unit or ""]
            for k, name in enumerate(names_of(names)):
                assert name not in told.points, line
                place = int(address, 0) + k * REGISTERS[kind]
                told.points[name] = (place, kind, float(factor) * thousand, base)
                told.letters[name] = letters.split()
        else:
            raise ValueError(line)
    return told


def test_every_profile_has_its_facts_and_every_table_its_profile():
    assert sorted(path.stem for path in FACTS.glob("*.txt")) == profiles.available()


@pytest.mark.parametrize("profile_id", profiles.available())
def test_every_point_of_a_profile_is_what_its_sources_say(profile_id):
    told, profile = facts(profile_id), profiles.load(profile_id)
    ours = {point.name: (point.address, point.type, point.scale, point.unit) for point in profile.points}
    assert set(ours) == set(told.points)
    for name, (address, kind, scale, unit) in ours.items():
        assert (address, kind, unit) == told.points[name][:2] + told.points[name][3:], name
        assert scale == pytest.approx(told.points[name][2], rel=1e-9), name
    assert {point.function for point in profile.points} == {told.function}
    assert profile.word_order == told.word_order
    assert profile.max_registers <= told.registers_max
    assert profile.gap_ms == told.gap_ms


@pytest.mark.parametrize("profile_id", profiles.available())
def test_a_point_with_too_few_sources_is_unconfirmed_and_no_other(profile_id):
    """Confidence 2 wants two sources for a point, confidence 1 one."""
    told, profile = facts(profile_id), profiles.load(profile_id)
    assert min(len(told.sources), 2) >= profile.confidence
    for letters in told.letters.values():
        assert set(letters) <= set(told.sources)
        assert len(set(letters)) == len(letters)
    doubtful = {point.number for point in profile.points if len(told.letters[point.name]) < profile.confidence}
    assert sorted(profile.unconfirmed) == sorted(doubtful)


@pytest.mark.parametrize("profile_id", profiles.available())
def test_the_codes_by_which_a_meter_is_known_are_those_of_its_sources(profile_id):
    told, profile = facts(profile_id), profiles.load(profile_id)
    ours = {(row[1], row[2]): set(row[3]) for row in profile.signature if isinstance(row[3], list)}
    assert ours == told.codes


def test_every_source_of_a_table_is_used():
    for path in FACTS.glob("*.txt"):
        told = facts(path.stem)
        used = {letter for letters in told.letters.values() for letter in letters}
        for letters in re.findall(r"^(?:code|at most|gap) .* {2}(.*)$", path.read_text(), re.MULTILINE):
            used |= set(re.findall(r"[A-Z]", letters))
        assert used == set(told.sources), path.name
