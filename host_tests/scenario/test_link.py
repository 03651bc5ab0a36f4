"""Keeping the link up: Wi-Fi and Ethernet of each board, on access points and cables that come and go."""

import random

import pytest

from firmware.config import board_files, load
from host_tests.unit import fake_ports
from host_tests.unit.radio_bench import DAY_S, RadioBench

EVB = "W5500-EVB-Pico with RP2040"
WIFI = pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC, fake_ports.PICO_W])
WIRED = pytest.mark.parametrize("machine_name", [fake_ports.CLASSIC, EVB])
PLANT = {"ssid": "plant", "password": "geheim"}
THREE = PLANT | {"ssid_2": "office", "password_2": "buero", "ssid_3": "yard"}
FIXED = {"dhcp": False, "address": "192.0.2.77", "netmask": "255.255.255.0"}
LONGEST_S = 60 + 10  # between two tries, and a try


@pytest.fixture
def bench(monkeypatch, machine_name):
    return lambda **config: RadioBench(monkeypatch, machine_name, **config)


@WIFI
def test_it_joins_and_says_where_it_is(bench):
    rig = bench(**PLANT)
    rig.air.add("plant", "geheim", -61)
    rig.run(10)
    assert rig.link.details() == ("192.0.2.9", "255.255.255.0", "192.0.2.254", "192.0.2.254", "02:00:00:00:00:ab", -61)
    assert (rig.link.ssid, rig.log.texts()) == ("plant", ["up: 192.0.2.9 plant"])


@WIFI
def test_a_fixed_address_needs_no_dhcp_server(bench):
    rig = bench(**PLANT, **FIXED)
    rig.air.add("plant", "geheim", dhcp_s=1e6)
    rig.run(10)
    assert rig.link.up()
    assert rig.link.address() == "192.0.2.77"


@WIFI
def test_an_access_point_that_comes_after_a_week_is_joined_within_the_longest_wait(bench):
    rig = bench(**PLANT)
    point = rig.air.add("plant", "geheim")
    point.switch(False)
    rig.at(7 * DAY_S, point.switch, True)
    rig.run(7 * DAY_S)
    assert not rig.link.up()
    assert rig.log.texts() == ["no such network in reach (2.4 GHz only)"]
    rig.run(LONGEST_S)
    assert rig.link.up()


@WIFI
def test_an_access_point_that_reboots_is_joined_again(bench):
    rig = bench(**PLANT)
    point = rig.air.add("plant", "geheim")
    for number in range(20):
        rig.at(300 + 600 * number, point.reboot, 90)
    rig.run(20 * 600)
    assert rig.link.up()
    assert rig.looks - rig.seen_up < 20 * (90 + LONGEST_S)
    # its peers have given up by then
    assert len(rig.closed_at_s) == 20


@WIFI
def test_a_loss_of_some_seconds_ends_no_connection(bench):
    rig = bench(**PLANT)
    point = rig.air.add("plant", "geheim")
    for number in range(20):
        rig.at(300 + 600 * number, point.reboot, 7)
    rig.run(20 * 600)
    assert rig.link.up()
    assert rig.closed_at_s == []


@WIFI
def test_another_address_ends_all_connections(bench):
    rig = bench(**PLANT)
    point = rig.air.add("plant", "geheim")
    rig.at(300, point.reboot, 7)
    rig.at(301, setattr, point, "address", "192.0.2.10")
    rig.run(400)
    assert rig.link.address() == "192.0.2.10"
    assert len(rig.closed_at_s) == 1


@WIFI
@pytest.mark.parametrize("dhcp_s", [9, 25, 45])
def test_a_late_dhcp_server_is_waited_for(bench, dhcp_s):
    rig = bench(**PLANT)
    rig.air.add("plant", "geheim", dhcp_s=dhcp_s)
    rig.run(dhcp_s + 70)
    assert rig.link.up()


@pytest.mark.parametrize("machine_name", [fake_ports.PICO_W])
def test_without_a_dhcp_server_it_says_so_and_joins_afresh_now_and_then(bench):
    rig = bench(**PLANT)
    rig.air.add("plant", "geheim", dhcp_s=1e9)
    rig.run(3600)
    assert rig.log.texts() == ["joined, but no DHCP server gives an address"]
    assert 10 < rig.station.tries < 20


@WIFI
def test_a_wrong_password_is_tried_for_ever_and_counts_when_the_access_point_takes_it(bench, machine_name):
    rig = bench(**PLANT)
    point = rig.air.add("plant", "another")
    rig.at(DAY_S, setattr, point, "key", "geheim")
    rig.run(DAY_S)
    assert not rig.link.up()
    if machine_name == fake_ports.PICO_W:  # an ESP32 takes it for connecting
        assert rig.log.texts() == ["wrong password"]
    rig.run(LONGEST_S)
    assert rig.link.up()


@WIFI
def test_the_strongest_of_several_networks_is_joined(bench):
    rig = bench(**THREE)
    rig.air.add("plant", "geheim", -80)
    rig.air.add("yard", "", -70)
    rig.air.add("office", "buero", -50)
    rig.air.add("office", "of a neighbour", -90)
    rig.run(20)
    assert rig.link.up()
    assert rig.link.ssid == "office"
    assert rig.station.tries == 1


