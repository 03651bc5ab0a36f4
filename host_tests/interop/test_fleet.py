"""tools/fleet against mosquitto: everything arrives through outages, restarts and power cuts, at different moments; and
a firmware that loses a record, or sends as all others do, is found out."""

import contextlib
import io

import pytest

from firmware.history import records
from firmware.services.mqtt import history as mqtt_history
from host_tests.documents import FLEET, ROOT, commands
from host_tests.mosquitto import Mosquitto
from host_tests.system.rig import HOST
from host_tests.time_series import VictoriaMetrics
from tools import gateway
from tools.fleet import __main__ as fleet_tool
from tools.fleet import ledger
from tools.fleet import run as fleet

USER, PASSWORD = "gateway", "geheim"


@pytest.fixture
def broker(tmp_path):
    """With what examples/mosquitto.conf has; its listener is on another address, and its passwords in another file."""
    text = (ROOT / "examples" / "mosquitto.conf").read_text()
    for line in ("listener 1883\n", "password_file /etc/mosquitto/passwords\n"):
        assert text.count(line) == 1
        text = text.replace(line, "")
    persistence = ["persistence true", f"persistence_location {tmp_path}/"]  # as Debian's mosquitto.conf
    with Mosquitto(tmp_path / "mosquitto", USER, PASSWORD, text.splitlines() + persistence) as broker:
        yield broker


@pytest.fixture
def arguments(broker, monkeypatch):
    """Of the command, for the broker."""
    monkeypatch.setenv(fleet_tool.PASSWORD, PASSWORD)
    return ["--broker", f"{HOST}:{broker.port}", "--user", USER]


def play(broker, **options):
    return fleet.run(fleet.Options(((HOST, broker.port),), user=USER, password=PASSWORD, **options))


def test_every_record_of_fifty_gateways_arrives_through_an_outage_and_restarts(broker):
    result = play(broker, gateways=50, minutes=6, commit_s=60, restarts=0.4)
    assert result.is_whole, str(result)
    assert (result.restarts, result.cuts) == (10, 10)
    assert result.counts.connections >= 50 * 2
    assert 50 * 4 < result.made <= 50 * 7
    assert result.made - result.cut <= result.delivered <= result.made
    assert result.twice > 0  # the cursor of a power cut is an old one
    assert 50 * 3 * 2 < result.values <= result.counts.values
    # Six minutes' records of 50 gateways in 55 offsets: none has many.
    assert result.largest_share < 0.15
    assert result.virtual_s == pytest.approx(360, abs=5)


def test_every_record_that_is_posted_is_in_the_database(tmp_path):
    with VictoriaMetrics(tmp_path / "victoria-metrics") as database:
        url = f"http://{HOST}:{database.port}/write"
        result = fleet.run(fleet.Options((), gateways=30, minutes=6, commit_s=60, restarts=0.4, database=url))
    assert result.is_whole, str(result)
    assert (result.restarts, result.cuts) == (6, 6)
    assert result.made - result.cut <= result.delivered <= result.made
    assert result.made > 30 * 4
    assert result.twice > 0
    assert result.largest_share < 0.2


def test_gateways_that_all_send_at_the_full_minute_are_found_out(broker, monkeypatch):
    monkeypatch.setattr("firmware.history.records.offset_s", lambda serial, width_s: 0)
    result = play(broker, gateways=20, minutes=3, outages=0, restarts=0, spread_s=0.2)
    assert result.is_whole, str(result)
    assert result.largest_share > 0.4
    assert (result.counts.connections, result.twice) == (
        20,
        0,
    )  # nothing ran into a time-out, however busy the machine is


def test_a_record_that_is_never_sent_is_missed(arguments, monkeypatch):
    untouched = mqtt_history.HistorySender.next
    dropped = []

    async def next_but_one(self):
        packet = await untouched(self)
        if packet and not dropped and self._gateway == ledger.serial(3) and self.delivered:
            dropped.append(self.records.time_s)
            self.acknowledge(self._window[-1].identifier)
            packet = None
        return packet

    monkeypatch.setattr(mqtt_history.HistorySender, "next", next_but_one)
    told, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complaint):
        options = "--gateways 5 --minutes 5 --outages 0 --restarts 0"
        code = fleet_tool.main([*options.split(), *arguments])
    assert code == 1
    assert complaint.getvalue() == f"lost: gateway3, record of {dropped[0]}\n"
    assert "messages in the busiest second" in told.getvalue()


@pytest.mark.parametrize("command", sorted({command for _, _, command in commands() if command.startswith(FLEET)}))
def test_the_command_of_a_document_runs(arguments, command, capsys):
    fewer = ["--gateways", "4", "--minutes", "3", *arguments]
    assert fleet_tool.main([*command.split()[3:], *fewer]) == 0
    assert "4 gateways, 3 minutes" in capsys.readouterr().out


