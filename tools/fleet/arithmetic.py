"""What a fleet of any size sends and what of it is stored, as tables (docs/fleet.md): made by the firmware's codecs, of
meters and texts of usual lengths. `--into FILE` puts them there between the marks.

The two measured figures, DATABASE_BYTES and BROKER_BYTES, are bounds that host_tests/interop/test_fleet_storage.py
compares with Debian's VictoriaMetrics and mosquitto.
"""

import argparse
import math
import pathlib
import sys
from types import SimpleNamespace
from typing import Any

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
for _path in ("host_tests/shim", "lib", "."):
    if str(_ROOT / _path) not in sys.path:
        sys.path.insert(0, str(_ROOT / _path))

import mqtt  # noqa: E402

from firmware.config import load as config  # noqa: E402
from firmware.history import records  # noqa: E402
from firmware.meters import profile_loader  # noqa: E402
from firmware.services.mqtt import discovery  # noqa: E402
from tools.bench.document import Sheet, markdown  # noqa: E402
from tools.past import DAY_S, Past  # noqa: E402

DATABASE_BYTES = 1.5  # of disk for a value
BROKER_BYTES = 3_000  # of memory for a connection
BEGIN, END = "<!-- fleet -->\n", "<!-- end of fleet -->"
_PROFILE = "eastron-sdm630"
_SERIAL = b"0242ac110002"
_ROOT_TOPIC = b"meterport/gateway1234"
_ENERGY_WH, _POWER_W, _VALUE = 123_456_789, 2345, b"1234.5"
_PACKET = 1024  # of the firmware: bytes of a message of the history, and of what it hands to TCP at once
_SEGMENT = 40  # bytes of the headers of IP and TCP, and of an acknowledgement
_PUBACK = 4
_SIZES = (1, 3, 16)
_METERS = 3
_INTERVALS_S = (60, 300, 900)
_VALUES_S = (30, 300, 3600)
_BACK_OFF_S = 300  # at most, less a random part of up to a half
_AWAY_S = (3600, 86400, 7 * 86400)
_GATEWAYS_MAX = 10_000_000


class _Records:
    """A record of some meters, as lines() reads it."""

    def __init__(self, meters: int) -> None:
        profile = profile_loader.load(_PROFILE)
        found: Any = [SimpleNamespace(name=f"meter{slot}", profile=profile) for slot in range(meters)]
        energies = [(meter, profile.index_of(32)) for meter in found]
        self.columns = records.Columns(energies + [(meter, profile.index_of(16)) for meter in found])
        self.time_s = 1_800_000_000

    def value(self, k: int) -> bytes:
        return b"%d" % (_ENERGY_WH if self.columns.is_whole(k) else _POWER_W)


class Gateway:
    """messages, size, line_size: of a record: messages of the history, their bytes and those of their lines; values,
    values_size: messages at each mqtt.interval_s and their bytes; flash_size: of a record on flash."""

    def __init__(self, meters: int) -> None:
        found: Any = _Records(meters)
        topic = _ROOT_TOPIC + b"/history"
        room = _PACKET - len(mqtt.publish(topic, b"", False, 2)) - 2
        payloads = [b""]
        for line in records.lines(found, _SERIAL):
            if len(payloads[-1]) + len(line) > room:
                payloads.append(b"")
            payloads[-1] += line
        self.messages = len(payloads)
        self.size = sum(len(mqtt.publish(topic, payload, False, 2)) for payload in payloads)
        self.line_size = sum(len(payload) for payload in payloads)
        profile = profile_loader.load(_PROFILE)
        topics = [f"/meter{slot}/{profile.name_of(i)}" for slot in range(meters) for i in range(len(profile))]
        self.values = len(topics)
        self.values_size = sum(len(mqtt.publish(_ROOT_TOPIC + topic.encode(), _VALUE)) for topic in topics)
        past = Past(meters, 30, 20_000 * DAY_S)
        files = [len(content) for name, content in past.files().items() if name.startswith("data/history")]
        self.flash_size = sum(files) / past.records

    @property
    def wire_size(self) -> int:
        """Bytes of a record with TCP and IP, both ways: each message is acknowledged by TCP and by a PUBACK."""
        return self.size + self.messages * (_SEGMENT + _PUBACK + _SEGMENT + _SEGMENT)

    @property
    def values_wire_size(self) -> int:
        """The same of the values: without PUBACK, and many in a segment."""
        return self.values_size + 2 * _SEGMENT * math.ceil(self.values_size / _PACKET)


def sheets(gateways: int) -> list[Sheet]:
    """All tables."""
    return [_gateway_sheet(), *(_sheet(gateways) for _sheet in (_history_sheet, _values_sheet, _outage_sheet)),
            _broker_sheet(gateways)]  # fmt: skip


def _gateway_sheet() -> Sheet:
    columns = [
        "meters", "messages of a record", "bytes", "with TCP and IP", "bytes of a record on flash",
        "days in 1 MB of flash at 300 s", "values each time", "bytes", "with TCP and IP",
    ]  # fmt: skip
    rows = []
    for meters in _SIZES:
        one = Gateway(meters)
        days = 1_000_000 / one.flash_size * 300 / DAY_S
        rows.append([
            str(meters), str(one.messages), _n(one.size), _n(one.wire_size), f"{one.flash_size:.1f}", f"{days:.0f}",
            str(one.values), _n(one.values_size), _n(one.values_wire_size),
        ])  # fmt: skip
    return Sheet("One gateway", 0, columns, rows)


