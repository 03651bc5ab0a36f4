"""The bodies that are posted, and which answers say that one has arrived.

A format makes a body of records in small pieces: begin(), record() for each, end(). They are generators: what is given
to write() between two pieces has at most PIECE bytes. docs/reference/posting.md has an example of each.
"""

import json

import acquisuite
import iso8601
import template
from micropython import const

from firmware.history.records import lines

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterable, Iterator

    import http_client

    from firmware.history.records import Columns, FlashRecords
    from firmware.services.posting.present import PresentReadings

    Records = FlashRecords | PresentReadings
    Write = Callable[[bytes], object]

PIECE = const(640)
_ROWS_MAX = const(1000)  # records in one body; emoncms takes no more frames, and the size is bounded besides


def make(name: str, gateway: "Gateway", columns: "Columns") -> "Format":
    """The format of that name, one of those in config/schema.py."""
    if name == "influx":
        return LineProtocol(gateway, columns)
    if name == "csv":
        return Csv(gateway, columns)
    if name == "daily_csv":
        return DailyCsv(gateway, columns)
    if name == "emoncms":
        return Emoncms(gateway, columns)
    if name == "acquisuite":
        return AcquiSuite(gateway, columns)
    if name == "template":
        return Template(gateway, columns)
    return Json(gateway, columns)


class Gateway:
    """Who posts: `name` and `serial` of the device, bytes; `section`: posting of the configuration."""

    def __init__(self, name: bytes, serial: bytes, section: dict) -> None:
        self.name = name
        self.serial = serial
        self.section = section


class Format:
    """rows_max: records in one body; parts: bodies that the same records take; is_gzip: the body is a gzip file of what
    is written, in a form; is_daily: a body has all records of a day; needs_values: a body without any value is none;
    line: of the answer, which says that the body has arrived, b"" without one."""

    method = "POST"
    content_type = "text/plain; charset=utf-8"
    rows_max = _ROWS_MAX
    parts = 1
    is_gzip = False
    is_daily = False
    needs_values = False
    line = b""

    def __init__(self, gateway: Gateway, columns: "Columns") -> None:
        self.gateway = gateway
        self.columns = columns
        self.part = 0

    def target(self, target: str, time_s: int) -> str:
        """The target of the request, of that in the configuration; `time_s`: of its first record."""
        target = target.replace("$serial", self.gateway.serial.decode())
        return target.replace("$date", iso8601.format(time_s)[:10].decode())

    def begin(self, write: "Write") -> "Iterable":
        """Writes what is before the first record."""
        return ()

    def form_head(self, size: int) -> bytes:
        """What is before a file of `size` bytes, in a form."""
        raise NotImplementedError

    def record(self, records: "Records", write: "Write", number: int) -> "Iterator[None]":
        """A generator: writes the record that `records` stands at, the one of that number in the body."""
        raise NotImplementedError

    def end(self, write: "Write") -> "Iterable":
        """Writes what is behind the last record."""
        return ()

    def has_arrived(self, response: "http_client.Response") -> bool:
        """True when a response with a status of 2xx says that the body was taken."""
        return True


class LineProtocol(Format):
    """InfluxDB 1 and 2, VictoriaMetrics: a line for each meter that said anything."""

    needs_values = True

    def target(self, target: str, time_s: int) -> str:
        """The same, with times in seconds where it does not say so."""
        target = super().target(target, time_s)
        if "precision=" not in target:
            target += ("&" if "?" in target else "?") + "precision=s"
        return target

    def record(self, records: "Records", write: "Write", number: int) -> "Iterator[None]":
        """A line for each meter that has a value."""
        for line in lines(records, self.gateway.serial):
            write(line)
            yield


class Json(Format):
    """An object with a list of records; what is unknown is left out."""

    content_type = "application/json"

    def begin(self, write: "Write") -> "Iterable":
        """The object up to its first record."""
        write(b'{"serial":%s,"name":%s,"records":[' % (_json(self.gateway.serial), _json(self.gateway.name)))
        return ()

    def record(self, records: "Records", write: "Write", number: int) -> "Iterator[None]":
        """An object with the time and a list of meters; a value that is unknown has no key."""
        columns = self.columns
        write(b'%s{"time":%d,"meters":[' % (b"," if number else b"", records.time_s))
        last = -1
        for k in range(len(columns.names)):
            m = columns.meter_of[k]
            if m != last:
                meter = columns.meters[m]
                before = b"},{" if last >= 0 else b"{"
                write(b'%s"slot":%d,"meter":%s' % (before, meter.slot, _json(meter.name.encode())))
                last = m
            value = records.value(k)
            if value:
                write(b',"%s":%s' % (columns.names[k], value))
            yield
        write(b"}]}")

    def end(self, write: "Write") -> "Iterable":
        """The end of the object."""
        write(b"]}")
        return ()


class Csv(Format):
    """A line for each record and a column for each series; what is unknown is empty."""

    content_type = "text/csv; charset=utf-8"

    def begin(self, write: "Write") -> "Iterable":
        """The titles: the names of meter and point, and the unit."""
        write(b"time")
        columns = self.columns
        for k in range(len(columns.names)):
            name = columns.meters[columns.meter_of[k]].name.replace('"', '""').encode()
            write(b',"%s %s"' % (name, columns.names[k]))
            yield
        write(b"\r\n")

    def record(self, records: "Records", write: "Write", number: int) -> "Iterator[None]":
        """A line."""
        write(iso8601.format(records.time_s))
        for k in range(len(self.columns.names)):
            write(b",")
            write(records.value(k))
            yield
        write(b"\r\n")


