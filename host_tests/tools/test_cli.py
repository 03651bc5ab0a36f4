"""The parts of the command line that need no gateway."""

import contextlib
import io
import json
import os
import socket
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from rich.console import Console

from host_tests.documents import ROOT
from tools.cli import fleet as fleets
from tools.cli import releases, search, show
from tools.cli.fleet import Failure, Fleet, Gateway, read_fleet
from tools.cli.keys import at_key, differences, set_at_key, steps
from tools.cli.log import Event, new_events
from tools.gateway import free_ports
from tools.update import Package

METERPORT = ROOT / "tools" / "meterport"


def run(*words, **env):
    return subprocess.run(
        [METERPORT, *words], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
    )  # fmt: skip


# -- which gateways


@pytest.mark.parametrize(
    ("text", "gateway"),
    [("10.0.0.1", ("10.0.0.1", 80, 502)), ("gate:8080", ("gate", 8080, 502)), ("gate:8080:1502", ("gate", 8080, 1502))],
)
def test_a_gateway_is_a_host_and_its_ports(text, gateway):
    assert Gateway.parse(text) == gateway
    assert str(Gateway.parse(text)) == text


@pytest.mark.parametrize("text", ["", ":80", "gate:", "gate:http", "gate:0", "gate:65536", "gate:1:2:3", "fe80::1"])
def test_what_names_no_gateway_is_refused(text):
    with pytest.raises(ValueError, match="is not HOST"):
        Gateway.parse(text)


def test_a_fleet_is_a_file_with_a_gateway_in_a_line(tmp_path):
    path = tmp_path / "fleet"
    path.write_text("# all\n10.0.0.1\n\n10.0.0.2:8080   # the cellar\n")
    assert read_fleet(path) == [Gateway("10.0.0.1"), Gateway("10.0.0.2", 8080)]


def test_a_fleet_has_groups(tmp_path):
    path = tmp_path / "fleet"
    path.write_text("10.0.0.1\n[north]  # 1\n10.0.0.2\n10.0.0.3\n[south]\n10.0.0.4\n[ north ]\n10.0.0.5\n[empty]\n")

    def hosts(*groups):
        return [gateway.host[-1] for gateway in read_fleet(path, groups)]

    assert hosts() == ["1", "2", "3", "5", "4"]
    assert hosts("south") == ["4"]
    assert hosts("south", "north") == ["2", "3", "5", "4"]
    for wrong in ("west", "empty"):
        with pytest.raises(ValueError, match=f"no gateway in a group {wrong}; its groups are: north, south"):
            hosts(wrong)


class Tried:
    """Work that fails on some gateways, on a fleet of so many."""

    def __init__(self, count, failing):
        self.failing = failing
        self.begun = []
        self.gateways = [Gateway(f"10.0.0.{k}") for k in range(count)]

    def __call__(self, device, gateway, tell):
        self.begun.append(gateway)
        if gateway.host.rpartition(".")[2] in self.failing:
            raise Failure("broken")
        return "done"

    def run(self, **options):
        """{last number: what came of it}."""
        with Fleet(self.gateways, 1, Console(file=io.StringIO())) as fleet:
            outcomes = fleet.run(self, **options)
        assert [outcome.gateway for outcome in outcomes] == self.gateways
        return {outcome.gateway.host.rpartition(".")[2]: outcome.document or outcome.error for outcome in outcomes}


def test_a_canary_that_fails_stops_the_fleet_before_the_others():
    tried = Tried(5, {"1"})
    not_begun = "not begun: 1 failed before"
    assert tried.run(canaries=2) == {"0": "done", "1": "broken", "2": not_begun, "3": not_begun, "4": not_begun}
    assert len(tried.begun) == 2


def test_a_canary_that_runs_well_is_first_and_the_others_follow():
    tried = Tried(40, {"39"})
    outcomes = tried.run(canaries=1, most_failures=0)
    assert tried.begun[0] == tried.gateways[0]
    assert set(tried.begun) == set(tried.gateways)
    assert (outcomes.pop("39"), set(outcomes.values())) == ("broken", {"done"})


@pytest.mark.parametrize("most", [0, 3])
def test_after_too_many_failures_none_is_begun(most):
    tried = Tried(200, {str(k) for k in range(200)})
    outcomes = list(tried.run(most_failures=most).values())
    assert most + 1 <= outcomes.count("broken") == len(tried.begun) <= most + 16  # which are under way at the same time
    assert "broken" in outcomes[0]
    assert outcomes[-1].startswith("not begun")


