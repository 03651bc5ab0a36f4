"""What the tests of the whole firmware share: a gateway process with virtual meters on its line, and plain clients.

In:  a state directory of the test's own, parts of a configuration, meters.
Out: a Rig, ready when both services answer; every socket is on 127.0.0.1, every port was free. Whatever a Rig or a
     client here started ends with its `with` block.

The Modbus client knows nothing but the MBAP header (MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3):
what it sends may be cut and merged at will, and what it gets is bytes.
"""

import contextlib
import http.client
import json
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

from tools import gateway
from tools.gateway import Gateway
from tools.sim import merge
from tools.virtual_line import VirtualLine
from tools.virtual_meters import VirtualMeter

HOST = "127.0.0.1"
BAUD = 115200
UART = "bus0"  # a symbolic link in the state directory
READY_S = 30
_CONFIRMED_S = 30  # longer than the page must have been up before a last good copy is made, and the next look
ANSWER_S = 10  # longer than all tries of a meter in these tests
_EVENT_S = 15

ILLEGAL_FUNCTION = 0x01
ILLEGAL_DATA_ADDRESS = 0x02
ILLEGAL_DATA_VALUE = 0x03
GATEWAY_PATH_UNAVAILABLE = 0x0A
GATEWAY_TARGET_FAILED = 0x0B

# A busy machine may keep a virtual meter from answering for as long as a real one is waited for, and its readings from
# being renewed: a meter that does answer is given more time. PATIENT_MS with one retry is less than ANSWER_S.
PATIENT_MS = 2000
PATIENT = {"timeout_ms": PATIENT_MS, "max_age_s": 60}
METERS = (
    {"slot": 0, "name": "main", "unit": 1, "profile": "eastron-sdm630", "interval_s": 1, **PATIENT},
    {"slot": 1, "name": "feeder", "unit": 2, "profile": "elkor-wattson-mk2", "interval_s": 1, **PATIENT},
    {"slot": 2, "name": "socket", "unit": 3, "profile": "pzem-004t-v3", "interval_s": 1, **PATIENT},
)
WATCHED_MAIN = Path(__file__).resolve().parent.parent / "on_micropython" / "watched_main.py"
# For a Rig with all six services, which leave ten general slots. As files they need more than the usual 320K.
ALL_SIX = {"config": {"bacnet": {"enabled": True}}}
PICO_W_HEAP = "190K"
OTHER_FORMS = {"frozen", "runtime", "source", "device_dir", "argv"}  # options that say what runs, and in which heap
MOST_REGISTERS, MOST_POINTS = "schneider-iem3155", "elkor-wattson-mcm"  # the largest of all profiles


def configured(kind, count):
    """`count` meters of one kind, as a configuration has them."""
    return [
        {"slot": k, "name": f"meter {k + 1}", "unit": k + 1, "profile": kind, "interval_s": 2, **PATIENT}
        for k in range(count)
    ]


def quick_to_fail(*units):
    """METERS; those of these units with the times that meters have by themselves, for tests in which they fall
    silent."""
    times = {"timeout_ms": 500, "max_age_s": 10}
    return [meter | (times if meter["unit"] in units else {}) for meter in METERS]


class ModbusError(Exception):
    """An exception response; `code` is its exception code."""

    def __init__(self, code):
        super().__init__(f"exception {code:02X}")
        self.code = code


