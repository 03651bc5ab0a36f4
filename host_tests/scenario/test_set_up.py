"""Set-up mode: a device without a Wi-Fi network opens its own, and joins the one that the user names there."""

import json
import random
import re
import shutil
import struct

import pytest

from host_tests.unit import fake_ports
from tools.simulator import profiles, radio
from tools.simulator.hosts import Host
from tools.simulator.world import DEVICE, HTTP, World

DNS = 53

PHONE = "192.168.4.16"
PROBES = (
    ("connectivitycheck.gstatic.com", "/generate_204"),  # Android
    ("captive.apple.com", "/hotspot-detect.html"),  # iOS
    ("www.msftconnecttest.com", "/connecttest.txt"),  # Windows
)
BOTH = pytest.mark.parametrize(
    ("machine_name", "profile"), [(fake_ports.CLASSIC, profiles.ESP32_16), (fake_ports.PICO_W, profiles.PICOW_16)]
)


class Phone:
    """A station of the device's own access point."""

    def __init__(self, world):
        self.world = world
        self.host = Host(world.network, PHONE, DEVICE)
        self.udp = self.host.bind_udp(40000)

    async def request(self, text, body=b""):
        stream = await self.host.connect(HTTP)
        await stream.send(text.replace("\n", "\r\n").encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.recv()
        head, _, data = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        while len(data) < length:
            data += await stream.recv()
        stream.close()
        return head.decode(), data.decode()

    async def get(self, path="/setup", host="192.168.4.1"):
        return await self.request(f"GET {path} HTTP/1.1\nHost: {host}\n\n")

    async def ask(self, query):
        """The reply of the device's name server."""
        self.world.network.datagram(self.host, self.udp.port, DEVICE, DNS, query)
        reply, sender = await self.world.until(lambda: self.udp.queue and self.udp.queue.popleft(), 5)
        assert sender == (DEVICE, DNS)
        return reply

    async def join(self, form, origin="http://192.168.4.1"):
        return await self.request(
            f"POST /setup HTTP/1.1\nHost: 192.168.4.1\nOrigin: {origin}\nContent-Length: {len(form)}\n\n", form.encode()
        )

    async def until(self, text, timeout_s):
        end = self.world.now_s + timeout_s
        while self.world.now_s < end:
            _, page = await self.get()
            if text in page:
                return page
            await self.world.sleep(1)
        raise AssertionError(f"no {text!r} within {timeout_s} s: {page}")


@pytest.fixture
def make_world(monkeypatch, tmp_path):
    def make(machine_name, profile, seed=1, **network):
        port = fake_ports.install(monkeypatch, machine_name)
        config = {"network": {"link": "wifi", **network}, "bacnet": {"enabled": False}, "ntp": {"enabled": False}}
        world = World(tmp_path, seed, profile, config=config)
        world.port = port
        world.air = radio.Air(world.timeline)
        station = radio.Cyw43Station if port.is_rp2 else radio.Esp32Station
        world.station = port.wifi = station(world.air)
        world.own = port.own = radio.AccessPointInterface(not port.is_rp2)
        real = port.board.Board()
        world.board.has_wifi = real.has_wifi
        world.board.open_link = real.open_link
        world.board.access_point = real.access_point
        world.board.identity = lambda: ("simulated", "e6614c311b7e6f35")
        return world

    return make


async def open_portal(world):
    await world.until(lambda: world.app.service("http").portal is not None, 15)
    assert world.own.is_active


def run(world, scenario):
    async def whole(_):
        await scenario(Phone(world))

    world.run(whole)


@BOTH
def test_the_access_point_has_a_random_password_which_is_kept_for_the_label(
    make_world, machine_name, profile, tmp_path
):
    seen = []

    async def scenario(phone):
        world = phone.world
        await open_portal(world)
        password = world.own.given["key"]
        assert re.fullmatch("[a-km-np-z2-9]{12}", password)
        assert world.own.given["ssid"] == "meterport-6f35"
        assert world.own.given["security"] in (3, 0x400004), "WPA2"
        await world.sleep(1)
        assert len([line for line in world.console.lines if password in line]) == 1
        assert not [line for line in world.events() if password in line[2]], "the log is read over the network"
        seen.append(password)

    def start():
        run(make_world(machine_name, profile, seed=len(seen)), scenario)

    start()
    start()
    shutil.rmtree(tmp_path / "data", ignore_errors=True)  # a factory reset
    start()
    assert len(set(seen)) == 1
    label = tmp_path / "label" / "wifi"
    for wrong in (b"", b"short", b"with blanks.", None):
        if wrong is None:
            shutil.rmtree(label.parent)
        else:
            label.write_bytes(wrong)
        start()
        assert label.read_bytes().decode() == seen[-1]
    assert len(set(seen)) == 5


@BOTH
def test_phones_and_computers_are_led_to_the_page(make_world, machine_name, profile):
    world = make_world(machine_name, profile)

    async def scenario(phone):
        await open_portal(world)
        for host, path in PROBES:
            head, _ = await phone.get(path, host)
            assert head.startswith("HTTP/1.1 302 ")
            assert "Location: http://192.168.4.1/setup\r\n" in head
        head, page = await phone.get()
        assert head.startswith("HTTP/1.1 200 ")
        assert "2.4 GHz only" in page
        head, _ = await phone.get("/api/session")
        assert head.startswith("HTTP/1.1 200 "), "the device's own page is there as well"

    run(world, scenario)


@BOTH
def test_networks_are_listed_strongest_first_and_each_once(make_world, machine_name, profile):
    world = make_world(machine_name, profile)
    world.air.add("yard", "", -80)
    world.air.add('<b>"&', "geheim12", -50)
    world.air.add("plant", "geheim12", -70)
    world.air.add("plant", "geheim12", -60)
    world.air.add("hidden", "geheim12", -40).is_hidden = True

    async def scenario(phone):
        await open_portal(world)
        _, page = await phone.get()
        assert re.findall(r'value="([^"]+)"> \1 (.*?)</label>', page) == [
            ("&lt;b&gt;&quot;&amp;", "(-50 dBm)"), ("plant", "(-60 dBm)"), ("yard", "(-80 dBm, open)"),
        ]  # fmt: skip

    run(world, scenario)


@BOTH
def test_a_network_is_joined_saved_and_its_address_shown(make_world, machine_name, profile, tmp_path):
    world = make_world(machine_name, profile)
    world.air.add("plant & yard", "geheim+ %12")
    restarts = []
    world.board.reset = lambda: restarts.append(world.now_s)

    async def scenario(phone):
        await open_portal(world)
        head, _ = await phone.join("network=plant+%26+yard&ssid=&password=geheim%2B+%2512")
        assert head.startswith("HTTP/1.1 303 ")
        assert "Location: /setup\r\n" in head
        page = await phone.until("Joined <b>plant &amp; yard</b>", 10)
        assert 'href="http://192.0.2.9/"' in page
        saved = json.loads((tmp_path / "data" / "config.json").read_text())
        assert saved["network"] == {"link": "wifi", "ssid": "plant & yard", "password": "geheim+ %12"}
        assert len(saved["meters"]) == 3, "the rest of the file is as it was"
        joined_s = world.now_s
        await world.sleep(110)
        await phone.get()
        assert world.own.is_active
        await world.until(lambda: restarts, 20)
        assert 115 < restarts[0] - joined_s < 130

    run(world, scenario)
    assert not world.own.is_active


@BOTH
def test_a_wrong_password_locks_nobody_out(make_world, machine_name, profile, tmp_path):
    world = make_world(machine_name, profile)
    world.air.add("plant", "geheim12")

    async def scenario(phone):
        await open_portal(world)
        before = (tmp_path / "data" / "config.json").read_text()
        for _ in range(3):
            await phone.join("network=plant&password=wrong%20again")
            page = await phone.until('class="bad"', 40)
            assert "plant was not joined" in page
            assert "password" in page
        await phone.join("network=&ssid=nowhere&password=")
        assert "no such network in reach" in await phone.until("nowhere was not joined", 40)
        assert (tmp_path / "data" / "config.json").read_text() == before
        await phone.join("network=plant&password=geheim12")
        await phone.until("Joined <b>plant</b>", 10)

    run(world, scenario)


@BOTH
def test_a_page_from_before_a_try_still_names_the_network_that_it_shows(make_world, machine_name, profile):
    """The networks are looked for again after a try that failed."""
    world = make_world(machine_name, profile)
    world.air.add("plant", "geheim12", -50)

    async def scenario(phone):
        await open_portal(world)
        _, page = await phone.get()
        value = re.search(r'value="([^"]+)"> plant', page)[1]
        world.air.add("nearer", "geheim34", -40)
        await phone.join("network=&ssid=nowhere&password=")
        assert "nearer (-40 dBm)" in await phone.until("nowhere was not joined", 40)
        await phone.join(f"network={value}&password=geheim12")
        await phone.until("Joined <b>plant</b>", 10)

    run(world, scenario)


@BOTH
def test_a_form_that_cannot_be_right_is_refused_at_once(make_world, machine_name, profile):
    world = make_world(machine_name, profile)

    async def scenario(phone):
        await open_portal(world)
        for form, why in (
            ("", "1 to 32 bytes"), ("ssid=" + "x" * 33, "1 to 32 bytes"), ("network=" + "x" * 33, "1 to 32 bytes"),
            ("ssid=plant&password=short", "8 to 63"), ("ssid=plant&password=" + 64 * "x", "8 to 63"),
        ):  # fmt: skip
            await phone.join(form)
            _, page = await phone.get()
            assert why in page
        assert (await phone.join("ssid=%zz"))[0].startswith("HTTP/1.1 400 ")
        assert (await phone.join("ssid=plant", origin="http://example.org"))[0].startswith("HTTP/1.1 403 ")
        assert world.station.tries == 0

    run(world, scenario)


@BOTH
def test_only_stations_of_the_access_point_see_the_page(make_world, machine_name, profile):
    world = make_world(machine_name, profile)

    async def scenario(phone):
        await open_portal(world)
        phone.host = world.host()
        head, _ = await phone.get()
        assert head.startswith("HTTP/1.1 404 ")
        head, _ = await phone.get("/generate_204", "connectivitycheck.gstatic.com")
        assert head.startswith("HTTP/1.1 404 ")

    run(world, scenario)


@BOTH
def test_the_dns_server_has_one_slot_of_the_budget_and_only_in_set_up_mode(make_world, machine_name, profile):
    general = []
    for ssid in ("", "plant"):
        world = make_world(machine_name, profile, ssid=ssid)

        async def scenario(phone, world=world, ssid=ssid):
            await world.sleep(15)
            assert world.own.is_active is (not ssid)
            general.append((world.budget.general, len(world.budget.services)))

        run(world, scenario)
    (with_dns, held), (without, held_without) = general
    assert (with_dns, held) == (without - 1, held_without + 1)


@BOTH
def test_every_name_leads_to_the_device(make_world, machine_name, profile):
    world = make_world(machine_name, profile)

    async def scenario(phone):
        await open_portal(world)
        rng = random.Random(3)
        for number in range(20):
            name = bytes(rng.choice(b"abcdefgh") for _ in range(rng.randint(1, 60)))
            query = struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + bytes([len(name)]) + name + b"\0\0\x01\0\x01"
            reply = await phone.ask(query)
            assert reply[:2] == query[:2]
            assert reply.endswith(b"\xc0\xa8\x04\x01")

    run(world, scenario)


@BOTH
def test_the_button_opens_the_access_point_of_a_configured_device(make_world, machine_name, profile, tmp_path):
    restarts = []

    def start(held_s):
        world = make_world(machine_name, profile, ssid="plant", password="geheim12")
        world.air.add("plant", "geheim12")
        world.board.reset = lambda: restarts.append(world.now_s)
        world.board.button = lambda pin: 20 < world.now_s < 20 + held_s
        return world

    asked = tmp_path / "data" / "set_up"

    async def is_not_asked(phone):
        await phone.world.sleep(60)
        assert not phone.world.own.is_active
        assert not asked.exists()

    run(start(2), is_not_asked)
    assert restarts == []

    async def asks(phone):
        await phone.world.until(lambda: restarts, 60)
        assert asked.exists()

    run(start(5), asks)

    async def is_open_for_ten_minutes(phone):
        await open_portal(phone.world)
        assert not asked.exists()
        await phone.world.sleep(580)
        assert "2.4 GHz only" in (await phone.get())[1]
        await phone.world.until(lambda: len(restarts) == 2, 60)

    run(start(0), is_open_for_ten_minutes)

    async def is_as_before(phone):
        await phone.world.until(lambda: phone.world.station.isconnected(), 20)
        assert not phone.world.own.is_active

    run(start(0), is_as_before)


def test_the_button_opens_the_access_point_of_a_wired_device(make_world, tmp_path):
    """With a wrong address, say. After ten minutes it runs by its cable again."""
    restarts = []

    def start(held_s):
        world = make_world(fake_ports.CLASSIC, profiles.ESP32_16, link="ethernet")
        world.board.reset = lambda: restarts.append(world.now_s)
        world.board.button = lambda pin: 20 < world.now_s < 20 + held_s
        return world

    async def asks(phone):
        await phone.world.until(lambda: restarts, 60)

    run(start(5), asks)

    async def is_open_for_ten_minutes(phone):
        await open_portal(phone.world)
        assert ("LAN",) not in phone.world.port.calls
        await phone.world.until(lambda: len(restarts) == 2, 620)
        assert phone.world.now_s > 590

    run(start(0), is_open_for_ten_minutes)
    assert json.loads((tmp_path / "data" / "config.json").read_text())["network"]["link"] == "ethernet"

    async def is_as_before(phone):
        await phone.world.sleep(20)
        assert ("LAN",) in phone.world.port.calls
        assert not phone.world.own.is_active

    run(start(0), is_as_before)
