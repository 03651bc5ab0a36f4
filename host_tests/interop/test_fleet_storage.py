"""The two figures of docs/fleet.md that are measured: disk of VictoriaMetrics for a value, memory of mosquitto for a
connection."""

import contextlib
import http.client
import random
import socket

import mqtt

from host_tests.mosquitto import Mosquitto
from host_tests.system.rig import HOST, wait_for
from host_tests.time_series import VictoriaMetrics
from tools.fleet import arithmetic, ledger

DAY_S = 86400
BEGIN_S = 1_760_000_000 // DAY_S * DAY_S
INTERVAL_S = 300
DAYS, GATEWAYS, METERS = 10, 10, 3
CONNECTIONS = 500
MERGED_S = 60


def lines_of(day):
    """A day's records: power goes up and down by chance, and energy is its sum."""
    random_of = random.Random(day)
    for gateway in range(GATEWAYS):
        tags = b"meterport,gw=" + ledger.serial(gateway)
        for meter in range(METERS):
            energy, power = 1_000_000 * (gateway + 1) + 24_000 * day, 1000
            for begin_s in range(BEGIN_S + day * DAY_S, BEGIN_S + (day + 1) * DAY_S, INTERVAL_S):
                power = min(max(power + random_of.randrange(-300, 301), 50), 3000)
                energy += power * INTERVAL_S // 3600
                fields = b"energy_import_wh=%di,active_power_w=%d" % (energy, power)
                yield b"%s,meter=meter%d %s %d\n" % (tags, meter, fields, begin_s)


def post(port, body):
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("POST", "/write?precision=s", body)
        response = connection.getresponse()
        response.read()
        assert response.status == 204
    finally:
        connection.close()


def test_a_value_takes_no_more_disk_than_the_page_says(tmp_path):
    values = 2 * GATEWAYS * METERS * DAYS * DAY_S // INTERVAL_S

    def measured():
        found = 0
        for path in (tmp_path / "vm" / "data" / "data").rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # merged since it was listed
                found += path.stat().st_size if path.is_file() else 0
        return found / values

    def settled():
        """The same twice, since a listing during a merge has files twice or not at all."""
        before = measured()
        return before if before == measured() and before <= arithmetic.DATABASE_BYTES else None

    with VictoriaMetrics(tmp_path / "vm") as database:
        for day in range(DAYS):
            post(database.port, b"".join(lines_of(day)))
        assert len(database.points("active_power_w")) == METERS * DAYS * DAY_S // INTERVAL_S  # by meter and time
        database.request("GET", "/internal/force_merge")  # which goes on in the background
        found = wait_for(settled, MERGED_S, "no more bytes for a value")
    print(f"{found:.2f} bytes for each of {values} values")
    assert found > arithmetic.DATABASE_BYTES / 4


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        (line,) = (line for line in status if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


def test_a_connection_takes_no_more_memory_of_the_broker_than_the_page_says(tmp_path):
    with Mosquitto(tmp_path / "mosquitto", more=("set_tcp_nodelay true",)) as broker:
        before = resident(broker.pid)
        sockets = []
        try:
            for number in range(CONNECTIONS):
                sock = socket.create_connection((HOST, broker.port), timeout=20)
                sockets.append(sock)
                name = b"meterport/gateway%d" % number
                will = mqtt.connect(ledger.serial(number), 60, b"", b"", name + b"/status", b"offline", False)
                sock.sendall(will + mqtt.publish(name + b"/status", b"online", True) + mqtt.PINGREQ)
                answer = b""
                while len(answer) < 6:
                    answer += sock.recv(6)
                assert answer == b"\x20\x02\x00\x00\xd0\x00"
            measured = (resident(broker.pid) - before) / CONNECTIONS
        finally:
            for sock in sockets:
                sock.close()
    print(f"{measured:.0f} bytes for each of {CONNECTIONS} connections")
    assert arithmetic.BROKER_BYTES / 4 < measured <= arithmetic.BROKER_BYTES
