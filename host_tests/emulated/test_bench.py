"""The emulated benchmark on the emulated chip: its figures make sense, and are the same figures every time."""

import json

import pytest

from tools.bench import cycles, emulated, servers, stages
from tools.bench.meters import Ramp
from tools.bench.questions import read
from tools.emulator import build

# Of a meter with 27 points, without collections of the heap: 27 packets, one of JSON, a birth, which comes seldom.
MQTT_AT_MOST = {  # (kcycles, bytes of the heap)
    "MQTT, values of a meter": (850, 1500), "MQTT, values of a meter as JSON": (700, 1500),
    "MQTT, Sparkplug's birth of a meter": (6500, 54000), "MQTT, Sparkplug's data of a meter": (2400, 7500),
}  # fmt: skip
# Without collections of the heap, at most
PAGE_CYCLES = 450  # for each of its bytes on the line: the page grows with what it shows
READINGS_CYCLES = 5_150_000
BYTES_PER_US = 0.04608  # on the line of 460800 baud
HTTP_HEAP_BYTES = {"GET /": 4_000, "GET /api/readings": 5_300}
REGISTER_CYCLES = {  # at most
    "read of 10 registers": 128_000,
    "read of 125 registers": 220_000,
    "read of 10, passed through": 410_000,
    "read of 10, 10 clients": 144_000,
}
POLL_CYCLES = 400_000  # at most, of one with nobody connected; it moves by which names the image has
POLLING_SHARE = 0.15  # of the chip, at most: 32 meters on a busy line at 9600 baud
BACNET_CYCLES = {"BACnet ReadProperty": 146_000, "BACnet ReadPropertyMultiple of 20": 830_000}  # at most

PROBE = b"""
import gc, time
time.sleep(2)  # until the REPL's port is up: what is printed before is lost
gc.collect()
print("heap", gc.mem_alloc(), gc.mem_free(), "ready")
time.sleep(60)
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What two runs wrote for the same server."""
    written = []
    for number in range(2):
        file = tmp_path_factory.mktemp("bench") / f"{number}.json"
        assert emulated.main(["--only", "poll-loop", "--rounds", "3", "--json", str(file)]) == 0
        written.append(file.read_text(encoding="utf-8"))
    return written


def test_every_request_takes_cycles_and_at_least_as_long_as_they_last(figures):
    rows = json.loads(figures[0])["rows"]
    assert {row["what"] for row in rows} >= {"read of 10 registers", "read of 125 registers", "GET /"}
    for row in rows:
        assert row["cycles"] > 0, row
        assert row["worst_latency_us"] >= row["latency_us"] > row["busy_us"] > 0, row
        assert row["latency_us"] > row["wire_us"] / stages.CLIENTS > 0, row  # a crowd's bytes are all on one line


def test_more_registers_take_more_cycles_and_the_floor_allocates_nothing(figures):
    rows = {row["what"]: row for row in json.loads(figures[0])["rows"]}
    small, large = rows["read of 10 registers"], rows["read of 125 registers"]
    assert large["cycles"] > small["cycles"]
    assert large["wire_us"] > small["wire_us"]
    assert small["heap_bytes"] == large["heap_bytes"] == 0


def test_the_parts_of_a_request_are_all_of_it(figures):
    data = json.loads(figures[0])
    (parts,) = data["parts"].values()
    row = next(row for row in data["rows"] if row["what"] == "read of 10 registers")
    assert sum(parts.values()) == pytest.approx(row["cycles"] + row["line_cycles"], rel=0.02)


def test_two_runs_give_the_same_figures_to_the_last_cycle(figures):
    assert figures[0] == figures[1]


def test_reads_of_registers_stay_within_their_cycles(tmp_path):
    file = tmp_path / "registers.json"
    assert emulated.main(["--only", "registers", "--rounds", "10", "--json", str(file)]) == 0
    cycles = {row["what"]: row["cycles"] for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert cycles.keys() == REGISTER_CYCLES.keys()
    assert {what: count for what, count in cycles.items() if count > REGISTER_CYCLES[what]} == {}


def test_polls_of_32_meters_stay_within_their_cycles(tmp_path):
    file = tmp_path / "polls.json"
    assert emulated.main(["--only", "polls", "--json", str(file)]) == 0
    polls = json.loads(file.read_text(encoding="utf-8"))["polls"]
    assert polls["polls_per_s"] > 4
    assert 0 < polls["cycles"] <= POLL_CYCLES
    assert 0 < polls["share"] <= POLLING_SHARE


def test_bacnet_stays_within_its_cycles(tmp_path):
    file = tmp_path / "bacnet.json"
    assert emulated.main(["--only", "bacnet", "--rounds", "10", "--json", str(file)]) == 0
    cycles = {row["what"]: row["cycles"] for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert cycles.keys() == BACNET_CYCLES.keys()
    assert {what: count for what, count in cycles.items() if count > BACNET_CYCLES[what]} == {}


def test_the_values_of_a_meter_by_mqtt_stay_within_their_cycles_and_heap(tmp_path):
    file = tmp_path / "mqtt.json"
    assert emulated.main(["--only", "mqtt", "--json", str(file)]) == 0
    rows = {row["what"]: row for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert set(rows) == set(MQTT_AT_MOST)
    for what, (kcycles, heap_bytes) in MQTT_AT_MOST.items():
        assert 0 < rows[what]["cycles"] <= 1000 * kcycles
        assert 0 < rows[what]["heap_bytes"] <= heap_bytes


def test_the_page_and_readings_stay_within_their_cycles_and_heap(tmp_path):
    file = tmp_path / "pages.json"
    assert emulated.main(["--only", "pages", "--json", str(file)]) == 0
    data = json.loads(file.read_text(encoding="utf-8"))
    rows = {row["what"]: row for row in data["rows"]}
    spent = {}
    for what in HTTP_HEAP_BYTES:  # whether a collection falls into one of few requests is chance
        parts = data["parts"][f"{servers.GATEWAY}, {what}"]
        spent[what] = sum(parts.values()) - parts.get(cycles.COLLECTIONS, 0) - rows[what]["line_cycles"]
    size = rows["GET /"]["wire_us"] * BYTES_PER_US
    assert 0 < spent["GET /"] <= PAGE_CYCLES * size, (spent, size)
    assert 0 < spent["GET /api/readings"] <= READINGS_CYCLES, spent
    for what, most in HTTP_HEAP_BYTES.items():
        assert 0 < rows[what]["heap_bytes"] <= most, rows[what]


def test_the_heap_seen_from_outside_is_the_one_that_the_chip_sees(tmp_path):
    bare = build.ensure_firmware()
    bench = stages.Bench(bare, bare, 1, print)
    server = servers.poll_loop(print)
    with bench.booted(server._replace(files={"main.py": PROBE})) as chip:
        used, free = map(int, chip.printed.split("heap ")[1].split()[:2])
        assert chip.heap_bytes == used + free
        assert abs(chip.sweeps[-1].after - used) < 256  # printing allocates a little


def test_a_server_that_says_something_else_ends_it_with_1(monkeypatch, capsys):
    def wrong(bench):
        with bench.booted(servers.poll_loop(bench.progress)) as chip:
            values = [Ramp.register(n) + 1 for n in range(10)]
            stages.asker(chip, chip.connect(stages.MODBUS), read(1, 4, 0, values))()

    monkeypatch.setitem(stages.STAGES, "poll-loop", wrong)
    assert emulated.main(["--only", "poll-loop"]) == 1
    assert "was answered by" in capsys.readouterr().err