def test_who_is_not_begun_says_how_many_failed_whichever_ends_first(monkeypatch):
    monkeypatch.setattr(fleets, "as_completed", lambda waiting: reversed(list(waiting)))
    tried = Tried(200, {str(k) for k in range(200)})
    outcomes = list(tried.run(most_failures=0).values())
    assert set(outcomes[len(tried.begun) :]) == {f"not begun: {len(tried.begun)} failed before"}


def test_failures_before_the_password_is_asked_for_count():
    gateways = [Gateway(f"10.0.0.{k}") for k in range(2)]
    begun = []

    def work(device, gateway, tell):
        if gateway == gateways[0]:
            all_asked.wait(10)
            raise Failure("broken")
        if not begun:
            begun.append(gateway)
            all_asked.set()
            raise fleets._PasswordNeeded
        return "done"

    all_asked = threading.Event()
    with Fleet(gateways, 1, Console(file=io.StringIO())) as fleet:
        fleet._password = "any"
        outcomes = fleet.run(work, most_failures=0)
    assert [one.error for one in outcomes] == ["broken", "not begun: 1 failed before"]


def test_without_a_limit_all_are_begun():
    assert set(Tried(50, {str(k) for k in range(50)}).run().values()) == {"broken"}


def test_a_wrong_line_of_a_fleet_is_named(tmp_path):
    path = tmp_path / "fleet"
    path.write_text("10.0.0.1\nno:port\n")
    with pytest.raises(ValueError, match="line 2: 'no:port'"):
        read_fleet(path)
    path.write_text("# none\n")
    with pytest.raises(ValueError, match="names no gateway"):
        read_fleet(path)


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["nothing"], ["status", "-g", "a:b"], ["status", "-f", "/nowhere"],
        ["read", "1", "5", "0", "-g", "x"],
        ["read", "1", "3", "0", "126", "-g", "x"], ["read", "256", "3", "0", "-g", "x"],
        ["config", "set", "name", "-g", "x"], ["history", "--csv", "-g", "x", "-g", "y"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_2_and_says_why(words):
    done = run(*words)
    assert done.returncode == 2
    assert "Error" in done.stderr


def test_the_gateway_of_the_variable_is_for_command_lines_that_name_none(tmp_path):
    (closed,) = free_ports(1)
    place = f"127.0.0.1:{closed}"
    fleet = tmp_path / "fleet"
    fleet.write_text(place)
    refused = {"error": "Connection refused"}
    variable = {"METERPORT_GATEWAY": f"127.0.0.2:{closed} 127.0.0.3:{closed}"}
    assert json.loads(run("status", "--json", "-f", fleet, **variable).stdout) == {place: refused}
    assert json.loads(run("status", "--json", "-g", place, **variable).stdout) == {place: refused}
    by_variable = json.loads(run("status", "--json", **variable).stdout)
    assert by_variable == {f"127.0.0.2:{closed}": refused, f"127.0.0.3:{closed}": refused}


def test_commands_and_options_are_completed():
    done = run(_METERPORT_COMPLETE="bash_complete", COMP_WORDS="meterport config re", COMP_CWORD="2")
    assert done.stdout.split() == ["plain,restore"]
    assert "complete" in run(_METERPORT_COMPLETE="bash_source").stdout


def test_it_runs_from_any_folder_and_by_a_link(tmp_path):
    link = tmp_path / "meterport"
    link.symlink_to(METERPORT)
    (tmp_path / "tools").mkdir()  # must not be taken for ours
    done = subprocess.run([link, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "set-password" in done.stdout


def test_it_is_installed_into_the_virtual_environment():
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "meterport", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("meterport")


# -- keys


def test_a_key_is_names_and_numbers():
    assert steps("modbus.port") == ["modbus", "port"]
    assert steps("meters[12].name") == ["meters", 12, "name"]


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "[0]", "a[x]", "a[0", "a.[0]", "a b", "meters[0]name"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match="is no key"):
        steps(key)


def test_what_has_its_default_is_not_in_a_configuration():
    with pytest.raises(ValueError, match=r"modbus\.port is not in the configuration"):
        at_key({"modbus": {}}, "modbus.port")
    assert at_key({"meters": [{"name": "main"}]}, "meters[0].name") == "main"


def test_a_value_is_set_where_a_section_is_missing_and_behind_a_list():
    config = {"meters": [{"name": "main"}]}
    set_at_key(config, "modbus.port", 1502)
    set_at_key(config, "meters[0].unit", 7)
    set_at_key(config, "meters[1].name", "feeder")
    set_at_key(config, "dns[0]", "10.0.0.1")
    assert config == {
        "meters": [{"name": "main", "unit": 7}, {"name": "feeder"}], "modbus": {"port": 1502}, "dns": ["10.0.0.1"],
    }  # fmt: skip


@pytest.mark.parametrize("key", ["name.first", "meters.name", "meters[3].name", "meters[5]", "name[0]"])
def test_no_value_is_set_where_there_is_no_place(key):
    config = {"name": "x", "meters": []}
    with pytest.raises(ValueError, match="no such place"):
        set_at_key(config, key, 1)
    assert config == {"name": "x", "meters": []}


def test_differences_are_named_by_their_keys():
    one = {"name": "a", "http": {"port": 80}, "meters": [{"unit": 1}], "dns": ["x"]}
    other = {"name": "b", "http": {"port": 80}, "meters": [{"unit": 1}, {"unit": 2}], "dns": []}
    assert differences(one, other) == [
        {"key": "dns", "gateway": ["x"], "file": []},
        {"key": "meters[1].unit", "file": 2},
        {"key": "name", "gateway": "a", "file": "b"},
    ]
    assert differences(one, one) == []


# -- log


def events(*rows):
    return [Event(uptime_s, "bus", text, times) for uptime_s, text, times in rows]


@pytest.mark.parametrize(
    ("before", "now", "count"),
    [
        (events(), events((1, "a", 1)), 1),
        (events((1, "a", 1)), events((1, "a", 1)), 0),
        (events((1, "a", 1)), events((1, "a", 1), (2, "b", 1)), 1),
        (events((1, "a", 1)), events((3, "a", 2)), 1),
        (events((1, "a", 1)), events((7, "b", 1), (8, "c", 1)), 2),
        (events((500, "a", 2)), events((1, "a", 1), (2, "b", 1)), 2),
    ],
    ids=["first look", "nothing new", "one more", "repeated", "all displaced", "restarted"],
)
def test_only_new_lines_of_a_log_are_shown(before, now, count):
    assert new_events(before, now) == now[len(now) - count :]


# -- finding


def found(name, serial, address, **fields):
    return search.Found(address, {"meterport": 1, "name": name, "serial": serial, "ports": {}, **fields})


def test_a_name_and_an_instance_that_two_gateways_have_are_conflicts_of_both():
    one = found("cellar", "01", "10.0.0.1", instance=7)
    two = found("cellar", "02", "10.0.0.2", instance=8)
    three = found("roof", "03", "10.0.0.3", instance=7, conflicts=["its own"])
    assert search.conflicts([one, two, three]) == {
        "01": ["name cellar is also that of 10.0.0.2", "BACnet instance 7 is also that of 10.0.0.3"],
        "02": ["name cellar is also that of 10.0.0.1"],
        "03": ["its own", "BACnet instance 7 is also that of 10.0.0.1"],
    }


def test_gateways_without_an_instance_are_no_conflict():
    two = [found("a", "01", "10.0.0.1", instance=None), found("b", "02", "10.0.0.2", instance=None)]
    assert search.conflicts(two) == {"01": [], "02": []}


def test_one_gateway_at_two_addresses_is_no_conflict():
    assert search.conflicts([found("a", "01", "10.0.0.1"), found("a", "01", "10.1.0.1")]) == {"01": []}


GOOD = {"meterport": 1, "name": "a", "serial": "01", "ports": {}}


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[" * 2000, b"7", b"{}", b'{"meterport":1}', b'{"meterport":1,"name":7,"serial":"1","ports":{}}',
     b'{"meterport":1,"name":"a","serial":"01","ports":[]}'],
)  # fmt: skip
def test_what_is_no_document_of_a_gateway_is_not_found(data):
    with answering(data, json.dumps(GOOD).encode()) as port:
        assert [one.document for one in search.search(["127.0.0.1"], port, 0.3)] == [GOOD]


def answering(*answers):
    """A UDP port of 127.0.0.1 where each request gets all of `answers`."""

    class Answering:
        def __enter__(self):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sock.bind(("127.0.0.1", 0))
            self.thread = threading.Thread(target=self.answer)
            self.thread.start()
            return self.sock.getsockname()[1]

        def answer(self):
            while True:
                data, sender = self.sock.recvfrom(100)
                if data == b"end":
                    return
                for answer in answers:
                    self.sock.sendto(answer, sender)

        def __exit__(self, *exc):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                own.sendto(b"end", self.sock.getsockname())
            self.thread.join()
            self.sock.close()

    return Answering()


def test_texts_of_a_gateway_cannot_command_the_terminal():
    hostile = GOOD | {"name": "\x1b]0;x\x07[red]a", "uptime_s": "long", "sockets": None, "conflicts": 7}
    with answering(json.dumps(hostile).encode()) as port:
        done = run("find", "--to", "127.0.0.1", "--finder-port", str(port), "--wait", "0.3")
    assert done.returncode == 0
    assert "?]0;x?[red]a" in done.stdout
    assert "\x1b" not in done.stdout


def test_an_unanswered_search_ends_with_1():
    with answering() as port:
        done = run("find", "--to", "127.0.0.1", "--finder-port", str(port), "--wait", "0.1", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, [])
    assert "no gateway has answered" in done.stderr


def test_a_gateway_may_stand_in_two_groups_of_a_fleet_that_is_compared(tmp_path):
    fleet = tmp_path / "fleet"
    fleet.write_text("[north]\n127.0.0.1\n[all]\n127.0.0.1\nlocalhost\n")
    with answering(json.dumps(GOOD).encode()) as port:
        words = ("find", "--to", "127.0.0.1", "--finder-port", str(port), "--wait", "0.3", "-f", fleet)
        done = run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        fleet.write_text("localhost:8080\n")
        done = run(*words)
        assert done.returncode == 1
        assert f"localhost:8080: in {fleet}, and not found" in done.stderr.replace("\n", "")
        assert "127.0.0.1: found (a), and not in" in done.stderr


def test_a_cell_shows_what_a_gateway_has_said():
    assert [show.cell(value).plain for value in (None, True, 7, "a\nb")] == ["-", "yes", "7", "a?b"]


REFUSED = {"state": "retrying", "error": "refused: user or password", "waiting": 12, "delivered": 0, "lost": 3}
CONNECTED = {"state": "connected", "error": None, "waiting": None, "delivered": None, "lost": None}


def document_of_status(**more):
    return {
        "name": "hall", "version": "1.2.3", "board": "pico_w", "uptime_s": 61, "reboot_due": [], "task_restarts": 0,
        "heap": {"free": 9}, "config": {"source": "file", "errors": []}, "services": [], "buses": [], "meters": [],
        "network": {"address": "192.0.2.1", "link": "wifi"}, "posting": None, "mqtt": None, **more,
    }  # fmt: skip


def shown(*documents):
    """What `status` prints of gateways g0, g1, ..."""
    console = Console(file=io.StringIO(), width=240)
    for one in show.status([(Gateway(f"g{k}"), document) for k, document in enumerate(documents)]):
        console.print(one)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_status_says_why_a_gateway_does_not_deliver():
    assert "mqtt retrying 12 0 3 refused: user or password" in shown(document_of_status(mqtt=REFUSED))
    assert "delivery" not in " ".join(shown(document_of_status()))
    lines = shown(
        document_of_status(mqtt=REFUSED), document_of_status(mqtt=CONNECTED), document_of_status(),
        document_of_status(posting=REFUSED | {"state": "waiting", "error": None}, mqtt=CONNECTED),
    )  # fmt: skip
    delivery = [line.partition("0/0 ")[2].rpartition(" file no 9")[0] for line in lines if line.startswith("g")]
    assert delivery[1:] == [  # behind the head
        "mqtt retrying (12 wait): refused: user or password", "mqtt connected", "-",
        "posting waiting (12 wait), mqtt connected",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (59, "59 s"), (61, "1 min 1 s"), (3660, "1 h 1 min"), (90000, "1 d 1 h")]
)
def test_a_duration_has_two_units(seconds, text):
    assert show.duration(seconds) == text


