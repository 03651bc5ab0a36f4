"""Every profile decodes the same on CPython and on 32-bit MicroPython, and takes little of the heap there."""

import functools
import json
import math
import random
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from firmware.meters import profile_loader as profile_load
from firmware.meters.profile import DECIMALS_BITS
from host_tests.unit.profile_rows import check_decimal, nearest, transformers
from tools import profiles
from tools.micropython import ensure

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "host_tests" / "on_micropython" / "decode_profiles.py"
_METERS = (
    {},
    {"ct_primary": 600, "ct_secondary": 5},
    {"ct_primary": 2500, "ct_secondary": 1, "pt_primary": 20000, "pt_secondary": 110},
    {"inverted": True},
    {"inverted": True, "ct_primary": 3, "ct_secondary": 7, "pt_primary": 1000000, "pt_secondary": 999983},
)
_IMAGES = 12
_PROFILE_MAX = 3500  # bytes of heap; that of 120 points


def questions(name):
    """(configuration, registers by function and address) in plenty: random, and at the edges of every type."""
    rng = random.Random(name)
    profile = profiles.load(name)
    for k in range(_IMAGES):
        for change in _METERS:
            image = {}
            for point in profile.points:
                words = [rng.getrandbits(16) for _ in range(point.size)]
                if k < 4:  # all bits, the highest, all but the highest, none
                    words = [(0xFFFF, 0x8000, 0x7FFF, 0)[k], *[(0xFFFF, 0, 0xFFFF, 0)[k]] * (point.size - 1)]
                    words = words if profile.word_order == "big" else words[::-1]
                elif k < 8 and point.type == "float32":
                    value = rng.uniform(-1, 1) * 10 ** rng.uniform(-3, 7)
                    words = profiles.encode(value, "float32", profile.word_order)
                elif point.size == 4 and k < 10:  # 48 bits: more is no value
                    words = profiles.encode(rng.getrandbits(48), point.type, profile.word_order)
                for i, word in enumerate(words):
                    image[point.function, point.address + i] = word
            yield {"profile": name, **transformers(**change)}, image


def blocks(plan, image):
    return [
        b"".join(image.get((function, first + k), 0x1234).to_bytes(2, "big") for k in range(count))
        for function, first, count in plan
    ]


@functools.cache
def points_of(name):
    """{point's name: tools.profiles.Point} of a profile, as the host's own reader has them."""
    return {point.name: point for point in profiles.load(name).points}


def exactly(name, config, image):
    """{point's name: an integer when it accumulates, a fraction, or None}."""
    profile = profiles.load(name)
    by_name = points_of(name)
    ct = Fraction(config["ct_primary"], config["ct_secondary"])
    pt = Fraction(config["pt_primary"], config["pt_secondary"])
    result = {}
    for point in profile.points:
        source = point
        if config.get("inverted") and ("_import" in point.name or "_export" in point.name):
            swapped = point.name.replace("_import", "_?").replace("_export", "_import").replace("_?", "_export")
            other = by_name.get(swapped)
            if other and (other.type, other.scale) == (point.type, point.scale):
                source = other
        words = [image[source.function, source.address + k] for k in range(source.size)]
        raw = profiles.decode(words, source.type, profile.word_order)
        if profiles.is_void(raw, source.type, profile.no_value, profile.no_value_floats):
            result[point.name] = None
            continue
        factor = {"V": pt, "A": ct, "": Fraction(1), "Hz": Fraction(1)}.get(point.unit, ct * pt)
        exact = Fraction(raw) * Fraction(str(point.scale)) * factor
        turned = point.unit in ("W", "var") or point.name.startswith("power_factor")
        if config.get("inverted") and turned:
            exact = -exact
        if profile.tenfold_frequency and point.unit == "Hz" and exact > 100:
            exact /= 10
        result[point.name] = nearest(exact) if point.accumulating else exact
    return result


@functools.cache
def on_micropython():
    """({profile: values of each of its questions}, {profile: bytes of heap})."""
    asked = [
        (name, {"meter": config, "blocks": [block.hex() for block in blocks(plan, image)]})
        for name in profiles.available()
        for plan in [profile_load.load(name).plan]
        for config, image in questions(name)
    ]
    done = subprocess.run(
        [str(ensure()), "-X", "heapsize=1M", str(_SCRIPT), str(_ROOT), str(_ROOT / "lib")],
        input="".join(json.dumps(question) + "\n" for _, question in asked),
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert len(lines) == len(asked) + 1
    answers = {}
    for (name, _), line in zip(asked, lines, strict=False):
        answers.setdefault(name, []).append([int(value) if isinstance(value, str) else value for value in line])
    return answers, lines[-1]["heap"]


def compare(got, wanted, where):
    assert (got is None) == (wanted is None), where
    if wanted is None:
        return
    if isinstance(wanted, int):
        assert isinstance(got, int), where
        assert got == wanted, where
    else:
        assert math.isclose(got, float(wanted), rel_tol=1e-12, abs_tol=1e-12), where  # approx() takes ten times as long


def check_point(name, label, decimal, exact, config):
    """Compares a decimal number (Profile.decimal) with the exact value."""
    if isinstance(exact, int):
        assert decimal == exact << DECIMALS_BITS, (config, label)
        return
    point = points_of(name)[label]
    ct = Fraction(config["ct_primary"], config["ct_secondary"])
    pt = Fraction(config["pt_primary"], config["pt_secondary"])
    check_decimal(decimal, exact, point.type, max(1, Fraction(str(point.scale))) * max(1, ct * pt))


def texts(profile):
    return [profile.name_of(i) for i in range(len(profile))]


@pytest.mark.parametrize("name", profiles.available())
def test_a_profile_decodes_on_cpython_and_on_micropython_what_its_table_says(name):
    answers, _ = on_micropython()
    points = texts(profile_load.load(name))
    known = {}
    for (config, image), answer in zip(questions(name), answers[name], strict=True):
        profile, ratios = profile_load.of_meter(config, known), profile_load.ratios(config)
        data = blocks(profile.plan, image)
        exact = exactly(name, config, image)
        for i, point in enumerate(points):
            where, wanted, block = (config, point), exact[point], data[profile.blocks[i]]
            compare(profile.decode(i, block, ratios), wanted, where)
            compare(answer[i], wanted, where)
            check_point(name, point, profile.decimal(i, block, ratios), wanted, config)
            check_point(name, point, answer[len(points) + i], wanted, config)
        assert len(answer) == 2 * len(points)


def test_energies_beyond_24_and_31_bits_are_among_them():
    """The images above are worth something."""
    largest = 0
    for name in ("abb-b23", "carlo-gavazzi-em340", "eastron-sdm630", "schneider-iem3155", "pzem-004t-v3"):
        values = [v for config, image in questions(name) for v in exactly(name, config, image).values()]
        whole = [value for value in values if isinstance(value, int)]
        assert sum(abs(value) > 2**24 for value in whole) > 50, name
        assert sum(abs(value) > 2**31 for value in whole) > 20, name
        largest = max(largest, *whole)
    assert largest > 2**62


@pytest.mark.parametrize("name", profiles.available())
def test_a_profile_takes_little_of_the_heap(name):
    _, heap = on_micropython()
    assert 300 < heap[name] <= _PROFILE_MAX
    one = profiles.load(name)
    assert heap[name] <= 560 + 32 * len(one.points) + 48 * len(one.blocks(one.gap))
