"""/api/config: the configuration as the user wrote it, and a new one in its place; and what the page needs to offer
one: /api/schema, the keys, /api/profiles, the kinds of meters, and /api/board, the terminals of the board.

A save is a sequence: parse and check, let the buses rest (while flash is written an RP2040 hears nothing, its UARTs
included), write, let them go on, answer. Other connections are not concerned; what is saved is used from the next boot
on.
"""

from micropython import const

from firmware.config import schema
from firmware.config.config_store import json_pieces
from firmware.meters import catalog
from firmware.net import seam
from firmware.services.http.response import (
    JSON,
    SHORT_RESPONSE,
    Later,
    Refused,
    Response,
    response_to,
    to_json,
    write_json,
)  # fmt: skip

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterator

    from firmware.bus import Buses
    from firmware.net.seam import Sink
    from firmware.services.http.service import HttpService
    from http1 import Request
_REST_MS = const(20000)  # the longest that a save waits for the buses
_IN_FILE_NAMES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"


def get_config(service: "HttpService", request: "Request") -> Response:
    """Gives the configuration, without its secrets; with ?download=1 as a file named after the device. Raises
    OSError."""
    headers: tuple = ()
    if request.query == b"download=1":
        name = bytes([byte if byte in _IN_FILE_NAMES else 95 for byte in service.config_store.name.encode()]).decode()
        headers = (("Content-Disposition", 'attachment; filename="%s.json"' % name),)
    return Response(_write_config(service.out, service.config_store.public()), 200, JSON, headers)


def _write_config(out: "Sink", document: dict) -> "Iterator[None]":
    for piece in json_pieces(document):
        out.write(piece)
        yield


def put_config(service: "HttpService", request: "Request") -> "Save":
    """Checks the configuration in the body and begins to save it. Raises Refused (409 during a scan or another save,
    422 with every error), MemoryError."""
    check_idle(service)
    store = service.config_store
    checked, wrong = store.check(request.body)
    if wrong:
        raise Refused(422, "nothing was saved: the configuration is not right", wrong)
    due = store.reboot_due_after(checked)
    return begin_save(service, lambda: store.write(checked, due), Response(to_json({"reboot_due": due})))


def put_authorities(service: "HttpService", request: "Request") -> "Save":
    """Checks the certificates in the body, PEM or DER, and begins to save them for posting over https, or for MQTT with
    TLS. Raises Refused (409 as for a configuration, or without such a service; 422), MemoryError."""
    is_mqtt = request.path == b"/api/mqtt/authorities"
    sender = service.device.running("mqtt" if is_mqtt else "posting")
    if sender is None or sender.tls is None:
        if is_mqtt:
            raise Refused(409, "MQTT does not run with TLS: save mqtt.tls first, and restart")
        raise Refused(409, "nothing is posted over https: save the address first, and restart")
    check_idle(service)
    data = request.body
    try:
        sender.tls.check_authorities(data)
    except ValueError as error:
        raise Refused(422, "nothing was saved", ("file: %s" % error,)) from None
    return begin_save(service, lambda: sender.tls.store_authorities(data), Response(b"{}"))


def check_idle(service: "HttpService") -> None:
    """Raises Refused while a scan or a save runs."""
    buses = service.buses
    if buses.scan is not None and buses.scan.running:
        raise Refused(409, "a scan is running")
    if service.save is not None and not service.save.has_ended():
        raise Refused(409, "another save is under way")


def begin_save(service: "HttpService", write: "Callable[[], None]", saved: Response) -> "Save":
    """Begins to `write()` when the buses rest, and to answer with `saved`. Raises MemoryError."""
    service.save = save = Save(write, service.buses, saved)  # first, so that tick() bounds it
    try:
        save.begin()
    except MemoryError:
        service.save = None
        raise
    return save