@WIFI
def test_the_next_network_is_tried_where_the_strongest_refuses(bench):
    rig = bench(**THREE)
    rig.air.add("office", "changed", -50)
    rig.air.add("plant", "changed too", -60)
    rig.air.add("yard", "", -80)
    rig.run(60)
    assert rig.link.up()
    assert rig.link.ssid == "yard"


@WIFI
def test_another_network_is_joined_when_the_one_in_use_has_gone(bench):
    rig = bench(**THREE)
    office = rig.air.add("office", "buero", -50)
    rig.air.add("plant", "geheim", -80)
    rig.at(100, office.switch, False)
    rig.run(100 + LONGEST_S)
    assert rig.link.up()
    assert rig.link.ssid == "plant"
    assert rig.log.texts()[-2:] == ["lost", "up: 192.0.3.9 plant"]


@WIFI
def test_a_hidden_network_is_tried_though_no_scan_sees_it(bench):
    rig = bench(**THREE)
    rig.air.add("yard", "").is_hidden = True
    rig.air.add("office", "changed", -50)
    rig.run(120)
    assert rig.link.up()
    assert rig.link.ssid == "yard"


@WIFI
def test_one_network_is_joined_without_a_scan(bench):
    rig = bench(**PLANT)
    rig.station.scan = None
    rig.run(300)
    assert not rig.link.up()


@WIFI
@pytest.mark.parametrize("config", [PLANT, THREE])
def test_an_access_point_that_flaps_for_a_day_is_joined_each_time(bench, config):
    rig = bench(**config)
    rng = random.Random(4)
    point = rig.air.add("plant", "geheim")
    second = 20.0
    losses = 0
    while second < DAY_S - 200:
        rig.at(second, point.reboot, rng.uniform(0.5, 40))
        second += rng.uniform(60, 400)
        losses += 1
    rig.run(DAY_S)
    assert rig.link.up()
    # off for 20 s on the average, and back after the longest wait at the latest
    assert rig.looks - rig.seen_up < losses * (20 + LONGEST_S)
    assert losses > 300


@WIFI
def test_a_driver_that_refuses_everything_for_an_hour_does_not_end_it(bench, monkeypatch):
    rig = bench(**PLANT)
    rig.air.add("plant", "geheim")

    def refuse(*given):
        raise RuntimeError("Wifi Unknown Error 0x0101")

    connect = rig.station.connect
    monkeypatch.setattr(rig.station, "connect", refuse, raising=False)
    rig.run(3600)
    assert set(rig.log.texts()) == {"cannot connect: RuntimeError('Wifi Unknown Error 0x0101')"}
    monkeypatch.setattr(rig.station, "connect", connect)
    rig.run(120)
    assert rig.link.up()


@WIRED
def test_a_cable_may_come_late_and_go(bench):
    rig = bench(link="ethernet")
    rig.cable.cable(False)
    rig.at(DAY_S, rig.cable.cable, True)
    rig.at(DAY_S + 100, rig.cable.cable, False)
    rig.at(DAY_S + 400, rig.cable.cable, True)
    rig.run(DAY_S + 300)
    assert rig.log.texts() == ["up: 192.0.2.9", "lost"]
    assert len(rig.closed_at_s) == 1
    rig.run(110)
    assert rig.link.up()


@WIRED
def test_a_wired_fixed_address_is_up_with_the_cable(bench):
    rig = bench(link="ethernet", **FIXED)
    rig.cable.dhcp_us = int(1e12)
    rig.run(10)
    assert rig.link.address() == "192.0.2.77"
    assert rig.link.up()


@WIRED
def test_a_cable_that_flaps_for_a_day_is_used_each_time(bench):
    rig = bench(link="ethernet")
    rng = random.Random(5)
    second, losses = 20.0, 0
    while second < DAY_S - 100:
        rig.at(second, rig.cable.cable, False)
        off_s = rng.uniform(0.5, 40)
        rig.at(second + off_s, rig.cable.cable, True)
        second += off_s + rng.uniform(20, 300)
        losses += 1
    rig.run(DAY_S)
    assert rig.link.up()
    assert losses > 300
    assert rig.looks - rig.seen_up < losses * 25, "no longer than the cable is out, and DHCP takes"


def wired_board(monkeypatch, machine_name, name, **wiring):
    config, errors = load.validate({"board": name, "network": {"link": "ethernet"}})
    assert errors == []
    board_files.apply(config)
    network = config["network"]
    network["wiring"] = {**network["wiring"], **wiring}
    return RadioBench(monkeypatch, machine_name, **network)


@pytest.mark.parametrize(
    ("machine_name", "name", "phy_type"),
    [
        (fake_ports.CLASSIC, "wt32-eth01", 1), (fake_ports.CLASSIC, "olimex-esp32-poe", 1),
        (fake_ports.CLASSIC, "olimex-esp32-poe-iso", 1), (fake_ports.S3, "waveshare-esp32-s3-eth", 9),
    ],
)  # fmt: skip
def test_the_phy_of_a_boards_file_brings_an_address(monkeypatch, machine_name, name, phy_type):
    rig = wired_board(monkeypatch, machine_name, name)
    rig.run(5)
    assert rig.link.up()
    assert rig.port.lan["phy_type"] == phy_type


def test_a_users_board_file_may_name_an_ip101_that_is_always_on(monkeypatch):
    rig = wired_board(monkeypatch, fake_ports.CLASSIC, "wt32-eth01", phy="ip101", power=None)
    rig.run(5)
    assert rig.link.up()
    assert (rig.port.lan["phy_type"], rig.port.lan["power"]) == (3, None)
