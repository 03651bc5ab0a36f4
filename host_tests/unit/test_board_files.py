"""Board files: those of the firmware are right, wrong ones are named, and a configuration takes its pins from one."""

import errno
import json
import os
import re

import pytest

from firmware import resources
from firmware.config import board_files, load
from host_tests.unit import fake_ports, fakes
from host_tests.unit.fake_ports import CLASSIC, errno_of
from host_tests.unit.test_reference import code, tables
from host_tests.unit.the_schema import BUS, SCHEMA

NAMES = board_files.names()
GOOD = {"title": "Mine", "port": "rp2", "lines": [{"name": "rs485", "uart": 1, "tx": 8, "rx": 9}]}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "boards"
    folder.mkdir(parents=True)

    def write(name, document):
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / f"{name}.json").write_text(text)

    return write


def applied(document):
    config, errors = load.validate(document)
    assert errors == []
    board_files.apply(config)
    return config


def test_the_boards_that_one_can_buy_have_files():
    assert {
        "pico-w", "pico-2-w", "w5500-evb-pico", "w5500-evb-pico2", "esp32-devkit", "wt32-eth01", "olimex-esp32-poe",
        "olimex-esp32-poe-iso", "waveshare-esp32-s3-eth", "lilygo-t-can485",
    } == set(NAMES)  # fmt: skip
    assert ["names", *NAMES] == list(json.loads(resources.read("board/boards.json")))
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_no_pin_of_a_board_of_the_firmware_has_two_uses(name):
    board = board_files.load(name)
    used = [pin for line in board["lines"] for pin in (line["tx"], line["rx"], line["direction"], *line["high"])]
    used += [board["led"], board["button"]]
    used = [pin for pin in used if pin is not None]
    assert len(used) == len(set(used))
    wiring = board["ethernet"]
    if wiring["phy"] == "w5500":
        rest = [wiring[key] for key in ("sck", "mosi", "miso", "cs", "interrupt")]
    elif wiring["phy"] != "none":
        rest = [wiring[key] for key in ("mdc", "mdio", "power", "clock")]
    else:
        rest = []
    assert set(rest) <= set(board["forbidden"])
    assert board["terminals"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bus_takes_uart_and_pins_from_the_board(name):
    board = board_files.load(name)
    [bus] = applied({"board": name, "buses": [{"uart": "rs485"}]})["buses"]
    line = board["lines"][0]
    assert {key: bus[key] for key in ("uart", "tx", "rx", "direction", "high")} == {
        key: line[key] for key in ("uart", "tx", "rx", "direction", "high")
    }


def test_what_the_configuration_says_goes_before_the_board():
    config = applied({"board": "pico-w", "finder": {"led": 3}, "buses": [{"uart": 1, "tx": 8, "rx": 9}]})
    assert (config["buses"][0]["tx"], config["buses"][0]["rx"], config["buses"][0]["direction"]) == (8, 9, 6)
    assert config["finder"]["led"] == 3


def test_the_button_is_where_the_board_has_it_unless_something_has_its_pin():
    assert applied({"board": "olimex-esp32-poe", "buses": [{"uart": "rs485"}]})["system"]["button"] == 34
    for use in ({"buses": [{"uart": 2, "tx": 4, "rx": 34}]}, {"finder": {"led": 34}}):
        assert "button" not in applied({"board": "olimex-esp32-poe", **use})["system"]


def test_a_line_and_ethernet_are_opened_as_the_board_says(monkeypatch):
    config = applied({"board": "wt32-eth01", "network": {"link": "ethernet"}, "buses": [{"uart": "rs485"}]})
    port = fake_ports.install(monkeypatch, CLASSIC)
    board = port.board.Board()
    assert board.open_link(config["network"]).connect() is None
    board.open_line(config["buses"][0])
    assert (port.uart.number, port.uart.pins) == (2, (17, 5))
    assert errno_of(board.open_line, fakes.defaults(BUS, uart=1, tx=16, rx=5))[0] == errno.EINVAL


def test_ethernet_by_a_w5500_takes_its_pins_from_the_board(monkeypatch):
    config = applied({"board": "waveshare-esp32-s3-eth", "network": {"link": "ethernet"}})
    port = fake_ports.install(monkeypatch, fake_ports.S3)
    board = port.board.Board()
    assert board.open_link(config["network"]).connect() is None
    for pin in (12, 13, 14, 15, 16):
        assert f"pin {pin} belongs" in errno_of(board.open_line, fakes.defaults(BUS, uart=1, tx=4, rx=pin))[1]


def test_the_driver_of_the_board_gets_its_supply_before_the_line_is_opened(monkeypatch):
    [bus] = applied({"board": "lilygo-t-can485", "buses": [{"uart": "rs485"}]})["buses"]
    port = fake_ports.install(monkeypatch, CLASSIC)
    port.board.Board().open_line(bus)
    assert [port.pins[pin][-1][1] for pin in (16, 17, 19)] == [1, 1, 1]


def test_without_a_board_nothing_is_loaded_and_pins_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(board_files, "load", None)
    config, errors = load.validate({"buses": [{"uart": 1}]})
    assert (errors, config["board"], config["buses"][0]["tx"]) == ([], "", None)


def test_a_users_file_goes_before_that_of_the_firmware(files):
    files("pico-w", GOOD)
    assert applied({"board": "pico-w", "buses": [{"uart": "rs485"}]})["buses"][0]["tx"] == 8


def test_the_users_own_are_named_beside_the_firmwares(files, tmp_path):
    files("mine", GOOD)
    files("pico-w", GOOD)
    files("no name", GOOD)
    (tmp_path / "data" / "boards" / "notes.txt").touch()
    assert board_files.names() == sorted([*NAMES, "mine"])
    for number in range(20):
        files(f"my-{number:02}", GOOD)
    assert len(board_files.names()) <= len(NAMES) + 16


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (
            {"board": "nothing"},
            "board: there is no data/boards/nothing.json and none of the firmware; there are esp32-",
        ),
        ({"board": "../x"}, 'board: "../x": letters, digits, - and _ only'),
        ({"board": "pico-w", "buses": [{"uart": "rs232"}]}, 'buses[0].uart: the board has no "rs232", but rs485, sec'),
        ({"board": "pico-w", "buses": [{"uart": 1, "tx": 24}]}, "buses[0].tx: the board needs pin 24 itself"),
        ({"board": "pico-w", "buses": [{"uart": 1}, {"uart": "rs485"}]}, "buses[1].uart: 1 is used by the other bus"),
    ],
)
def test_a_configuration_that_does_not_fit_its_board_is_refused(document, error):
    config, errors = load.validate(document)
    assert [text[: len(error)] for text in errors] == [error]
    assert config["board"] in ("", "pico-w")
    assert config["buses"] == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("{", "mine: not JSON"),
        ("[]", "mine: must be an object"),
        (" " * 4097, "mine: not JSON: longer than 4096 bytes"),
        ({"title": 3}, "mine: title: 3 is not a text of 1 to 48 printable characters"),
        ({"colour": "red"}, "mine: colour: unknown key"),
        ({"port": "avr"}, 'mine: port: "avr" is not one of esp32, rp2'),
        ({"lines": [{"name": "a", "uart": 1, "tx": 4}]}, "mine: lines[0].rx: missing"),
        ({"lines": [{"name": "a", "uart": 1, "tx": 99, "rx": 5}]}, "mine: lines[0].tx: 99 is not a GPIO number"),
        ({"forbidden": [9]}, "mine: lines[0].rx: pin 9 is forbidden"),
        ({"forbidden": [-1]}, "mine: forbidden: [-1] is not a list of at most 40 GPIO numbers"),
        ({"terminals": ["x" * 73]}, "mine: terminals: "),
        ({"ethernet": {"phy": "w5500", "sck": 1}}, "mine: ethernet.mosi: missing"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(files, change, error):
    files("mine", change if isinstance(change, str) else GOOD | change)
    config, errors = load.validate({"board": "mine", "buses": [{"uart": 1}]})
    assert [text[: len(error) + 7] for text in errors] == ["board: " + error]
    assert (config["board"], len(config["buses"])) == ("", 1)


def test_a_file_without_a_title_is_refused(files):
    files("mine", {"port": "rp2"})
    with pytest.raises(ValueError, match="mine: title: missing"):
        board_files.load("mine")


def test_a_board_of_another_chip_is_refused_on_the_device(monkeypatch):
    monkeypatch.setattr(os, "uname", lambda: ("rp2", "rp2", "1.25.0", "", "Raspberry Pi Pico W with RP2040"))
    with pytest.raises(ValueError, match="wt32-eth01 is a board of esp32, and this device is rp2"):
        board_files.load("wt32-eth01")
    assert board_files.load("pico-w")["title"].startswith("Pico W")


# -- docs/reference/boards.md


def leaves(rows, path=""):
    for row in rows:
        if row[1] == "section":
            yield from leaves(row[2], path + row[0] + ".")
        elif row[1] == "list":
            yield from leaves(row[2], path + row[0] + "[].")
        else:
            yield path + row[0], row


def test_every_key_of_a_board_file_is_documented():
    rows = {code(row[0]): row[1:] for row in tables("boards", "Keys of a board file")[0]}
    assert list(rows) == [where for where, _ in leaves(board_files.KEYS)]
    for where, row in leaves(board_files.KEYS):
        kind, _, bounds = rows[where]
        assert kind == row[1]
        if kind in ("int", "text"):
            assert bounds == f"{row[3]} to {row[4]}" + (" characters" if kind == "text" else "")
        elif kind == "choice":
            assert bounds == ", ".join(row[3])
        elif kind in ("pins", "drawing"):
            assert [int(number) for number in re.findall(r"\d+", bounds)] == list(row[3:])


def test_every_board_of_the_firmware_is_documented_with_its_pins():
    documented = [[code(row[0]), *row[1:]] for row in tables("boards", "Boards of the firmware")[0]]
    expected = []
    for name in NAMES:
        board = board_files.load(name)
        line, phy = board["lines"][0], board["ethernet"]["phy"]
        cells = (board["title"], board["port"], line["uart"], line["tx"], line["rx"], line["direction"],
                 "" if phy == "none" else phy, board["button"])  # fmt: skip
        expected.append([name, *("" if cell is None else str(cell) for cell in cells)])
    assert documented == expected
    assert SCHEMA["board"] == ("text", "", 0, 32)
