"""The stage `web` of `make bench`: its clients against small servers, its arithmetic, its tables."""

import asyncio
import contextlib
import json

import pytest

from host_tests.system.rig import HOST
from tools.bench import document, host_stages, host_tables, load, questions, web, wrk
from tools.bench.processes import GATEWAY, MICRODOT
from tools.bench.slowloris import Slowloris
from tools.bench.visitor import Visitor

PAGE = b"<!doctype html>" + bytes(range(256))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE
TIMES = load.Times(1.0, 20.0, 25.0, 40.0, 90.0, 100.0, 22.0)
LIMIT_S = 10


class Server:
    """Gives `answers` one after the other, the last one for good; None ends the connection instead. A context
    manager."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.connections = 0
        self.received = []

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                self.received.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    break
                writer.write(answer)
        writer.close()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc):
        self._server.close()


def run_until(client, condition):
    """Runs client.run() in a task until condition() is true."""

    async def run():
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                if task.done():
                    await task
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return run()


# The honest visitor


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_visitor_gets_page_after_page_and_keeps_its_connection_if_it_may(keep_alive):
    async def scenario():
        async with Server(ANSWER) as server:
            visitor = Visitor(server.port, PAGE, 0, keep_alive)
            await run_until(visitor, lambda: visitor.answered >= 5)
            # Of a connection each, the last may be on its way when the visitor is ended.
            assert server.connections in ((1,) if keep_alive else (visitor.asked - 1, visitor.asked))
            assert all((b"Connection: close" in one) != keep_alive for one in server.received)
            assert 0 < visitor.first_s <= visitor.worst_s < LIMIT_S
            assert visitor.repeated == 0

    asyncio.run(scenario())


def test_a_visitor_asks_again_where_the_connection_ended_and_the_time_goes_on():
    async def scenario():
        async with Server(None, None, ANSWER) as server:
            visitor = Visitor(server.port, PAGE, 0)
            await run_until(visitor, lambda: visitor.answered >= 2)
            assert visitor.repeated == 2
            assert visitor.asked in (visitor.answered, visitor.answered + 1)
            assert visitor.worst_s >= visitor.first_s > 0.05  # the pauses are part of it

    asyncio.run(scenario())


def test_a_visitor_that_is_never_served_reports_its_wait():
    async def scenario():
        async with Server(None) as server:
            visitor = Visitor(server.port, PAGE)
            await run_until(visitor, lambda: visitor.repeated >= 3)
            assert (visitor.asked, visitor.answered, visitor.first_s) == (1, 0, None)
            assert visitor.worst_s > 0.1

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [ANSWER[:-1] + b"?", ANSWER.replace(b"200 OK", b"503 No")], ids=["body", "status"])
def test_another_page_ends_the_visit(answer):
    async def scenario():
        async with Server(ANSWER, answer) as server:
            visitor = Visitor(server.port, PAGE, 0)
            with pytest.raises(questions.WrongAnswer):
                await run_until(visitor, lambda: False)

    asyncio.run(scenario())


# The slow ones


def test_slow_visitors_hold_their_connections_and_never_end_their_request():
    async def scenario():
        heard = []

        async def listen(reader, writer):
            heard.append(bytearray())
            mine = heard[-1]
            while data := await reader.read(100):
                mine += data
            writer.close()

        async with await asyncio.start_server(listen, HOST, 0) as server:
            slow = Slowloris(server.sockets[0].getsockname()[1], 5, 0.01)
            await run_until(slow, lambda: len(heard) == 5 and all(one.endswith(b"xxx") for one in heard))
            assert (slow.opened, slow.most, slow.ended, slow.refused) == (5, 5, 0, 0)
            assert all(one.startswith(b"GET / HTTP/1.1\r\n") and b"\r\n\r\n" not in one for one in heard)

    asyncio.run(scenario())


def test_a_slow_visitor_that_is_thrown_out_comes_again_at_once():
    async def scenario():
        async def throw_out(reader, writer):
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(throw_out, HOST, 0) as server:
            slow = Slowloris(server.sockets[0].getsockname()[1], 3, 60)
            await run_until(slow, lambda: slow.ended >= 10)
            assert slow.most <= 3
            assert slow.ended <= slow.opened <= slow.ended + 3

    asyncio.run(scenario())


# wrk


def printed(**over):
    found = {"answers": 100, "seconds": 2.0, "wrong": 0, "refused": 0, "connect": 0, "broken": 0}
    return "Running 2s test\n" + json.dumps(found | {"p50_us": 1500, "p99_us": 9000, "worst_us": 12000} | over) + "\n"


def test_pages_are_counted_without_those_that_were_refused():
    found = wrk.parse(printed(refused=20, broken=3))
    assert (found.answered, found.refused, found.broken, found.rate) == (80, 20, 3, 40.0)


def test_a_wrong_page_and_words_without_figures_are_errors():
    with pytest.raises(questions.WrongAnswer, match="7 of 100 pages"):
        wrk.parse(printed(wrong=7))
    with pytest.raises(load.LoadError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1")


# The stage


class Process:
    """A server that only has a name."""

    def __init__(self, name):
        self.name = name


def polls(reopened=0):
    return load.Load(400, 1.0, TIMES, TIMES, TIMES, 0, [50] * 8, 0.1, reopened)


def test_a_poll_that_met_the_end_of_its_connection_ends_the_run(monkeypatch):
    class Ports:
        modbus = 502

    server = Process(GATEWAY)
    server.ports = Ports
    asked = {}

    def run(port, exchange, **options):
        asked.update(options)
        return polls(asked.pop("lose"))

    monkeypatch.setattr(load, "run", run)
    asked["lose"] = 0
    assert web.poll(server, 1.0).requests == 400
    assert (asked["clients"], asked["rate"], asked["reopen"]) == (8, web.POLL_RATE, True)
    asked["lose"] = 1
    with pytest.raises(load.LoadError, match="meterport ended 1 connections of Modbus clients"):
        web.poll(server, 1.0)


@pytest.fixture
def results():
    found = host_stages.Results(2, 0.5, lambda text: None)
    pages = [wrk.Pages(90, 1, 2, 3, 1.0, 1500.0, 9000.0, worst) for worst in (12000.0, 20000.0)]
    ours, other = Process(GATEWAY), Process(MICRODOT)
    found.web = [
        web.Row(web.Case(ours, 0, False, True), [web.Sample(None, polls())] * 2),
        web.Row(web.Case(ours, 16, True, True), [web.Sample(one, polls()) for one in pages]),
        web.Row(web.Case(other, 1, False, False), [web.Sample(one, None) for one in pages]),
    ]
    found.sieges = [
        web.Siege(GATEWAY, web.LATER, 20.0, polls(), 55, 31, 24, 1, 0, None, 18.0),
        web.Siege(MICRODOT, web.BEFORE, 20.0, None, 32, 32, 0, 18, 18, 0.004, 0.05),
    ]
    return found


def test_tables_have_pages_polls_and_sieges(results):
    sheets = host_tables.sheets(results)
    assert [len(sheet.rows) for sheet in sheets] == [2, 2, 2]
    for sheet in sheets:
        assert all(len(found) == len(sheet.columns) for found in sheet.rows), sheet.title
    tables = host_tables.documented(results)
    assert list(tables) == ["pages", "polls", "slow-visitors"]
    text = "".join(document.markdown(sheet) for sheet in tables.values())
    assert "| 16 connections, kept alive | meterport | yes | 90 | 1.5 | 9.0 | 20.0 | 2 | 10 |" in text
    assert "| no pages | 800 | 800 | 20 | 40 | 100 | 40 |" in text
    assert "| meterport | after them | 31 | 55 | 1 | 0 | never | 18.00 | 400 | 400 | 40 | 100 |" in text
    assert "| microdot 2.7.0 | before them | 32 | 32 | 18 | 18 | 0.00 | 0.05 |  |  |  |  |" in text


def test_the_object_has_all_figures(results):
    found = json.loads(json.dumps(results.as_json()))
    assert [one["polls"] and one["polls"]["asked"] for one in found["web"]] == [800, 800, None]
    assert found["web"][0]["pages"] is None
    assert found["web"][1]["pages"]["answered"] == 180
    assert found["slowloris"][0]["first_s"] is None
    assert found["slowloris"][1]["polls"] is None
