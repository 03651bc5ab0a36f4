"""/api/config: the configuration as the user wrote it, and a new one in its place.

A save is one thing after the other: parse and check, let the buses rest (while flash is written an RP2040 hears
nothing, its UARTs included), write, let them go on, answer. Nobody else is concerned; what is saved is used from the
next boot on.
"""

from micropython import const

from firmware.net import seam
from firmware.services.http import errors
from firmware.services.http.errors import Refused
from firmware.services.http.json_out import to_json, write_json
from firmware.services.http.response import JSON, Later, Response

_REST_MS = const(20000)  # the longest that a save waits for the buses
_IN_FILE_NAMES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"


class ConfigApi:
    def __init__(self, out, config_store, buses):
        self._out = out
        self._store = config_store
        self._buses = buses
        self._save = None  # the Save that waits for the buses

    def get(self, request):
        """With ?download=1 it comes as a file with the device's name. Raises OSError."""
        headers: tuple = ()
        if request.query == b"download=1":
            name = _file_name(self._store.name)
            headers = (("Content-Disposition", 'attachment; filename="%s.json"' % name),)
        return Response(self._write(self._store.public()), 200, JSON, headers)

    def _write(self, document):
        """A piece for each section, and for each item of a list."""
        out = self._out
        before = "{"
        for name, value in document.items():
            out.write(before)
            write_json(out, name)
            out.write(":")
            before = ",\n"
            if not isinstance(value, list):
                write_json(out, value)
                yield
                continue
            before_item = "["
            for item in value:
                out.write(before_item)
                write_json(out, item)
                before_item = ",\n"
                yield
            out.write("]" if value else "[]")
        out.write("{}" if before == "{" else "}\n")
        yield

    def put(self, request):
        """Raises Refused, MemoryError."""
        self._check_free()
        checked, wrong = self._store.check(request.body)
        if wrong:
            raise Refused(422, "nothing was saved: the configuration is not right", wrong)
        self._save = save = Save(self._store, self._buses, checked)  # first, so that expire() bounds it
        if not self._buses.pause(save.write):
            self._save = None
            raise Refused(409, "the buses cannot rest now")
        return save

    def _check_free(self):
        scan = self._buses.scan
        if scan is not None and scan.running:
            raise Refused(409, "a scan is running")
        if self._buses.paused:
            raise Refused(409, "another save is under way")

    def expire(self):
        """Once a second."""
        if self._save is not None and self._save.expire():
            self._save = None


class Save(Later):
    """A configuration that was checked, on its way into the file. Whatever its end, the buses go on."""

    def __init__(self, config_store, buses, checked):
        self._store = config_store
        self._buses = buses
        self._checked = checked
        self._due = config_store.due_after(checked)
        # Made before anything is written: when it is said that nothing was saved, nothing was.
        self._saved = Response(to_json({"reboot_due": self._due}))
        self._begun_ms = seam.ticks_ms()

    def write(self):
        """All buses rest."""
        response = errors.SHORT_RESPONSE
        try:
            self._store.write(self._checked, self._due)
            response = self._saved
        except OSError as error:
            wrong = ("configuration: it cannot be written: %r" % error,)
            response = errors.response_to(Refused(422, "nothing was saved", wrong))
        except MemoryError:
            pass  # while the new file was being made: the old one is in place
        finally:
            self._end(response)

    def cancel(self):
        """The browser has gone before the buses rested: nothing is written."""
        self._end(None)

    def expire(self):
        """Whether it has come to its end: at the latest after _REST_MS, and nothing is written then."""
        if self._checked is not None and seam.ticks_diff(seam.ticks_ms(), self._begun_ms) >= _REST_MS:
            self._end(errors.response_to(Refused(503, "nothing was saved: the buses do not come to rest")))
        return self._checked is None

    def _end(self, response):
        if self._checked is None:
            return
        self._checked = None
        self._buses.resume()
        if response is not None:
            self.answer(response)


def _file_name(name):
    """What of a device's name may stand in the name of a file, and in a header."""
    known = [byte if byte in _IN_FILE_NAMES else 95 for byte in name.encode()]
    return bytes(known).decode()
