"""A body that goes to a file as it comes. While flash is written an RP2040 hears nothing, its UARTs included, so the
buses rest meanwhile: no byte is taken before they do."""

import json
import os

from firmware.config import store
from firmware.net import seam

PATH = "data/config.upload"


class Upload:
    """Takes what a bytearray would. Raises OSError when another one is under way, or a scan."""

    def __init__(self, app):
        self._app = app
        self._length = 0
        self._file = None
        if any([bus.guest is not None for bus in app.buses]):
            raise OSError("a scan is running")
        if not app.hold(True):
            raise OSError("another save is under way")
        try:
            store.make_folder(PATH)
            self._file = open(PATH, "wb")
        except OSError:
            app.hold(False)
            raise

    def __len__(self):
        return self._length

    def ready(self):
        """Whether all buses rest."""
        return all([bus.resting for bus in self._app.buses])

    def extend(self, data):
        self._file.write(data)
        self._length += len(data)

    def hand_over(self, connection):
        """The file is whole: what is left is the server's (server.py, saving)."""
        connection.begun_ms = None
        connection.slot.busy = True
        connection.server.saving = Saving(connection, self)

    def close(self):
        """Ends writing."""
        self._file.close()

    def drop(self):
        """The file is not needed any more. Safe to call twice."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        os.remove(PATH)
        self._app.hold(False)


class Saving:
    """The connection that has sent a configuration, while that is looked at. Holds nothing of connection.py."""

    def __init__(self, connection, body):
        self._server = connection.server
        self.stream = connection.stream
        self.slot = connection.slot
        self.left = connection.left
        self.keep_alive = connection.keep_alive
        self.body = body
        seam.unwatch(self.stream)
        connection.stream = None  # it is not that one's any more
        self.slot.connection = self

    def check(self):
        """Checks and saves what was sent, if it is right (save.py)."""
        try:
            self._errors, self._due = self._server.api.once("save", "run", self.body)
        except MemoryError:
            self._errors, self._due = (), None
        self.body.drop()

    def go_on(self, factory):
        """The answer goes out over a new connection: what is wrong with the configuration, or what waits for a reboot
        now; without both the heap was too short."""
        from firmware.services.http.guard import Refused

        self.slot.connection = connection = factory(self._server, self.stream, self.slot)
        seam.watch(self.stream, connection)
        connection.keep_alive = self.keep_alive
        connection.left = self.left
        errors, due = self._errors, self._due
        if errors:
            connection.tell_error(Refused(422, "nothing was saved: the configuration is not right", errors))
        elif due is None:
            connection.tell_error(Refused(503, "nothing was saved: the device is short of memory for the check"))
        else:
            connection.tell(200, iter(('{"reboot_due":%s}' % json.dumps(due),)))

    def hurry(self):
        """Nothing is missing."""

    def stalled(self):
        return False

    def close(self):
        self._server.saving = None
        self.body.drop()
        self.stream.close()
        self._server.budget.release(self.slot)
