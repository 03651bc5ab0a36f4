"""`make bench` (tools/bench/__main__.py): its options, its arithmetic, its tables, and how it ends."""

import json
import os

import pytest

from tools.bench import __main__ as bench
from tools.bench import compare, document, host_stages, host_tables, load, memory, processes
from tools.bench.compare import Case, Row, Sample
from tools.bench.processes import ECHO, GATEWAY, POLL_LOOP, Cpu

EXCHANGE = load.Exchange(b"ask", b"answer", False)
TIMES = load.Times(1.0, 20.0, 25.0, 40.0, 90.0, 100.0, 22.0)


class Process:
    """A server that only has a name."""

    def __init__(self, name):
        self.name = name


def sample(requests, seconds=1.0, user=0.1, total=0.3, cpu_s=0.2, clients=(1, 1), late=0):
    found = load.Load(requests, seconds, TIMES, None, TIMES, late, list(clients), cpu_s, 0)
    return Sample(found, Cpu(user, total - user, total))


def row(server, samples, what="10 registers", clients=1):
    return Row(Case(what, Process(server), 502, EXCHANGE, clients=clients), samples)


# Arithmetic


def test_a_row_has_medians_of_its_rounds_and_cpu_time_of_all_requests():
    found = row(GATEWAY, [sample(1000), sample(3000, user=0.3), sample(2000, seconds=2.0)])
    assert found.rate == (1000, 1000, 3000)
    assert found.cpu_us("user") == pytest.approx(1e6 * 0.5 / 6000)
    assert found.samples[0].core_us == pytest.approx(500)  # 0.3 s of the server, 0.2 s of the generator
    assert found.latency_us("p99") == 40
    assert found.worst_us == 100


def test_fairness_is_what_the_slowest_client_got_of_what_the_fastest_got():
    assert sample(100, clients=(10, 40, 50)).load.fairness == 0.2


def test_a_ratio_is_taken_within_each_round():
    # The machine halves its speed after the first round: the ratio of the medians would be wrong.
    ours, other = row(GATEWAY, [sample(800), sample(400)]), row(POLL_LOOP, [sample(1000), sample(500)])
    assert compare.ratio(ours, other, lambda one: one.load.rate) == pytest.approx((0.8, 0.8, 0.8))


def test_each_load_is_given_to_all_its_servers_in_turns_whose_order_moves(monkeypatch):
    asked = []
    monkeypatch.setattr(compare, "measure", lambda case, seconds: asked.append(case.server.name) or sample(1))
    cases = [Case(what, Process(name), 1, EXCHANGE) for what in "xy" for name in "abc"]
    rows = compare.interleave(cases, 2, 1.0, lambda text: None)
    assert "".join(asked) == "abcabc" + "bcabca"
    assert [(one.case.what, one.case.server.name, len(one.samples)) for one in rows] == [
        (case.what, case.server.name, 2) for case in cases
    ]


def test_a_wrong_answer_names_its_server(monkeypatch):
    def wrong(case, seconds):
        raise load.LoadError("wrong answer to request 3")

    monkeypatch.setattr(compare, "measure", wrong)
    with pytest.raises(load.LoadError, match="meterport, 10 registers: wrong answer to request 3"):
        compare.interleave([Case("10 registers", Process(GATEWAY), 1, EXCHANGE)], 1, 1.0, lambda text: None)


def test_collections_take_their_share_of_the_time():
    assert memory.Collections("a load", 4.0, 1000, 300.0, 400.0, 20000).share == pytest.approx(0.075)


def test_bytes_of_a_request_are_the_difference_of_many_and_twice_as_many():
    class Probe:
        used = 0

        def collect(self):
            self.used = 5000
            return memory_of(self.used)

        def look(self):
            self.used += 300  # of looking
            return memory_of(self.used)

    def memory_of(used):
        from tools.bench.probe import Heap

        return Heap(used, 100_000 - used, 0)

    probe = Probe()

    def ask(number):
        probe.used += 700 + 48 * number  # of the connection, and of each request

    assert memory.allocated(probe, ask, 100) == 48

    def collecting(number):
        probe.used = 4000

    with pytest.raises(ValueError, match="collection"):
        memory.allocated(probe, collecting, 100)


# Tables


