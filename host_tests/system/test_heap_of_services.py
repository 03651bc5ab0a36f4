"""The heap that a service's modules take: as files it is what firmware.app reckons with before it starts one; frozen,
and the sums of the boards, what docs/images.md says."""

import re

from firmware import app
from host_tests.system import test_heap_gates
from tools import build, memory

RECKONED = {name: heap for name, _, heap in app.BUILT}
FURTHER = {f"{name}.{setting}": modules for name, setting, _, modules, _ in app.FURTHER}
OFF = ("bacnet", "posting", "shelly", "mqtt")  # by default, or without an address: posting
DOCUMENT = (build.ROOT / "docs" / "images.md").read_text(encoding="utf-8")
FROZEN_MAX = 12 * 1024  # of any service


def documented():
    """The rows between the marks: {first cell without quotes: [numbers]}."""
    text = DOCUMENT.partition("<!-- memory -->")[2].partition("<!-- end of memory -->")[0]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {
        row[0]: [int(cell.replace(",", "")) for cell in row[1:] if re.fullmatch(r"-?[\d,]+", cell)]
        for row in rows
        if len(row) > 2
    }


def test_a_service_needs_about_as_much_room_as_is_asked_for():
    measured = {}
    for service in OFF:  # each without the others, whose modules it may share
        measured |= memory.heap_of_services(False, tuple(name for name in OFF if name != service))
    reckoned = RECKONED | FURTHER
    assert set(measured) == set(reckoned)
    for name, found in measured.items():
        assert 0.7 * reckoned[name] < found <= reckoned[name], f"{name}: {found} bytes"


def test_the_heap_of_each_service_in_an_image_is_bounded_and_as_documented():
    measured = memory.heap_of_services(is_frozen=True)
    rows = documented()
    assert set(measured) == set(RECKONED) | set(FURTHER)
    for name, found in measured.items():
        assert 0 < found <= FROZEN_MAX, f"{name}: {found} bytes"
        if name in rows:  # within a tenth: the order of starting decides who pays for what they share
            assert abs(rows[name][0] - found) <= max(0.1 * found, 512), f"{name}: {found} bytes: make memory"


def test_the_sum_of_each_board_is_as_documented_and_leaves_room():
    rows = documented()
    assert test_heap_gates.AT_REST_BYTES == memory.AT_REST
    frozen = {name: row[0] for name, row in rows.items() if name in RECKONED}
    for name, (area, extra, tls, left) in memory.sums(frozen).items():
        assert rows[name] == [area, memory.AT_REST, extra, *([tls] if tls else []), left]
        assert left > 12 * 1024, name
