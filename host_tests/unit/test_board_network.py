"""The network settings of the boards, on fakes of MicroPython's machine and network."""

import pytest

from host_tests.unit import fake_ports
from host_tests.unit.fakes import defaults
from host_tests.unit.the_schema import SCHEMA

FIXED = {"dhcp": False, "address": "192.0.2.9", "netmask": "255.255.255.0"}
EVB = "W5500-EVB-Pico with RP2040"
BOTH = pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC, fake_ports.PICO_W])
WIRED = pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC, EVB])


@pytest.fixture
def port(monkeypatch, machine_name):
    return fake_ports.install(monkeypatch, machine_name)


def settings(**values):
    return defaults(SCHEMA["network"], ssid="plant", password="geheim") | values


def link(port, config):
    return port.board.Board().open_link(config)


def told(port):
    """What the interface was told; without the power saving, which each port has its own number for, and a repeated
    active(True)."""
    calls = [call for call in port.calls if call[0] not in ("config", "WLAN", "LAN")]
    return [call for i, call in enumerate(calls) if call != ("active", True) or call not in calls[:i]]


@BOTH
def test_with_dhcp_the_interface_finds_its_own_address(port):
    link(port, settings(hostname="gate7")).connect()
    assert told(port) == [("hostname", "gate7"), ("active", True), ("connect", "plant", "geheim")]


@BOTH
def test_a_fixed_address_is_given_before_it_connects(port):
    link(port, settings(**FIXED, gateway="192.0.2.1", dns="192.0.2.2")).connect()
    assert told(port)[1:] == [
        ("active", True),
        ("ifconfig", ("192.0.2.9", "255.255.255.0", "192.0.2.1", "192.0.2.2")),
        ("connect", "plant", "geheim"),
    ]


@BOTH
def test_without_gateway_and_name_server_the_interface_gets_what_it_takes(port):
    link(port, settings(**FIXED)).connect()
    assert told(port)[2] == ("ifconfig", ("192.0.2.9", "255.255.255.0", "192.0.2.9", "0.0.0.0"))


@BOTH
def test_power_saving_is_switched_off(port, machine_name):
    link(port, settings()).connect()
    assert ("config", {"pm": 0 if machine_name == fake_ports.CLASSIC else 0xA11140}) in port.calls


@WIRED
def test_ethernet_takes_the_same_settings(port):
    link(port, settings(link="ethernet", hostname="gate8", **FIXED)).connect()
    assert told(port) == [
        ("hostname", "gate8"),
        ("active", True),
        ("ifconfig", ("192.0.2.9", "255.255.255.0", "192.0.2.9", "0.0.0.0")),
    ]


@pytest.mark.parametrize("machine_name", [EVB])
def test_a_new_board_without_wifi_takes_its_ethernet(port):
    """The default of network.link is "wifi": after a factory reset, too, nobody would reach it."""
    new = link(port, defaults(SCHEMA["network"]))
    new.connect()
    assert told(port) == [("hostname", "meterport"), ("active", True)]
    assert not port.board.Board().has_wifi


@WIRED
def test_ethernet_goes_without_wifi(port):
    # On the ESP32 before 1.29 the events of one are taken for those of the other (network_lan.c).
    link(port, settings(link="ethernet")).connect()
    assert ("WLAN",) not in port.calls


@BOTH
def test_details_are_the_addresses_and_the_signal_while_connected(port):
    wifi = link(port, settings())
    assert wifi.details() == (None, None, None, None, "02:00:00:00:00:ab", None)
    port.connected = True
    assert wifi.details() == ("192.0.2.9", "255.255.255.0", "192.0.2.1", "192.0.2.2", "02:00:00:00:00:ab", -61)
    assert wifi.dns_servers() == ["192.0.2.2"]


@pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC])
def test_details_have_no_signal_when_the_access_point_has_just_gone(port):
    wifi = link(port, settings())
    port.connected, port.associated = True, False
    assert wifi.details()[-2:] == ("02:00:00:00:00:ab", None)


@BOTH
def test_no_link_is_up_without_an_interface(port):
    none = link(port, settings(link="none"))
    assert none.up()
    none.connect()
    assert (none.address(), none.details(), none.dns_servers()) == ("0.0.0.0", (None,) * 6, [])
    assert told(port) == []


# -- what fails


class Never:
    """An interface that cannot be opened: everything else of the firmware goes on, and connect() says why."""

    def __init__(self, port, config):
        self.link = link(port, config)
        assert not self.link.up()
        assert (self.link.address(), self.link.details(), self.link.dns_servers()) == ("0.0.0.0", (None,) * 6, [])

    def reason(self):
        with pytest.raises(OSError, match="cannot open") as raised:
            self.link.connect()
        return str(raised.value)


@pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC])
def test_a_phy_that_does_not_answer_leaves_the_gateway_without_network_and_running(port):
    port.phy_answers = False
    reason = Never(port, settings(link="ethernet")).reason()
    assert reason == "cannot open ethernet: OSError('esp_eth_driver_install failed')"


@pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC])
@pytest.mark.parametrize(
    ("name", "power", "address", "clock", "mode"),
    [
        ("wt32-eth01", 16, 1, 0, 1),
        ("olimex-gateway", 5, 0, 17, 3),
        ("olimex-poe", 12, 0, 17, 3),
        ("olimex-poe-wrover", 12, 0, 0, 3),
    ],
)
def test_each_board_with_a_lan8720_has_its_own_wiring(port, name, power, address, clock, mode):
    link(port, settings(link="ethernet", ethernet=name)).connect()
    assert port.lan == {
        "phy_type": 1, "phy_addr": address, "spi": None, "mdc": 23, "mdio": 18, "power": power, "ref_clk": clock,
        "ref_clk_mode": mode,
    }  # fmt: skip


SPI = {"spi_sck": 12, "spi_mosi": 13, "spi_miso": 14, "spi_cs": 10, "spi_int": 11}


@pytest.mark.parametrize("machine_name", [fake_ports.S3])
def test_a_w5500_is_opened_with_the_pins_of_the_configuration(port):
    link(port, settings(link="ethernet", ethernet="w5500", **SPI)).connect()
    assert port.lan == {"phy_type": 9, "phy_addr": 0, "spi": (1, 12, 13, 14), "cs": 10, "int": 11}


@pytest.mark.parametrize("machine_name", [fake_ports.S3])
@pytest.mark.parametrize("missing", SPI)
def test_a_w5500_without_one_of_its_pins_is_no_network_and_says_which_keys_it_needs(port, missing):
    reason = Never(port, settings(link="ethernet", ethernet="w5500", **SPI | {missing: None})).reason()
    assert f"network.{missing}" in reason
    assert port.used == set()


@pytest.mark.parametrize("machine_name", [fake_ports.WROVER])
@pytest.mark.parametrize(
    ("name", "is_open"), [("olimex-gateway", False), ("olimex-poe", False), ("olimex-poe-wrover", True)]
)
def test_a_wrover_takes_only_the_wiring_that_leaves_the_psram_its_pins(port, name, is_open):
    config = settings(link="ethernet", ethernet=name)
    if is_open:
        link(port, config).connect()
    else:
        assert "pin 17" in Never(port, config).reason()


@pytest.mark.parametrize("machine_name", [fake_ports.S3, fake_ports.PICO_W])
def test_ethernet_where_there_is_none_leaves_the_gateway_running(port):
    assert "cannot open ethernet" in Never(port, settings(link="ethernet")).reason()


@pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC])
@pytest.mark.parametrize("error", [OSError("WiFi Out of Memory"), MemoryError(), RuntimeError("Wifi Unknown Error")])
def test_wifi_that_finds_no_memory_leaves_the_gateway_running(port, error):
    port.wifi_error = error
    assert repr(error) in Never(port, settings()).reason()


@pytest.mark.parametrize("machine_name", [fake_ports.WROVER])
def test_ethernet_never_takes_the_pins_of_the_psram(port):
    # Up to MicroPython 1.27 Pin(16) is accepted there, and the chip dies (machine_pin.h).
    assert "pin 16" in Never(port, settings(link="ethernet")).reason()
    assert port.used == set()


# -- the ESP32's driver connects again by itself


@pytest.fixture
def machine_name():
    return fake_ports.CLASSIC


def test_its_radio_runs_from_the_start_on_since_random_numbers_need_it(port):
    link(port, settings(ssid=""))
    assert told(port)[1:] == [("active", True)]


def test_while_the_driver_connects_it_is_not_configured_again(port):
    wifi = link(port, settings())
    for _ in range(3):  # at 0, 10 and 30 s
        wifi.connect()
    assert told(port)[1:] == [("active", True), ("connect", "plant", "geheim")]


def test_a_driver_that_has_given_up_is_started_afresh(port):
    wifi = link(port, settings())
    for _ in range(7):
        wifi.connect()
    afresh = [("disconnect",), ("connect",)]
    assert told(port)[2:] == [("connect", "plant", "geheim"), *afresh, *afresh]


def test_a_connect_that_failed_is_tried_in_full_again(port):
    wifi = link(port, settings())
    port.connecting = True
    with pytest.raises(OSError, match="Wifi Internal State Error"):
        wifi.connect()
    port.connecting = False
    wifi.connect()
    assert told(port)[-1] == ("connect", "plant", "geheim")


def test_without_an_ssid_it_says_so(port):
    with pytest.raises(OSError, match=str(19)):
        link(port, settings(ssid="")).connect()
