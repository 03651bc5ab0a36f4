"""Ten days of records of 32 meters are read as CSV while ten clients poll: the firmware frozen, in the heap of a chip.
Each number is right, no poll is lost and none waits for long."""

import contextlib
import http.client
import time

from host_tests.system.rig import HOST, WATCHED_MAIN, Poller, Rig, configured, heaps, wait_for, words
from tools import gateway
from tools.device_api import Device
from tools.past import DAY_S, Past

METERS, DAYS = 32, 10
CLIENTS = 10
HEAP = "152K"
PASSWORD = "correct horse"
PERIOD_S = 0.1
# Of a poll; on a machine that is not busy with other things it is a tenth of that. One that is may hold up a poll for
# longer now and then, but not each time that all is read.
STALL_S = 0.5
TRIES = 6
# Two of the services give their slots back: ten clients and a reader have twelve.
CONFIG = {
    "ntp": {"enabled": False},
    "bacnet": {"enabled": False},
    "posting": {"enabled": False},
    "history": {"flash": True, "flash_kb": 2048},
}


@contextlib.contextmanager
def clients(rig):
    """Ten Modbus clients, whose reads are answered from memory; check() says that no poll was lost."""
    reads = []
    for meter in rig.line.meters:
        block = meter.profile.blocks(meter.profile.gap)[0]
        reads.append((meter.unit, *block, words(meter.registers(*block))))
    with contextlib.ExitStack() as stack:
        pollers = [stack.enter_context(Poller(rig.modbus_port, reads[k::CLIENTS], PERIOD_S)) for k in range(CLIENTS)]

        def check():
            for poller in pollers:
                poller.check(len(reads) // CLIENTS, 60)

        check()
        yield pollers, check
        check()


def csv_lines(rig, path):
    """The lines of a CSV as they come."""
    connection = http.client.HTTPConnection(HOST, rig.http_port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    for line in response:
        assert line.endswith(b"\r\n")
        yield line[:-2].decode()
    connection.close()


def test_ten_days_of_32_meters_are_read_while_ten_clients_poll(tmp_path):
    past = Past(METERS, DAYS, int(time.time()) // DAY_S * DAY_S)
    past.write(tmp_path)
    argv = [gateway.find_frozen(print), "-X", f"heapsize={HEAP}", WATCHED_MAIN]
    meters = configured("eastron-sdm630", METERS)
    with Rig(tmp_path, meters=meters, config=CONFIG, argv=argv, env={"MICROPYPATH": ".frozen"}) as rig:
        wait_for(lambda: {meter["state"] for meter in rig.status()["meters"]} == {"online"}, 60, "all meters")
        with Device(HOST, rig.http_port) as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            device.post("/api/time", {"unix_s": past.end_s + 1})
        with clients(rig) as (pollers, check):
            before = len(heaps(rig))
            for _ in range(TRIES):
                answers = [poller.answers for poller in pollers]
                for poller in pollers:
                    poller.worst_s = 0.0
                begun = time.monotonic()
                query = f"from={past.begin_s + 1}&to={past.end_s + 1}&format=csv"
                lines = csv_lines(rig, "/api/records?" + query)
                assert len(next(lines).split(",")) == 3 + 2 * METERS
                size = 0
                for wanted, line in zip(past.csv(past.begin_s + 1, past.end_s + 1), lines, strict=True):
                    size += len(line)
                    assert line == wanted
                took_s = time.monotonic() - begun
                worst_s = max(poller.worst_s for poller in pollers)
                meanwhile = [poller.answers - had for poller, had in zip(pollers, answers, strict=True)]
                if worst_s < STALL_S and min(meanwhile) >= 3:
                    break
            wait_for(lambda: len(heaps(rig)) > before, 10, "a measurement of the heap")
            in_use = max(heaps(rig)[before:])
            check()
        print(
            f"{size} bytes in {took_s:.1f} s, {len(past.times) / took_s:.0f} records a second; meanwhile "
            f"{sum(meanwhile)} polls, the slowest took {1000 * worst_s:.0f} ms; {in_use} bytes of the heap in use"
        )
        assert min(meanwhile) >= 3
        assert worst_s < STALL_S
        status = rig.status()
        assert status["task_restarts"] == 0
        assert rig.event_count("modbus connection closed") == 0