def wait_for(condition, timeout=20.0, what="the condition"):
    """The first true value of condition(), asked again and again. AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.02)


def adu(transaction, unit, pdu, protocol=0, length=None):
    """A Modbus TCP ADU; `protocol` and `length` may be wrong on purpose."""
    length = len(pdu) + 1 if length is None else length
    return struct.pack(">HHHB", transaction, protocol, length, unit) + bytes(pdu)


def read_pdu(function, address, count):
    return struct.pack(">BHH", function, address, count)


def words(values):
    """Registers as they go over the wire."""
    return struct.pack(f">{len(values)}H", *values)


class Client:
    """One Modbus TCP connection. EOFError or ConnectionError once the gateway has closed it."""

    def __init__(self, port, timeout=ANSWER_S, transaction=0):
        self.socket = socket.create_connection((HOST, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transaction = transaction
        self._have = b""

    @property
    def peer(self):
        """This end of the connection as the gateway's ledger writes it."""
        return "{}:{}".format(*self.socket.getsockname())

    def send(self, data):
        self.socket.sendall(data)

    def send_request(self, unit, pdu):
        """Sends with a transaction id of its own, which it returns."""
        self.transaction = (self.transaction + 1) & 0xFFFF
        self.send(adu(self.transaction, unit, pdu))
        return self.transaction

    def receive(self):
        """The next ADU as (transaction id, unit, PDU). AssertionError when it is not Modbus."""
        head = self._take(7)
        transaction, protocol, length, unit = struct.unpack(">HHHB", head)
        assert protocol == 0, f"protocol id {protocol}"
        assert 3 <= length <= 254, f"length {length}"
        return transaction, unit, self._take(length - 1)

    def request(self, unit, pdu):
        """The PDU that answers; its transaction id, unit and function are checked. Raises ModbusError."""
        wanted = self.send_request(unit, pdu)
        transaction, answered, reply = self.receive()
        assert (transaction, answered) == (wanted, unit), f"{transaction}/{answered} answers {wanted}/{unit}"
        assert reply[0] & 0x7F == pdu[0], f"function {reply[0]} answers {pdu[0]}"
        if reply[0] & 0x80:
            assert len(reply) == 2
            raise ModbusError(reply[1])
        return reply

    def read(self, unit, function, address, count):
        """The bytes of `count` registers."""
        reply = self.request(unit, read_pdu(function, address, count))
        assert reply[1] == 2 * count == len(reply) - 2, f"{count} registers asked, reply {reply.hex()}"
        return reply[2:]

    def exception(self, unit, pdu):
        """The exception code that the request meets; 0 when it is answered."""
        try:
            self.request(unit, pdu)
        except ModbusError as error:
            return error.code
        return 0

    def is_open(self):
        """False once the gateway has closed or reset the connection. Nothing is taken from the stream."""
        if not select.select([self.socket], [], [], 0)[0]:
            return True
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except ConnectionError:
            return False

    def wait_closed(self, timeout=ANSWER_S):
        """Reads until the end of the stream or a reset; the bytes that still came."""
        self.socket.settimeout(timeout)
        data = self._have
        with contextlib.suppress(ConnectionError):
            while more := self.socket.recv(4096):
                data += more
        return data

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _take(self, count):
        while len(self._have) < count:
            data = self.socket.recv(4096)
            if not data:
                raise EOFError("the gateway has closed the connection")
            self._have += data
        taken, self._have = self._have[:count], self._have[count:]
        return taken