# -- packages


@pytest.fixture
def tree(tmp_path):
    """A small one, as make build makes them."""
    version = b"VERSION = (1, 2, 3)\n"
    files = {"firmware/__init__.py": version, "lib/two.mpy": b"two\n" * 300, "main.py": b"not sent"}
    for path, body in files.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_bytes(body)
    return tmp_path / "tree"


def test_a_package_is_written_as_a_file_and_read_again(tmp_path, tree):
    file = tmp_path / "out" / "new.package"
    done = run("package", tree, "--out", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "files of meterport 1.2.3" in done.stdout
    found, wanted = Package.of_file(file), Package.of_tree(tree)
    assert (found.kind, found.version, found.manifest) == ("files", "1.2.3", wanted.manifest)
    assert found.data == wanted.data
    assert found.fields(b"key", False) == wanted.fields(b"key", False)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda body: body[:-1], "is cut, or was changed"),
        (lambda body: body.replace(b"two.mpy", b"owt.mpy"), "is cut, or was changed"),
        (lambda body: body.replace(b"files", b"filet"), "no package"),
        (lambda body: b"", "no package"),
    ],
)
def test_a_file_that_is_no_whole_package_is_refused(tmp_path, tree, change, text):
    file = tmp_path / "new.package"
    Package.of_tree(tree).write(file)
    file.write_bytes(change(file.read_bytes()))
    done = run("update", file, "-g", "127.0.0.1:1")
    assert done.returncode == 1
    assert text in done.stderr