def _history_sheet(gateways: int) -> Sheet:
    columns = [
        "`history.interval_s`", "messages/s", "kB/s with TCP and IP", "messages/s if all came in one second",
        "values/s into the database", "GB of lines a day", "GB in the database a year",
    ]  # fmt: skip
    one = Gateway(_METERS)
    rows = []
    for interval_s in _INTERVALS_S:
        each_s = gateways / interval_s
        values_s = 2 * _METERS * each_s
        rows.append([
            str(interval_s), f"{each_s * one.messages:.0f}", f"{each_s * one.wire_size / 1e3:.0f}",
            _n(gateways * one.messages), f"{values_s:.0f}", f"{each_s * one.line_size * DAY_S / 1e9:.1f}",
            f"{values_s * 365 * DAY_S * DATABASE_BYTES / 1e9:.0f}",
        ])  # fmt: skip
    return Sheet(f"History of {_n(gateways)} gateways with {_METERS} meters", 0, columns, rows)


def _values_sheet(gateways: int) -> Sheet:
    one = Gateway(_METERS)
    rows = [
        [str(interval_s), _n(gateways / interval_s * one.values),
         _n(gateways / interval_s * one.values_wire_size / 1e3)]
        for interval_s in _VALUES_S
    ]  # fmt: skip
    columns = ["`mqtt.interval_s`", "messages/s", "kB/s with TCP and IP"]
    return Sheet(f"Values of {_n(gateways)} gateways with {_METERS} meters", 0, columns, rows)


def _outage_sheet(gateways: int) -> Sheet:
    one = Gateway(_METERS)
    interval_s = config.default()["history"]["interval_s"]
    rows = []
    for away_s in _AWAY_S:
        waiting = away_s // interval_s
        packets = math.ceil(waiting * one.line_size / (_PACKET - 60))
        rows.append([f"{away_s // 3600} h", str(waiting), str(packets), _n(gateways * packets),
                     f"{gateways * waiting * one.line_size / 1e9:.2f}"])  # fmt: skip
    columns = [
        "away", "records that wait in each gateway", "messages of each then", "messages of all", "GB of lines of all",
    ]  # fmt: skip
    return Sheet(f"A broker that was away, records each {interval_s} s", 0, columns, rows)


def _discovery(meters: int) -> tuple[int, int]:
    """(documents, their bytes with topics) that a gateway tells Home Assistant at each connect."""
    serial = _SERIAL.decode()
    profile = profile_loader.load(_PROFILE)
    url = "http://192.0.2.10/"
    packets = [mqtt.publish(
        b"homeassistant/binary_sensor/meterport_%s/status/config" % _SERIAL,
        discovery.gateway_document("gateway1234", serial, _ROOT_TOPIC, url), True,
    )]  # fmt: skip
    for slot in range(meters):
        meter: Any = SimpleNamespace(name=f"meter{slot}", slot=slot, profile=profile, profile_name=_PROFILE)
        topic = _ROOT_TOPIC + b"/meter%d" % slot
        packets += [
            mqtt.publish(
                b"homeassistant/sensor/meterport_%s/%s/config" % (_SERIAL, discovery.entity(meter, i)),
                discovery.document(serial, _ROOT_TOPIC, topic, meter, i, 90, url), True,
            )
            for i in range(len(profile))
        ]  # fmt: skip
    return len(packets), sum(map(len, packets))


def _broker_sheet(gateways: int) -> Sheet:
    documents, size = _discovery(_METERS)
    keep_alive_s = config.default()["mqtt"]["keep_alive_s"]
    rows = [
        ["connections", _n(gateways)],
        ["memory for them, MB", f"{gateways * BROKER_BYTES / 1e6:.0f}"],
        ["pings/s (each half of `mqtt.keep_alive_s`)", f"{2 * gateways / keep_alive_s:.0f}"],
        [f"new connections/s after an outage of more than {_BACK_OFF_S} s",
         f"{gateways / _BACK_OFF_S:.0f} to {2 * gateways / _BACK_OFF_S:.0f}"],
        ["retained messages (status of gateways and meters)", _n(gateways * (1 + _METERS))],
        ["with `mqtt.homeassistant` retained, too, and sent at each connect", _n(gateways * documents)],
        ["MB of them", f"{gateways * size / 1e6:,.0f}"],
    ]  # fmt: skip
    return Sheet("The broker", 1, ["", _n(gateways) + " gateways"], rows)


def _n(number: float) -> str:
    return f"{number:,.0f}"


def text(gateways: int) -> str:
    """The tables for a document."""
    return "\n".join(f"### {sheet.title}\n\n{markdown(sheet)}" for sheet in sheets(gateways))


def main(arguments: list[str] | None = None) -> int:
    """Prints the tables, or puts them into a document."""
    parser = argparse.ArgumentParser(prog="arithmetic", description="What a fleet sends, and what of it is stored.")
    parser.add_argument("--gateways", type=int, default=10_000, metavar="N", help="default %(default)s")
    parser.add_argument("--into", type=pathlib.Path, metavar="FILE", help="put the tables into docs/fleet.md there")
    options = parser.parse_args(arguments)
    if not 1 <= options.gateways <= _GATEWAYS_MAX:
        parser.error(f"--gateways {options.gateways}: must be 1 to {_GATEWAYS_MAX}")
    tables = text(options.gateways)
    if options.into is None:
        print(tables)
        return 0
    page = options.into.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        parser.error(f"--into {options.into}: has no {BEGIN.strip()} and {END}")
    head, _, rest = page.partition(BEGIN)
    options.into.write_text(head + BEGIN + tables + END + rest.partition(END)[2], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