def test_a_record_that_is_never_posted_is_missed(tmp_path, monkeypatch):
    untouched = records.FlashRecords.pass_on
    skipped = []

    def pass_one_too_many(self, *args):
        untouched(self, *args)
        if not skipped:
            skipped.append(self.cursor)
            self.cursor += 1

    monkeypatch.setattr(records.FlashRecords, "pass_on", pass_one_too_many)
    with VictoriaMetrics(tmp_path / "victoria-metrics") as database:
        url = f"http://{HOST}:{database.port}/write"
        result = fleet.run(fleet.Options((), gateways=3, minutes=5, outages=0, restarts=0, database=url))
    assert skipped
    assert not result.is_whole
    assert (result.lost, result.delivered) == (1, result.made - 1)


def test_without_a_database_it_says_so(capsys):
    (port,) = gateway.free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "_READY_S", 0.5)
        assert fleet_tool.main(["--gateways", "2", "--database", f"http://{HOST}:{port}/write"]) == 2
    assert capsys.readouterr().err.startswith("no database: ")
    assert fleet_tool.main(["--gateways", "2", "--database", "https://host/write"]) == 2
    assert capsys.readouterr().err == "https://host/write: must be http://HOST:PORT/write\n"


def test_without_a_broker_it_says_so(capsys):
    (port,) = gateway.free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "_READY_S", 0.5)
        assert fleet_tool.main(["--gateways", "2", "--broker", f"{HOST}:{port}"]) == 2
    assert capsys.readouterr().err.startswith("no broker: ")


@pytest.mark.parametrize("user", ["", USER])
def test_a_broker_that_refuses_is_said_without_a_traceback(broker, monkeypatch, capsys, user):
    monkeypatch.setattr(fleet, "_READY_S", 0.5)
    monkeypatch.setenv(fleet_tool.PASSWORD, "wrong")
    assert fleet_tool.main(["--gateways", "2", "--broker", f"{HOST}:{broker.port}", "--user", user]) == 2
    assert capsys.readouterr().err == "no broker: it refuses: not authorized\n"


@pytest.mark.parametrize(
    "arguments",
    [["--gateways", "0"], ["--minutes", "0"], ["--broker", "host"], ["--broker", ":1"], ["--restarts", "101"]],
)
def test_wrong_arguments_are_named(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        fleet_tool.main(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def line(gateway=7, meter=1, energy=0, begin_s=600):
    energy += ledger.energy_wh(gateway, meter, begin_s + 60)
    tags = b"meterport,gw=%s,meter=m%d " % (ledger.serial(gateway), meter)
    return tags + b"energy_import_wh=%di,active_power_w=%d %d\n" % (energy, ledger.power_w(gateway, meter), begin_s)


@pytest.mark.parametrize(
    "payload",
    [line(energy=1), line(begin_s=660), line(gateway=8), line(meter=2), line()[:-2] + b"1\n", line() + b"x", b"\n"],
)
def test_a_line_that_nobody_made_is_found(payload):
    book = ledger.Ledger(2, 60)
    book.make(7, 600)
    book.take(line(meter=0))
    book.take(payload)
    assert book.wrong == 1
    assert book.first_wrong


def test_a_record_has_arrived_with_the_last_of_its_lines():
    book = ledger.Ledger(2, 60)
    book.make(7, 600)
    book.take(line(meter=0))
    book.take(line(meter=0))
    assert (book.delivered, book.again, book.twice, book.missing()) == (0, 1, {(7, 600)}, [(7, 600)])
    book.take(line(meter=1))
    assert (book.delivered, book.missing()) == (1, [])


@pytest.mark.parametrize(("topic", "payload"), [
    ("gateway7/m1/active_power", b"%d" % (ledger.power_w(7, 1) + 1)), ("gateway7/m2/active_power", b"1"),
    ("gateway7/m1/energy_import", b"%d" % ledger.energy_wh(7, 1, ledger.EPOCH_S - 600)),  # it falls
    ("gateway7/m1/energy_import", b"%d" % ledger.energy_wh(7, 1, ledger.EPOCH_S + 120)),  # it is ahead of its time
    ("gateway7/m1/energy_import", b"nan"), ("gateway7/m1/active_power", b""),
])  # fmt: skip
def test_a_value_that_no_meter_has_is_found(topic, payload):
    book = ledger.Ledger(2, 60)
    for at_s in (0, 60, 60):
        energy = b"%d" % ledger.energy_wh(7, 1, ledger.EPOCH_S + at_s)
        book.take_value(b"fleet/gateway7/m1/energy_import", energy, ledger.EPOCH_S + at_s + 2)
    book.take_value(b"fleet/gateway7/m1/active_power", b"%d" % ledger.power_w(7, 1), ledger.EPOCH_S + 62)
    book.take_value(b"fleet/gateway7/m1/status", b"online", ledger.EPOCH_S + 62)
    assert (book.values, book.wrong) == (4, 0)
    book.take_value(b"fleet/" + topic.encode(), payload, ledger.EPOCH_S + 62)
    assert (book.values, book.wrong) == (4, 1)


def test_in_a_cluster_an_energy_may_arrive_behind_a_later_one():
    book = ledger.Ledger(2, 60, is_ordered=False)
    for at_s in (60, 0):
        energy = b"%d" % ledger.energy_wh(7, 1, ledger.EPOCH_S + at_s)
        book.take_value(b"fleet/gateway7/m1/energy_import", energy, ledger.EPOCH_S + 62)
    assert (book.values, book.wrong) == (2, 0)