def test_a_version_that_is_not_the_firmwares_is_refused(tmp_path, tree):
    file = tmp_path / "new.package"
    done = run("package", tree, "--version", "1.2.4", "--out", file)
    assert (done.returncode, file.exists()) == (1, False)
    assert "the firmware is 1.2.3" in done.stderr
    assert run("package", tree, "--version", "1.2.3", "--out", file).returncode == 0
    Package("1.2.4", Package.of_file(file).files()).write(file)
    with pytest.raises(ValueError, match=r"says that it is 1\.2\.4; its firmware is 1\.2\.3"):
        Package.of_file(file)
    (tree / "firmware/__init__.py").write_text("# no version\n")
    with pytest.raises(ValueError, match="does not say its version"):
        Package.of_tree(tree)


def application(*marks):
    """The beginning of an ESP32's application image, and these marks within."""
    return b"\xe9" + bytes(31) + b"\x32\x54\xcd\xab" + b"".join(marks)


def test_a_package_of_an_image_has_the_version_of_the_firmware_within(tmp_path):
    image, file = tmp_path / "meterport.app-bin", tmp_path / "new.package"
    image.write_bytes(application(b"meterport 0.0.5\0"))
    assert run("package", "--image", image, "--out", file).returncode == 0
    assert (Package.of_file(file).kind, Package.of_file(file).version) == ("image", "0.0.5")
    assert run("package", "--image", image, "--version", "0.1.0", "--out", file).returncode == 1
    image.write_bytes(application())
    assert "does not say its version" in run("package", "--image", image, "--out", file).stderr
    image.write_bytes(b"\xe9 with boot loader" + bytes(100))
    assert ".app-bin" in run("package", "--image", image, "--out", file).stderr


