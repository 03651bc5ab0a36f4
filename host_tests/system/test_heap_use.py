"""A save reckons with about as much heap as a configuration takes (firmware/config/heap_use.py): frozen 32-bit
MicroPython, without what one start differs by from the next."""

import pytest

from firmware.config import heap_use
from firmware.meters import profile_loader
from host_tests.system.rig import BAUD, UART, WATCHED_MAIN, Rig, configured, heaps, wait_for
from tools import gateway, profiles

SAMPLES = 8  # half a second each: one of them is taken while no request is under way
KINDS = [
    {"slot": k, "name": f"meter {k}", "unit": k + 1, "profile": kind, "interval_s": 2, "max_age_s": 60}
    for k, kind in enumerate(profiles.available()[:14])
]

SERVED = [kind for kind in profiles.available() if kind.startswith(("eastron", "chint", "carlo"))][:8]

LISTENING = {"uart": UART, "baud": BAUD, "role": "listen"}


def taken(folder, config, meters, has_page=True):
    """Bytes of heap in use once all meters have been read."""
    argv = [gateway.find_frozen(print), "-X", "heapsize=192K", WATCHED_MAIN]
    rig = Rig(folder, config=config, meters=meters, argv=argv, env={"MICROPYPATH": ".frozen"})
    with rig.started(has_page):
        if has_page and "buses" not in config:  # a line that only listens: nobody polls it here
            rig.wait_polled(60)
        before = len(heaps(rig))
        wait_for(lambda: len(heaps(rig)) >= before + SAMPLES, 60, "measurements of the heap")
        return min(heaps(rig)[-SAMPLES:])


def estimate(config, meters):
    names = {meter["profile"] for meter in meters} | {item["as"] for item in config.get("served", ()) if item["as"]}
    sizes = {name: heap_use.of_profile(profile_loader.load(name)) for name in names}
    return heap_use.of_configuration({"buses": [{"uart": UART}], **config, "meters": meters}, sizes)


@pytest.mark.parametrize(
    ("config", "meters"),
    [
        ({}, KINDS),
        ({}, configured("eastron-sdm630", 10)),
        ({"http": {"enabled": False}}, []),
        ({"served": [{"unit": 100, "meters": "0", "as": "carlo-gavazzi-em340"}]}, KINDS[:1]),
        (
            {
                "served": [
                    {"unit": 100 + k, "meters": "0", "as": kind, "sunspec": False} for k, kind in enumerate(SERVED)
                ]
            },
            KINDS[:1],
        ),
        ({"buses": [LISTENING]}, KINDS),
        ({"buses": [LISTENING]}, configured("eastron-sdm630", 10)),
    ],
    ids=[
        "fourteen kinds of meters",
        "ten meters of a kind",
        "no page",
        "a served meter",
        "eight served meters",
        "a line that listens",
        "a line that listens to ten meters",
    ],  # fmt: skip
)
def test_a_configuration_takes_about_as_much_heap_as_a_save_reckons_with(tmp_path, config, meters):
    has_page = config.get("http", {}).get("enabled", True)
    measured = taken(tmp_path / "with", config, meters, has_page) - taken(tmp_path / "without", {}, [])
    reckoned = estimate(config, meters) - estimate({}, [])
    print(f"{measured} bytes, reckoned {reckoned}")
    assert abs(measured - reckoned) <= 0.2 * abs(measured)