class Rig:
    """A gateway and the virtual meters on its line. A context manager."""

    def __init__(self, folder, config=None, meters=METERS, virtual=None, profiles=None, **options):
        """Nothing is started yet. The meters' values stand still, so that they can be compared: rig.line.thaw(), or
        rig.meter(unit).set(point, value).

        config    merged over a configuration with free ports, the line at 115200 baud and `meters`
        meters    the configuration's meters; the same ones are on the line unless `virtual` says otherwise
        virtual   the VirtualMeters on the line; () for a line without any, None for one for each of `meters`
        profiles  {name: JSON object} for data/meters/, where a user adds profiles
        options   for tools.gateway.Gateway: runtime, heap, frozen, device_dir, ...; without any the product runs, which
                  is the firmware frozen, in the heap of a Pico W
        """
        self.folder = Path(folder)
        self.http_port, self.modbus_port, ntp_port, self.finder_port, self.bacnet_port = gateway.free_ports(5)
        base = {
            "name": "test",
            "http": {"port": self.http_port, "bind": HOST, "public_status": True},
            "modbus": {"port": self.modbus_port, "bind": HOST},
            "bacnet": {"port": self.bacnet_port},
            "ntp": {"server": HOST, "port": ntp_port},  # nobody answers there
            "finder": {"bind": HOST, "port": self.finder_port},
            "buses": [{"uart": UART, "baud": BAUD, "framing": "8N1"}],
            "meters": list(meters),
        }
        self.config = merge(base, config or {})
        gateway.write_config(self.folder, self.config)
        for name, profile in (profiles or {}).items():
            path = self.folder / "data" / "meters" / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(profile))
        if virtual is None:
            virtual = [VirtualMeter(meter["unit"], meter["profile"]) for meter in meters]
        for meter in virtual:
            meter.delay_ms = 1
            meter.freeze()
        self.line = VirtualLine(virtual, BAUD, link=self.folder / UART)
        # A larger heap tells a lack of heap from any other defect.
        options.setdefault("heap", os.environ.get("METERPORT_TEST_HEAP"))
        if not OTHER_FORMS & options.keys():
            options["frozen"] = True
            options["heap"] = options["heap"] or PICO_W_HEAP
        self.gateway = Gateway(self.folder, place=gateway.place_of(self.config), **options)
        self._stack = contextlib.ExitStack()
        self._has_http = True

    def start(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.line)
            stack.callback(self.gateway.stop)
            self.gateway.start()
            self.gateway.wait_ready(READY_S, self.http_port if self._has_http else 0, self.modbus_port)
            self._stack = stack.pop_all()
        return self

    def started(self, http):
        """Itself, to be entered; without `http` it is ready although its web server does not answer."""
        self._has_http = http
        return self

    def stop(self):
        """Ends both. AssertionError when the firmware had run out of memory or met an exception on its way."""
        lines = list(self.gateway.lines)
        self._stack.close()
        bad = [line for line in lines if "MemoryError" in line or "Traceback" in line]
        assert not bad, "\n".join(lines)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.stop()
        else:
            self._stack.close()  # the test's own error is the one to show

    def client(self, **options):
        return Client(self.modbus_port, **options)

    def meter(self, unit):
        """The VirtualMeter."""
        return self.line.meter(unit)

    def get(self, path):
        """The JSON document at `path`, on a connection of its own. AssertionError unless its status is 200."""
        connection = http.client.HTTPConnection(HOST, self.http_port, timeout=ANSWER_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, f"{path}: {response.status} {body!r}"
        return json.loads(body)

    def status(self):
        return self.get("/api/status")

    def sockets(self):
        return self.get("/api/sockets")

    def events(self):
        """The event log as lines like "modbus: ...", oldest first."""
        return [f"{event['source']}: {event['text']}" for event in self.status()["events"]]

    def wait_event(self, part, timeout=_EVENT_S):
        """Waits until a line of the event log contains `part`."""
        wait_for(lambda: any(part in line for line in self.events()), timeout, f"an event with {part!r}")

    def event_count(self, part):
        """How often something with `part` was logged; a line that repeats is counted by its `times`."""
        return sum(e["times"] for e in self.status()["events"] if part in f"{e['source']}: {e['text']}")

    def points(self, unit):
        """{point number: point} of one meter, from /api/readings."""
        for meter in self.get("/api/readings")["meters"]:
            if meter["unit"] == unit:
                return {point["id"] & 0xFF: point for point in meter["points"]}
        raise KeyError(unit)

    def state_of(self, unit):
        """The meter's state as /api/status gives it."""
        return next(meter["state"] for meter in self.status()["meters"] if meter["unit"] == unit)

    def wait_last_good(self):
        """Waits until the last good copy of the configuration is whole: while it is written it has another name."""
        copy = self.folder / "data" / "config.good.a"
        wait_for(copy.exists, _CONFIRMED_S, "the last good copy")

    def wait_polled(self, timeout=60.0):
        """Waits until every point of every meter is good."""

        def good():
            meters = self.get("/api/readings")["meters"]
            return all(point["quality"] == "good" for meter in meters for point in meter["points"])

        wait_for(good, timeout, "a good reading of every point")

    def general_in_use(self):
        """Connections in the ledger as unit 255 counts them (holding register 103), seen over a connection of its
        own that is one of them."""
        with self.client() as client:
            return int.from_bytes(client.read(255, 3, 103, 1), "big")


def heaps(rig):
    """Bytes in use after a collection, twice a second, as a gateway that was started by WATCHED_MAIN prints them."""
    return [int(line.split()[1]) for line in list(rig.gateway.lines) if line.startswith("heap ")]


class Background(threading.Thread):
    """Work beside a test. A `with` block runs work() in a thread and sets `stopping` at its end. `error`: the exception
    that ended work(), or None."""

    def __init__(self, name):
        super().__init__(name=name, daemon=True)
        self.error = None
        self.stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.join()

    def run(self):
        try:
            self.work()
        except Exception as error:  # raised by wait() in the test's thread
            self.error = error

    def wait(self, is_done, timeout, what):
        """Waits until is_done(). AssertionError after `timeout` seconds, or when work() has raised."""
        wait_for(lambda: self.error or is_done(), timeout, what)
        if self.error:
            raise AssertionError(f"{self.name}, {what}: {self.error!r}") from self.error


class Poller(Background):
    """A client that sends one request after the other on one connection and checks every answer.

    reads    [(unit, function, address, count, expected bytes or None)]
    connect  makes its Client
    """

    def __init__(self, port, reads, pause_s=0.005, connect=None):
        super().__init__("poller")
        self.answers = 0
        self.worst_s = 0.0
        self._reads = reads
        self._pause_s = pause_s
        self._connect = connect or (lambda: Client(port))

    def __enter__(self):
        super().__enter__()
        self.check(len(self._reads))
        return self

    def check(self, more=5, timeout=30.0):
        """Waits for `more` answers. AssertionError when an answer was wrong or missing, or the connection was lost."""
        self.wait_answers(self.answers + more, timeout)

    def wait_answers(self, count, timeout):
        """The same until `count` answers in all."""
        self.wait(lambda: self.answers >= count, timeout, f"{count} answers, {self.answers} so far")

    def work(self):
        with self._connect() as client:
            self.poll(client)

    def poll(self, client):
        """Polls until the end of the block. AssertionError for a wrong answer."""
        while not self.stopping.wait(self._pause_s):
            for unit, function, address, count, expected in self._reads:
                begun = time.monotonic()
                got = client.read(unit, function, address, count)
                assert expected is None or got == expected, f"{unit}/{address}: {got.hex()}"
                self.worst_s = max(self.worst_s, time.monotonic() - begun)
                self.answers += 1


class SocketSampler(Background):
    """Counts the firmware's sockets from outside, again and again; `most` is the highest count."""

    def __init__(self, process):
        super().__init__("socket sampler")
        self.most = 0
        self.samples = 0
        self._process = process

    def work(self):
        while not self.stopping.wait(0.001):
            self.most = max(self.most, self._process.socket_count())
            self.samples += 1


@contextlib.contextmanager
def within_budget(rig, limit=16):
    """Counts the sockets of the process during the block, which gets the SocketSampler; AssertionError when there were
    ever more than the ledger may hold."""
    with SocketSampler(rig.gateway) as sampler:
        yield sampler
        sampler.wait(lambda: sampler.samples > 2, 10.0, "samples of the sockets")  # slow on a busy machine
    # What is enabled and not built yet holds a slot and no socket.
    reserved = [service for service in rig.status()["services"] if service["state"] == "reserved"]
    assert sampler.most <= limit - len(reserved)
    ledger = rig.sockets()
    assert ledger["high_water"] <= limit
    assert ledger["failed_accepts"] == 0


class AddressMeter(VirtualMeter):
    """A meter whose registers hold their own address, all 65536 of them, for functions 3 and 4: an answer to another
    request is seen at once."""

    def __init__(self, unit):
        super().__init__(unit, "pzem-004t-v3")

    def registers(self, function, address, count, t=None):
        return [(address + k) & 0xFFFF for k in range(count)]


def address_words(address, count):
    """What an AddressMeter gives."""
    return words([(address + k) & 0xFFFF for k in range(count)])
