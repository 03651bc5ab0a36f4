"""`meterport find` on a network of its own: three gateways, each in a network namespace behind a bridge, are found by
broadcast, and what two of them must not have in common is shown."""

import contextlib
import json
import os
import subprocess

import pytest

from host_tests.documents import ROOT
from host_tests.system.rig import HOST, wait_for
from tools import debian, gateway

# In namespaces that end with this shell: mounts (for /run/netns), network, and without root users, too.
NETWORK = """
set -e
mount -t tmpfs none /run
ip link set lo up
ip link add br0 type bridge
ip addr add 10.9.0.1/24 brd + dev br0
ip link set br0 up
for k in 1 2 3; do
    ip netns add g$k
    ip link add v$k type veth peer name eth0 netns g$k
    ip link set v$k master br0 up
    ip -n g$k addr add 10.9.0.1$k/24 brd + dev eth0
    ip -n g$k link set eth0 up
    ip -n g$k link set lo up
done
echo ready
read end
"""
STARTED_S = 60
ANSWER_S = 4  # many times what an idle machine takes
IS_ROOT = os.geteuid() == 0


class Lan:
    """The network, from `with` to its end."""

    def __enter__(self):
        debian.ensure_packages({"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"})
        self._holder = subprocess.Popen(
            ["unshare", *([] if IS_ROOT else ["--user", "--map-root-user"]), "--net", "--mount", "sh", "-c", NETWORK],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        line = self._holder.stdout.readline()
        if line != "ready\n":
            output = line + self._holder.communicate(timeout=STARTED_S)[0]
            raise AssertionError(f"no network namespaces here (root, or user namespaces, are needed): {output}")
        return self

    def __exit__(self, *exc):
        self._holder.communicate("\n", timeout=STARTED_S)

    def inside(self, folder, *command, namespace=None):
        """A command line that runs `command` there, with `folder` as the current one."""
        enter = ["nsenter", "--target", str(self._holder.pid), "--net", "--mount"]
        enter += [] if IS_ROOT else ["--user", "--preserve-credentials"]
        enter += ["ip", "netns", "exec", namespace] if namespace else []
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *map(str, command)]

    def find(self, *options):
        """The documents that `meterport find` prints on this network."""
        done = subprocess.run(
            self.inside(ROOT, ROOT / "tools" / "meterport", "find", "--wait", ANSWER_S, *options),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if "--json" in options:
            return json.loads(done.stdout)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def lan():
    with Lan() as lan:
        yield lan


@contextlib.contextmanager
def gateways(lan, folder, *configs):
    """Started in g1, g2 and g3."""
    with contextlib.ExitStack() as stack:
        for k, config in enumerate(configs, 1):
            state = folder / f"g{k}"
            (state / "data").mkdir(parents=True)
            whole = {
                "http": {"bind": "0.0.0.0"}, "ntp": {"server": HOST, "port": 9}, "buses": [{"uart": "nowhere"}],
                "meters": [], **config,
            }  # fmt: skip
            gateway.write_config(state, whole)
            command = (gateway.find_frozen(print), "-X", f"heapsize={gateway.FROZEN_HEAP}", "-m", "main")
            argv = lan.inside(state, *command, namespace=f"g{k}")
            stack.enter_context(gateway.Gateway(state, argv=argv, env={"MICROPYPATH": ".frozen"}))
        yield


def test_three_gateways_are_found_and_a_name_that_two_have_is_shown(lan, tmp_path):
    with gateways(lan, tmp_path, {"name": "cellar"}, {"name": "cellar"}, {"name": "roof"}):

        def all_three():
            found = lan.find("--json")
            return found if len(found) == 3 else None

        found = wait_for(all_three, STARTED_S, "three gateways")
        assert [(one["name"], one["from"]) for one in found] == [
            ("cellar", "10.9.0.11"), ("cellar", "10.9.0.12"), ("roof", "10.9.0.13"),
        ]  # fmt: skip
        assert len({one["serial"] for one in found}) == 3
        assert found[0]["ports"] == {"http": 80, "modbus": 502}
        assert [one["conflicts"] for one in found] == [
            ["name cellar is also that of 10.9.0.12"], ["name cellar is also that of 10.9.0.11"], [],
        ]  # fmt: skip
        table = lan.find()
        assert "name cellar is also that of 10.9.0.12" in table
        assert "10.9.0.13" in table
        status = subprocess.run(
            lan.inside(ROOT, ROOT / "tools" / "meterport", "sockets", "--found", "--wait", ANSWER_S, "--json"),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert list(json.loads(status.stdout)) == ["10.9.0.11", "10.9.0.12", "10.9.0.13"]

        fleet = tmp_path / "fleet"
        lan.find("--save", fleet)
        assert fleet.read_text() == "10.9.0.11  # cellar\n10.9.0.12  # cellar\n10.9.0.13  # roof\n"
        lan.find("--fleet", fleet)
        fleet.write_text("10.9.0.11\n10.9.0.12\n10.9.0.14\n")
        done = subprocess.run(
            lan.inside(ROOT, ROOT / "tools" / "meterport", "find", "--wait", ANSWER_S, "--fleet", fleet),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "10.9.0.14: in" in done.stderr
        assert "10.9.0.13: found (roof)" in done.stderr


def test_a_bacnet_instance_that_two_have_is_shown(lan, tmp_path):
    def config(name, instance):
        return {"name": name, "bacnet": {"enabled": True, "instance": instance}}

    with gateways(lan, tmp_path, config("cellar", 7), config("roof", 8), config("yard", 7)):

        def all_three():
            found = lan.find("--json")
            return found if [one["instance"] for one in found] == [7, 8, 7] else None

        cellar, roof, yard = wait_for(all_three, STARTED_S, "three BACnet devices")
        assert cellar["ports"] == {"http": 80, "modbus": 502, "bacnet": 47808}
        assert "BACnet instance 7 is also that of 10.9.0.13" in cellar["conflicts"]
        assert "BACnet instance 7 is also that of 10.9.0.11" in yard["conflicts"]
        assert roof["conflicts"] == []
        assert "BACnet instance 7 is also that of 10.9.0.13" in lan.find()