class DailyCsv(Csv):
    """The same as one file for each day (UTC), which is put in the place of the one before: PUT."""

    method = "PUT"
    is_daily = True


class Emoncms(Format):
    """input/bulk of emoncms: a node for each meter, times as offsets from 0 (emoncms, Modules/input/input_api)."""

    content_type = "application/x-www-form-urlencoded"
    needs_values = True

    def begin(self, write: "Write") -> "Iterable":
        """The form up to its first frame."""
        self._before = b""
        write(b"time=0&data=[")
        return ()

    def record(self, records: "Records", write: "Write", number: int) -> "Iterator[None]":
        """A frame [time, node, values] for each meter that has a value."""
        columns = self.columns
        last = -1
        for k in range(len(columns.names)):
            value = records.value(k)
            if not value:
                continue
            m = columns.meter_of[k]
            if m != last:
                name = _form_encoded(_json(columns.meters[m].name.encode()))
                write(b"%s[%d,%s,{" % (b"}]," if last >= 0 else self._before, records.time_s, name))
                last = m
            else:
                write(b",")
            write(b'"%s":%s' % (columns.names[k], value))
            yield
        if last >= 0:
            write(b"}]")
            self._before = b","

    def end(self, write: "Write") -> "Iterable":
        """The end of the list of frames."""
        write(b"]")
        return ()

    def has_arrived(self, response: "http_client.Response") -> bool:
        """It says ok, or what is wrong, with the same status."""
        return bytes(response.body).strip(b' \r\n"') == b"ok"


class AcquiSuite(Format):
    """The log file of one meter, as an Obvius AcquiSuite uploads it: a body for each meter."""

    content_type = "multipart/form-data; boundary=" + acquisuite.BOUNDARY.decode()
    is_gzip = True
    line = acquisuite.DELIVERED

    def __init__(self, gateway: Gateway, columns: "Columns") -> None:
        super().__init__(gateway, columns)
        self.parts = len(columns.meters)

    def form_head(self, size: int) -> bytes:
        """What is before the file, which has `size` bytes."""
        meter = self.columns.meters[self.part]
        gateway = self.gateway
        section = gateway.section
        fields = [
            (b"MODE", b"LOGFILEUPLOAD"), (b"SERIALNUMBER", gateway.serial), (b"LOOPNAME", gateway.name),
            (b"MODBUSDEVICE", b"%d" % meter.unit), (b"MODBUSDEVICENAME", meter.name.encode()),
            (b"MODBUSDEVICETYPE", meter.profile.name.encode()), (b"FILESIZE", b"%d" % size),
        ]  # fmt: skip
        for name, key in ((b"USERNAME", "user"), (b"PASSWORD", "password")):
            if section[key]:
                fields.append((name, section[key].encode()))
        return acquisuite.form_head(fields, b"mb-%03d.log.gz" % meter.unit)

    def record(self, records: "Records", write: "Write", number: int) -> "Iterator[None]":
        """A log line of the meter."""
        columns = [k for k in range(len(self.columns.names)) if self.columns.meter_of[k] == self.part]
        values = [records.value(k) for k in columns]
        has_value = any([len(value) for value in values])
        error = acquisuite.NO_ERROR if has_value else acquisuite.NO_RESPONSE
        write(acquisuite.line_head(records.time_s, error))
        for value in values:
            write(b",")
            write(value)
        write(b"\n")
        yield

    def has_arrived(self, response: "http_client.Response") -> bool:
        """The status alone does not count."""
        return response.has_line


class Template(Format):
    """The user's own text, one record each."""

    rows_max = 1

    def __init__(self, gateway: Gateway, columns: "Columns") -> None:
        super().__init__(gateway, columns)
        self._text = gateway.section["template"].encode() or DEFAULT_TEMPLATE
        self._is_json = self._text.lstrip()[:1] in (b"{", b"[")
        if self._is_json:
            self.content_type = "application/json"

    def record(self, records: "Records", write: "Write", number: int) -> "Iterator[None]":
        """The whole text."""
        columns = self.columns

        def value(name: bytes, m: int) -> bytes:
            if name == b"time":
                return b"%d" % records.time_s
            if name == b"iso":
                return iso8601.format(records.time_s)
            if name == b"serial":
                return self.gateway.serial
            if name == b"name":
                return self._quoted(self.gateway.name)
            meter = columns.meters[m]
            if name == b"meter":
                return self._quoted(meter.name.encode())
            if name == b"slot":
                return b"%d" % meter.slot
            if name == b"unit":
                return b"%d" % meter.unit
            for k in range(len(columns.names)):
                if columns.meter_of[k] == m and columns.names[k] == name:
                    return records.value(k) or b"null"
            return b"null"

        return template.render(self._text, len(columns.meters), value, write)

    def _quoted(self, text: bytes) -> bytes:
        """As it may stand between the quotation marks of a JSON template."""
        return _json(text)[1:-1] if self._is_json else text


DEFAULT_TEMPLATE = (
    b'{"serial":"$serial","time":$time,"meters":[$[{"meter":"$meter","energy_import_wh":$energy_import_wh,'
    b'"active_power_w":$active_power_w}$,$]]}'
)


def _json(text: bytes) -> bytes:
    return json.dumps(text.decode()).encode()


def _form_encoded(text: bytes) -> bytes:
    """As a part of a value of a form (WHATWG URL, application/x-www-form-urlencoded)."""
    out = bytearray()
    for byte in text:
        if byte in b'"-._' or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122:
            out.append(byte)
        else:
            out.extend(b"%%%02X" % byte)
    return bytes(out)
