"""`make bench` with real servers, briefly: every answer is checked, and what is counted is right."""

import json

import pytest

from tools import build
from tools.bench import __main__ as bench
from tools.bench import document, exchanges, load, memory, processes, scaling
from tools.bench.probe import Probe


@pytest.mark.timeout(300)
def test_all_servers_answer_right_and_every_figure_is_there(tmp_path, monkeypatch, capsys):
    figures, tables = tmp_path / "figures.json", tmp_path / "benchmarks.md"
    tables.write_text(document.BENCHMARKS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(document, "commit", lambda root: "1234567")
    words = ["--rounds", "1", "--seconds", "0.05", "--json", str(figures), "--into", str(tables)]
    assert bench.main(words) == 0, capsys.readouterr().err
    found = json.loads(figures.read_text())
    assert {row["server"] for row in found["rows"]} == {
        processes.GATEWAY, processes.POLL_LOOP, processes.ECHO, processes.UMODBUS, processes.MICRODOT,
        processes.PYMODBUS,
    }  # fmt: skip
    assert all(row["requests"] > 0 for row in found["rows"])
    assert all(row["requests"] == row["clients"] * 10 for row in found["paced"])  # 100/s for 0.1 s, none left out
    assert {one["server"] for one in found["idle"]} >= {processes.GATEWAY, processes.UMODBUS}
    assert len(found["collections"]) == 4
    ours = {one["what"]: one["bytes"] for one in found["allocated"] if one["server"] == processes.GATEWAY}
    assert ours["10 registers"] < 100 < ours["page, kept alive"]
    assert all(row["pages"]["answered"] > 0 for row in found["web"] if row["connections"])
    assert all(row["polls"]["answered"] == row["polls"]["asked"] == 8 * 3 for row in found["web"] if row["polled"])
    assert {(one["server"], one["polls"] is None) for one in found["slowloris"]} == {
        (processes.GATEWAY, False), (processes.MICRODOT, True),
    }  # fmt: skip
    assert tables.read_text().count("At 1234567:") == 9


def test_the_canary_counts_as_many_collections_as_the_garbage_takes(tmp_path):
    with processes.Bench(build.ROOT, tmp_path, lambda text: None) as started:
        started.heap = "256K"
        for server in (started.poll_loop(probed=True), started.echo(probed=True)):
            exchange, port = exchanges.read(10), server.ports.modbus
            with server.running(), Probe(server) as probe:
                started_free = probe.collect().free
                load.run(port, exchange, requests=100)
                garbage = started_free - probe.look().free
                with memory.Counter(server.process.state_dir, probe) as counter:
                    for _ in range(40):  # in pieces: between a collection and the next canary some are not counted
                        load.run(port, exchange, requests=100)
                expected = 40 * garbage / started_free
                assert expected * 0.6 - 1 <= counter.count <= expected * 1.2 + 1, server.name
                assert (counter.count > 5) == (server.name == processes.ECHO)


def test_scaling_has_a_point_for_each_load_and_says_what_does_not_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "CLIENTS", (1, 12))
    monkeypatch.setattr(scaling, "REGISTERS", (125,))
    monkeypatch.setattr(scaling, "METERS", (2, 32))
    monkeypatch.setattr(scaling, "BROWSERS", (1,))
    start = processes.Bench.gateway

    def start_or_not(self, over=None, meters=(), probed=False):
        meters = list(meters)
        if len(meters) == 32:
            raise processes.DoesNotFit("no room")
        return start(self, over, meters, probed)

    monkeypatch.setattr(processes.Bench, "gateway", start_or_not)
    figures, plots = tmp_path / "figures.json", tmp_path / "plots.svg"
    words = ["--rounds", "1", "--seconds", "0.1", "--json", str(figures), "--svg", str(plots)]
    assert scaling.main(words) == 0, capsys.readouterr().err
    points = json.loads(figures.read_text())["points"]
    assert [(one["axis"], one["value"], one["fits"]) for one in points] == [
        *[("clients", 1, True), ("clients", 12, True), ("registers", 125, True)] * 2,
        *[("meters", 2, True)] * 2,
        *[("meters", 32, False)] * 2,
        ("browsers", 1, True),
    ]
    reopened = [one["reopened"] for one in points if one["axis"] == "clients"]
    assert reopened[1] > 0 == reopened[0] == reopened[2] == reopened[3]  # ten slots with all services, fifteen without
    assert plots.read_text().startswith("<?xml")
