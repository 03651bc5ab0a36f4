"""Set-up, logins and saves on a simulated network, beside those who poll, and against those who should not get in."""

import json

import pytest

from host_tests.scenario.crowd import assert_nothing_lost, crowd
from tools import device_api
from tools.simulator import http, seeds
from tools.simulator.hosts import Host
from tools.simulator.world import DEVICE, run

PASSWORD = "correct horse"


class Technician(http.Connection):
    """One connection that sends more than GET, with the cookie that it was given."""

    cookie = ""

    async def ask(self, method, path, document=None):
        """(status, parsed body)."""
        if not self.is_open:
            self.close()
            self.stream = await self.host.connect(self.port)
        body = b"" if document is None else json.dumps(document).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: meterport\r\nX-Meterport: 1\r\nCookie: {self.cookie}\r\n"
        await self.stream.send((head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
        fields, status, text = await self.whole(30)
        if "set-cookie" in fields:
            self.cookie = fields["set-cookie"].partition(";")[0]
        return status, json.loads(text)

    async def whole(self, timeout_s):
        head = (await self._until(b"\r\n\r\n", timeout_s)).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            while size := int((await self._until(b"\r\n", timeout_s)).strip(), 16):
                body += await self._exactly(size, timeout_s)
                await self._exactly(2, timeout_s)
            await self._exactly(2, timeout_s)
        else:
            body = await self._exactly(int(fields["content-length"]), timeout_s)
        if fields.get("connection") == "close":
            self.close()
        return fields, int(head.split(" ")[1]), body

    async def login(self, password=PASSWORD):
        """The status of the attempt."""
        _, session = await self.ask("GET", "/api/session")
        fields, signature = device_api.proof(password, session)
        status, answer = await self.ask("POST", "/api/login", fields)
        if status == 200:
            assert answer["signature"] == signature
        return status


def local(world, number):
    """A machine on the device's own network."""
    return Host(world.network, f"192.0.2.{number}", DEVICE)


@pytest.mark.parametrize("seed", seeds.chosen((1, 2)))
def test_a_password_is_set_from_the_local_network_and_a_save_costs_no_poll(seed):
    async def scenario(world):
        pollers = await crowd(world, 6)
        await world.sleep(5)
        stranger = Technician(world.host())
        assert (await stranger.ask("POST", "/api/password", device_api.password_record("mine")))[0] == 403
        technician = Technician(local(world, 20))
        assert (await technician.ask("POST", "/api/password", device_api.password_record(PASSWORD)))[0] == 200
        assert await technician.login() == 200
        status, config = await technician.ask("GET", "/api/config")
        assert (status, config["name"]) == (200, "simulated")
        for k in range(5):
            config["name"] = f"saved {k}"
            assert await technician.ask("PUT", "/api/config", config) == (200, {"reboot_due": ["configuration"]})
            await world.sleep(20)
        assert (await technician.ask("GET", "/api/config"))[1]["name"] == "saved 4"
        config["meters"][0]["unit"] = 300
        status, refused = await technician.ask("PUT", "/api/config", config)
        assert (status, [error["field"] for error in refused["errors"]]) == (422, ["meters[0].unit"])
        await world.sleep(30)
        assert_nothing_lost(pollers)

    run(scenario, seed=seed)


@pytest.mark.parametrize("seed", seeds.chosen((1,)))
def test_a_day_of_guessing_gets_few_attempts_and_locks_no_user_out(seed):
    async def scenario(world):
        technician = Technician(local(world, 20))
        await technician.ask("POST", "/api/password", device_api.password_record(PASSWORD))
        attacker = Technician(world.host())
        looked_at = 0
        for k in range(400):
            looked_at += await attacker.login(f"guess {k}") == 403
            if k % 100 == 50:
                assert await technician.login() == 200
            await world.sleep(60)
        assert looked_at <= 90, "one in five minutes, once it has failed often"
        assert await technician.login() == 200

    run(scenario, seed=seed)
