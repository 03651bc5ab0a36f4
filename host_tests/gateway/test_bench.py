"""`make bench` with real servers, briefly: every answer is checked, and what is counted is right."""

import json

import pytest

from tools import build
from tools.bench import __main__ as bench
from tools.bench import exchanges, load, memory, processes
from tools.bench.probe import Probe


@pytest.mark.timeout(300)
def test_all_servers_answer_right_and_every_figure_is_there(tmp_path, capsys):
    figures, tables = tmp_path / "figures.json", tmp_path / "tables.md"
    words = ["--rounds", "1", "--seconds", "0.05", "--json", str(figures), "--markdown", str(tables)]
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
    assert "| meterport to |" in tables.read_text()


def test_the_canary_counts_as_many_collections_as_the_garbage_takes(tmp_path):
    with processes.Bench(build.ROOT, tmp_path, lambda text: None) as started:
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