class Save(Later):
    """The save of what was checked: `write()` writes it, `saved` is the response then, made before anything is written,
    so that a response that nothing was saved is true. The buses go on at its end in any case."""

    def __init__(self, write: "Callable[[], None]", buses: "Buses", saved: Response) -> None:
        self._write: "Callable[[], None] | None" = write
        self._buses = buses
        self._saved = saved
        self._begun_ms = seam.ticks_ms()
        self._has_paused = False

    def begin(self) -> None:
        """Lets the buses rest, or has expire() do so when they rest for another write already. Raises MemoryError."""
        self._has_paused = self._buses.pause(self.write)

    def write(self) -> None:
        """Writes the file and answers; called when all buses rest."""
        answer = SHORT_RESPONSE
        assert self._write is not None
        try:
            self._write()
            answer = self._saved
        except OSError as error:
            wrong = ("configuration: the file cannot be written: %r" % error,)
            answer = response_to(Refused(422, "nothing was saved", wrong))
        except ValueError as error:
            answer = response_to(Refused(422, "nothing was saved", (str(error),)))
        except MemoryError:
            pass  # while the new file was being made: the old one is in place
        finally:
            self._buses.resume()
            self._has_paused = False
            self._end(answer)

    def has_ended(self) -> bool:
        """True once it is answered or cancelled."""
        return self._write is None

    def cancel(self) -> None:
        """Ends the save without writing: the client has gone before the buses rested."""
        self._end(None)

    def expire(self) -> bool:
        """Call once a second. True when the save has ended; after _REST_MS it ends without writing."""
        if not self.has_ended() and not self._has_paused:
            self.begin()
        if not self.has_ended() and seam.ticks_diff(seam.ticks_ms(), self._begun_ms) >= _REST_MS:
            self._end(response_to(Refused(503, "nothing was saved: the buses do not come to rest")))
        return self.has_ended()

    def _end(self, answer: "Response | None") -> None:
        if self.has_ended():
            return
        self._write = None
        if self._has_paused:
            self._buses.resume()
        if answer is not None:
            self.answer(answer)


def write_profiles(service: "HttpService", request: "Request") -> "Iterator[None]":
    """Writes name, title and confidence of every profile."""
    out = service.out
    out.write(b'{"profiles":[')
    before = b""
    for name in catalog.names():
        title, confidence = catalog.title(name)
        out.write(before)
        write_json(out, {"name": name, "title": title, "confidence": confidence})
        before = b","
        yield
    out.write(b"]}")
    yield


def write_board(service: "HttpService", request: "Request") -> "Iterator[None]":
    """Writes the names of all board files, and title and terminals of the one in use, null without one."""
    from firmware.config import board_files  # on a device without a board file only this needs it

    out = service.out
    out.write(b'{"boards":')
    write_json(out, board_files.names())
    yield
    out.write(b',"board":')
    name = service.config_store.config["board"]
    board = None
    if name:
        try:
            board = board_files.load(name)
        except ValueError:  # the user's file has changed since the start
            pass
    write_json(out, board and {"name": name, "title": board["title"], "terminals": board["terminals"]})
    out.write(b"}")
    yield


def write_schema(service: "HttpService", request: "Request") -> "Iterator[None]":
    """Writes the keys of the configuration (docs/reference/http.md, GET /api/schema)."""
    yield from _write_keys(service.out, schema.KEYS)


def _write_keys(out: "Sink", rows: tuple) -> "Iterator[None]":
    """Writes rows of the schema as an object of [kind, default, ...]; a section is an object, a list [section, most].
    With a piece for each key."""
    before = "{"
    for row in rows:
        out.write(before)
        write_json(out, row[0])
        before = ","
        if row[1] == "section":
            out.write(":")
            yield from _write_keys(out, row[2])
        elif row[1] == "list":
            out.write(":[")
            yield from _write_keys(out, row[2])
            out.write(",%d]" % row[3])
        else:
            out.write(":")
            write_json(out, row[1:])
        yield
    out.write("}")
