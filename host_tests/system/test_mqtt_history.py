"""The history by MQTT from real MicroPython to mosquitto: a backlog on flash arrives number by number, whatever becomes
of broker and gateway meanwhile."""

import asyncio
import contextlib
import os
import signal
import socketserver
import threading

from host_tests.mosquitto import Listener, Mosquitto, history_of, history_points
from host_tests.system.backlog import Backlog
from host_tests.system.crowd import Browser, Poller, assert_nothing_lost, play, run_for
from host_tests.system.rig import HOST, Rig, wait_for
from tools import gateway
from tools.device_api import Device

PASSWORD = "correct horse"
ARRIVES_S = 90
BACK_S = 60
CROWD_S = 180  # that a busy machine may take to deliver two weeks


@contextlib.contextmanager
def history_rig(folder, broker, interval_s=3600, heap=gateway.FROZEN_HEAP, services=None, **more):
    mqtt = {"enabled": True, "host": HOST, "port": broker.port, "history": True, "interval_s": interval_s, **more}
    config = {"name": "hall", "ntp": {"enabled": False}, "history": {"flash": True}, "mqtt": mqtt, **(services or {})}
    with Rig(folder, config=config, frozen=True, heap=heap) as rig:
        set_up(rig)
        yield rig


def set_up(rig):
    with Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)


def set_time(rig, unix_s):
    with Device(HOST, rig.http_port) as device:
        device.login(PASSWORD)
        device.post("/api/time", {"unix_s": unix_s})


def status(rig):
    return rig.status()["mqtt"]


def test_a_backlog_arrives_whole_though_the_broker_is_killed_in_the_middle(tmp_path):
    backlog = Backlog(tmp_path, 2000)
    broker = Mosquitto(tmp_path / "mosquitto")
    listeners = []

    def heard():
        return len(history_of(listeners)[0])

    with history_rig(tmp_path, broker) as rig, contextlib.ExitStack() as stack:
        with broker, Listener(broker) as listener:
            listeners.append(listener)
            wait_for(lambda: status(rig)["state"] == "connected" and listener.seen, BACK_S, "a connection")
            assert heard() == 0  # before the time is known
            set_time(rig, backlog.end_s + 20)
            wait_for(lambda: heard() > 600, ARRIVES_S, "a part of it")
            broker.kill()
            wait_for(lambda: status(rig)["state"] == "retrying", BACK_S, "the end of the connection")
        assert 0 < heard() < 3 * len(backlog.values)
        assert status(rig)["waiting"] > 0
        os.kill(rig.gateway.pid, signal.SIGSTOP)  # until the broker has somebody to whom it gives what it takes
        with broker:
            broker.retain("probe", "x")
            listener = stack.enter_context(Listener(broker))
            listeners.append(listener)
            wait_for(lambda: "probe" in listener.seen, BACK_S, "the listener")
            os.kill(rig.gateway.pid, signal.SIGCONT)
            wait_for(lambda: status(rig)["waiting"] == 0, BACK_S + ARRIVES_S, "the rest")
            wait_for(lambda: heard() >= 3 * len(backlog.values), ARRIVES_S, "the last of it")
            found, count = history_of(listeners)
            for i in (0, 1):
                assert history_points(found, i) == backlog.points(i)
            print(f"{len(found)} lines, {count - len(found)} of them twice")
            now = status(rig)
            assert (now["delivered"], now["lost"], now["undated"]) == (len(backlog.values), 0, 0)
            assert now["connections"] == 2
            # What was delivered is remembered over a planned restart.
            with Device(HOST, rig.http_port) as device:
                device.login(PASSWORD)
                device.reboot()
            rig.wait_polled()
            set_time(rig, backlog.end_s + 60)
            wait_for(lambda: status(rig)["state"] == "connected", BACK_S, "a connection")
            wait_for(lambda: status(rig)["waiting"] == 0, 10, "nothing that waits")
            assert status(rig)["delivered"] == 0
            assert history_of(listeners) == (found, count)


class Beginning:
    """Sets the time of a gateway once all pollers have been answered: the history is sent beside them, from then on."""

    def __init__(self, pollers, begin):
        self._pollers = pollers
        self._begin = begin
        self.has_begun = False

    async def run(self, over):
        """Until that is done, or over() is true."""
        while not over():
            if all(poller.answered for poller in self._pollers):
                await asyncio.to_thread(self._begin)
                self.has_begun = True
                return
            await asyncio.sleep(0.05)


