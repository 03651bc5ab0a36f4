"""docs/fleet.md has the tables that tools/fleet/arithmetic.py makes."""

import pytest

from host_tests.documents import ROOT
from tools.fleet import arithmetic

PAGE = ROOT / "docs" / "fleet.md"


def test_the_page_has_the_tables_of_the_command(tmp_path):
    copy = tmp_path / "fleet.md"
    copy.write_text("head\n" + arithmetic.BEGIN + "old\n" + arithmetic.END + "\ntail\n")
    assert arithmetic.main(["--into", str(copy)]) == 0
    tables = copy.read_text().removeprefix("head\n").removesuffix("\ntail\n")
    assert tables in PAGE.read_text()


def test_the_bounds_that_are_measured_are_those_of_the_page():
    page = PAGE.read_text()
    assert f"({arithmetic.DATABASE_BYTES} for a value in VictoriaMetrics" in page
    assert f"({arithmetic.BROKER_BYTES:,} for a connection in mosquitto" in page


def test_twice_the_gateways_send_twice_as_much(capsys):
    arithmetic.main(["--gateways", "10000"])
    once = capsys.readouterr().out
    arithmetic.main(["--gateways", "20000"])
    twice = capsys.readouterr().out
    assert "| 300 | 33 |" in once
    assert "| 300 | 67 |" in twice


@pytest.mark.parametrize("arguments", [["--gateways", "0"], ["--into", "README.md"]])
def test_wrong_arguments_are_named(arguments, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as caught:
        arithmetic.main(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err