class OnTrial:
    """A Device whose /api/update says these documents, one after the other."""

    cookie = None

    def __init__(self, *documents):
        self.documents = list(documents)

    def get(self, path):
        return self.documents.pop(0)

    def login(self, password):
        self.cookie = "one"

    def close(self):
        pass


@pytest.mark.parametrize(
    ("kind", "version", "tree", "is_kept"),
    [
        ("files", "0.1.0", "a", True), ("files", "0.1.0", "-", False), ("files", "0.0.9", "-", False),
        ("image", "0.1.0", "-", True), ("image", "0.1.0", "-", False), ("image", "0.0.9", "-", False),
    ],
)  # fmt: skip
def test_an_update_is_kept_when_another_tree_runs_or_an_image_that_has_not_failed(
    monkeypatch, kind, version, tree, is_kept
):
    monkeypatch.setattr(releases, "LOOK_S", 0)
    before = {"version": version, "tree": "-", "on_trial": False}
    after = before | {"tree": tree, "failed": None if is_kept else "finder failed"}
    device = OnTrial({"version": "0.1.0", "tree": "a", "on_trial": True}, after)
    made = Package("0.1.0", {}, kind)
    fails = contextlib.nullcontext() if is_kept else pytest.raises(Failure, match=r"again \(finder failed\)")
    with Fleet([], 1, Console(file=io.StringIO())) as fleet, fails:
        releases._wait_for_end_of_trial(device, "", made, before, fleet)
    assert not device.documents


def test_a_package_is_signed_with_a_key_that_is_made_once(tmp_path, tree):
    key, file = tmp_path / "release.pem", tmp_path / "new.package"
    public = run("release-key", key).stdout.strip()
    assert len(bytes.fromhex(public)) == 32
    assert key.stat().st_mode & 0o777 == 0o600
    assert run("release-key", key).stdout.strip() == public
    done = run("package", tree, "--out", file, "--sign", key)
    assert done.returncode == 0, done.stderr
    found = Package.of_file(file)
    made = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    made.verify(found.signature, ("meterport update 1\n" + found.line()).encode())
    assert found.data == Package.of_tree(tree).data
    key.write_text("no key")
    assert run("package", tree, "--out", file, "--sign", key).returncode == 1