def test_no_poll_is_lost_beside_a_full_backlog(tmp_path):
    """Ten pollers and two browsers while two weeks of records, all values and what Home Assistant is told go out over
    one socket. In the heap in which posting has the same test."""
    backlog = Backlog(tmp_path, 4032)
    lines = 3 * len(backlog.values)
    with Mosquitto(tmp_path / "mosquitto") as broker, Listener(broker) as listener:
        # Without NTP and posting there is room for twelve. With four places for browsers a poller that connects while
        # they load would take the place of another.
        less = {"bacnet": {"enabled": False}, "posting": {"enabled": False}, "http": {"max_connections": 2}}
        more = {"interval_s": 5, "homeassistant": True}
        with (
            history_rig(tmp_path, broker, heap="128K", services=less, **more) as rig,
            Device(HOST, rig.http_port) as device,
        ):
            device.login(PASSWORD)
            rig.wait_polled()
            wait_for(lambda: status(rig)["state"] == "connected" and listener.seen, BACK_S, "a connection")
            device.close()

            def begin():
                device.post("/api/time", {"unix_s": backlog.end_s + 20})
                device.close()

            def heard():
                return sum(
                    payload.count("\n") for topic, payload, _ in list(listener.all) if topic.endswith("/history")
                )

            async def scenario(crowd):
                pollers = [Poller(crowd, phase=k / 10) for k in range(10)]
                browsers = [Browser(crowd), Browser(crowd)]
                beginning = Beginning(pollers, begin)

                def enough():
                    # By what has arrived: to ask the gateway would take a thirteenth connection.
                    return heard() >= lines and all(browser.documents > 20 for browser in browsers)

                await run_for(10, *pollers, *browsers, beginning, enough=enough, at_most_s=CROWD_S)
                assert beginning.has_begun
                assert_nothing_lost(pollers)
                assert enough(), (heard(), [browser.documents for browser in browsers])

            assert heard() == 0
            play(scenario, rig)
            found, _ = history_of([listener])
            for i in (0, 1):
                assert history_points(found, i) == backlog.points(i)
            wait_for(lambda: status(rig)["waiting"] == 0, BACK_S, "the last PUBACK")
            now = status(rig)
            assert (now["delivered"], now["lost"], now["undated"]) == (len(backlog.values), 0, 0)
            assert (now["connections"], now["refused"]) == (1, False)
            entities = [topic for topic in listener.seen if topic.startswith("homeassistant/sensor/")]
            points = [point for meter in rig.get("/api/readings")["meters"] for point in meter["points"]]
            assert len(entities) == len(points)
            assert rig.event_count("modbus connection closed") == 0


class RefusingBroker(socketserver.ThreadingTCPServer):
    """Takes values of QoS 0 and ends the connection at a PUBLISH of QoS 1, as a broker does whose user may not write to
    the topic. `values`: topics of QoS 0; `refused`: how often it ended a connection so."""

    daemon_threads = True

    def __init__(self):
        super().__init__((HOST, 0), _Connection)
        self.port = self.server_address[1]
        self.values = []
        self.refused = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.read(1):
            size = shift = 0
            while (digit := self.rfile.read(1)[0]) & 0x80:
                size |= (digit & 0x7F) << shift
                shift += 7
            body = self.rfile.read(size | digit << shift)
            if head[0] >> 4 == 1:
                self.wfile.write(b"\x20\x02\x00\x00")
            elif head[0] == 0xC0:
                self.wfile.write(b"\xd0\x00")
            elif head[0] & 0xF6 == 0x32:
                self.server.refused += 1
                return
            elif head[0] >> 4 == 3:
                self.server.values.append(body[2 : 2 + int.from_bytes(body[:2], "big")].decode())


def test_a_broker_that_refuses_the_history_goes_on_getting_values(tmp_path):
    backlog = Backlog(tmp_path, 20)
    with RefusingBroker() as broker, history_rig(tmp_path, broker, interval_s=1) as rig:
        set_time(rig, backlog.end_s + 20)
        wait_for(lambda: status(rig)["refused"], BACK_S, "three connections that end")
        wait_for(lambda: status(rig)["state"] == "connected", BACK_S, "a connection")
        before = broker.values.count("meterport/hall/main/active_power")
        wait_for(
            lambda: broker.values.count("meterport/hall/main/active_power") > before + 5,
            ARRIVES_S,
            "values each second",
        )
        assert broker.refused == 3
        now = status(rig)
        assert (now["connections"], now["delivered"], now["lost"]) == (4, 0, 0)
        assert now["waiting"] >= len(backlog.values)
        rig.wait_event("no history was acknowledged in 3 connections")
