"""The configuration that make flash writes: the firmware's own check, the user's boards and profiles beside it."""

import json

import pytest

from tools import build
from tools.device import configuration
from tools.device.port import UsageError

BOARD = {"title": "mine", "port": "esp32", "lines": [{"name": "rs485", "uart": 2, "tx": 17, "rx": 16}]}


@pytest.fixture
def data(tmp_path):
    """A folder as make backup makes it, with a board and a profile of the user's own."""
    meter = {"name": "m", "unit": 1, "slot": 1, "profile": "own"}
    config = {"name": "attic", "board": "mine", "buses": [{"uart": "rs485"}], "meters": [meter]}
    for name, content in (("config.json", config), ("boards/mine.json", BOARD)):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "data" / "meters").mkdir()
    profile = build.ROOT / "firmware" / "meters" / "profiles" / "pzem-004t-v3.json"
    (tmp_path / "data" / "meters" / "own.json").write_bytes(profile.read_bytes())
    return tmp_path / "data"


def test_boards_and_profiles_beside_the_configuration_go_with_it(data):
    files = configuration.gather(str(data / "config.json"))
    assert sorted(files) == ["data/boards/mine.json", "data/config.json", "data/meters/own.json"]
    configuration.check(files, "esp32")
    (data / "meters" / "own.json").unlink()
    with pytest.raises(UsageError, match="meters.0..*own"):
        configuration.check(configuration.gather(str(data / "config.json")), "esp32")


def test_a_board_of_the_users_own_has_its_chip_checked(data):
    with pytest.raises(UsageError, match="mine is a board of esp32, and the image is for RP2040: nothing was written"):
        configuration.check(configuration.gather(str(data / "config.json")), "RP2040")
    (data / "boards" / "mine.json").write_text(json.dumps(BOARD | {"port": "rp2"}))
    configuration.check(configuration.gather(str(data / "config.json")), "RP2040")


@pytest.mark.parametrize(
    ("board", "fits", "others"),
    [
        ("pico-w", "RP2040", ("RP2350", "esp32")),
        ("pico-2-w", "RP2350", ("RP2040",)),
        ("w5500-evb-pico2", "RP2350", ("RP2040",)),
        ("wt32-eth01", "esp32", ("esp32s3", "esp32c3", "RP2040")),
        ("waveshare-esp32-s3-eth", "esp32s3", ("esp32",)),
    ],
)
def test_a_board_of_the_firmware_takes_images_for_its_own_chip_only(board, fits, others):
    files = configuration.gather("", board)
    configuration.check(files, fits)
    for chip in others:
        with pytest.raises(UsageError, match=f"{board} .*, and the image is for {chip}: nothing was written"):
            configuration.check(files, chip)


def test_a_board_of_the_users_own_may_name_its_chip(data):
    (data / "boards" / "mine.json").write_text(json.dumps(BOARD | {"chip": "esp32s3"}))
    files = configuration.gather(str(data / "config.json"))
    configuration.check(files, "esp32s3")
    with pytest.raises(UsageError, match="mine has an esp32s3, and the image is for esp32: nothing was written"):
        configuration.check(files, "esp32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"modbus": {"port": 70000}}', r"modbus\.port: 70000 is not 1 to 65535"),
        ('{"nmae": "x"}', "nmae: unknown key"),
        ('{"network": 5}', r"network: must be an object"),
        (
            '{"board": "nothing"}',
            "board: there is no data/boards/nothing.json and none of the firmware; there are esp32",
        ),
        ('{"name": "%s"}' % ("x" * 70000), "bytes are more than"),
    ],
)
def test_what_the_firmware_would_refuse_is_refused_with_its_words(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"would refuse this configuration, nothing was written:\n  .*{message}"):
        configuration.check(configuration.gather(str(path)), "esp32")


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_file_that_is_no_object_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"config\.json: "):
        configuration.gather(str(path))
    with pytest.raises(UsageError, match="No such file"):
        configuration.gather(str(tmp_path / "none.json"))