@pytest.fixture
def results():
    found = host_stages.Results(1, 0.5, lambda text: None)
    found.rows = [row(POLL_LOOP, [sample(1000)]), row(GATEWAY, [sample(800)]), row(ECHO, [sample(500)])]
    paced = load.Load(1600, 2.0, TIMES, TIMES, TIMES, 3, [200] * 8, 0.1, 0)
    found.paced = [row(GATEWAY, [Sample(paced, Cpu(0.1, 0.1, 0.2))], "8 clients, 100/s each", clients=8)]
    found.allocated = [memory.Allocated(GATEWAY, "10 registers", 48.0)]
    found.collections = [memory.Collections("a load", 4.0, 1000, 300.0, 400.0, 20000)]
    found.idle = [host_stages.Idle(GATEWAY, "nobody connected", 0.02)]
    return found


def test_tables_have_a_row_for_each_figure(results):
    sheets = host_tables.sheets(results)
    assert [len(sheet.rows) for sheet in sheets] == [3, 2, 1, 1, 1, 1]
    for sheet in sheets:
        assert all(len(found) == len(sheet.columns) for found in sheet.rows), sheet.title


def test_the_documents_have_the_servers_side_by_side_ours_first(results):
    tables = host_tables.documented(results)
    assert list(tables) == ["requests", "ratios", "paced", "collections", "idle"]
    text = "".join(document.markdown(sheet) for sheet in tables.values())
    assert "| request | meterport | poll loop | asyncio echo |" in text
    # 0.5 s of server and client for 800, 1000 and 500 requests; heap where it was counted
    row = "| 10 registers | 1,600/s, 125.0 us, 48 B | 2,000/s, 100.0 us | 1,000/s, 200.0 us |"
    assert row in text
    assert "| 8 clients, 100/s each | meterport | 1600 |" in text
    assert "| 10 registers | poll loop | 0.80 | 1.25 |" in text


def test_the_object_has_all_figures(results):
    found = json.loads(json.dumps(results.as_json()))
    assert [one["server"] for one in found["rows"]] == [POLL_LOOP, GATEWAY, ECHO]
    assert found["ratios"][0]["rate"]["median"] == 0.8
    assert found["paced"][0]["late"] == 3
    assert found["collections"][0]["share"] == 0.075
    assert found["idle"][0]["percent"] == 0.02


def test_reads_passed_through_have_times_in_ms_and_the_cpu_of_the_server():
    results = host_stages.Results(1, 1.0, lambda text: None)
    results.passed = [row(GATEWAY, [sample(50, clients=(5, 6, 10))], host_stages.PASSED_8, clients=8)]
    sheet = host_tables.documented(results)["passed"]
    assert sheet.columns[:2] == ["request", "server"]
    assert sheet.rows == [[host_stages.PASSED_8, GATEWAY, "50.0", "0.0", "0.0", "0.1", "6000", "0.50"]]
    assert results.as_json()["passed"][0]["requests"] == 50


def test_mbusd_is_measured_where_the_environment_names_it(monkeypatch):
    started, measured = [], []

    class Servers:
        def __getattr__(self, name):
            return lambda *arguments: started.append((name, *arguments)) or WithPorts()

    class WithPorts(Process):
        ports = processes.Ports(1, 0)

        def __init__(self):
            super().__init__("x")

    monkeypatch.setattr(compare, "interleave", lambda cases, *rest: measured.append(len(cases)) or [])
    for environment in ("", "/opt/mbusd"):
        monkeypatch.setenv("MBUSD", environment)
        host_stages.passed(Servers(), host_stages.Results(1, 1.0, lambda text: None))
    assert measured == [6, 8]
    assert [one for one in started if one[0] == "mbusd"] == [("mbusd", "/opt/mbusd")]


# The program


@pytest.mark.parametrize(
    "words",
    ["--rounds 0", "--seconds 0", "--tree /nowhere", "--core 9999", "--only x", "--nice 20"],
)
def test_a_wrong_option_ends_it_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.parse(words.split())
    assert ended.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_a_wrong_answer_ends_it_with_1_and_writes_nothing(tmp_path, monkeypatch, capsys):
    def wrong(started, results):
        raise load.LoadError("wrong answer to request 3")

    monkeypatch.setitem(host_stages.STAGES, "reads", wrong)
    file, cores = tmp_path / "figures.json", os.sched_getaffinity(0)
    assert bench.main(["--only", "reads", "--json", str(file)]) == 1
    assert "wrong answer to request 3" in capsys.readouterr().err
    assert not file.exists()
    assert os.sched_getaffinity(0) == cores
