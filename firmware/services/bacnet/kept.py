"""What outlasts a restart, in data/bacnet: texts and increments that clients have written, and
Database_Revision with a digest of the objects that it belongs to (ASHRAE 135-2012, 12.11.35)."""

import hashlib
import json

import strict_json
from micropython import const

from firmware.config import store
from firmware.config.config_store import BACNET

_TYPING = const(0)
if _TYPING:
    from firmware.bus import Buses
    from firmware.events import Events
    from firmware.services.bacnet.objects import Objects

_SETTLE_S = const(10)  # after a write, for those that follow: flash wears


class Kept:
    """Loads into `objects`, and saves from there in a gap of `buses`."""

    def __init__(self, objects: "Objects", buses: "Buses", events: "Events"):
        self._objects = objects
        self._buses = buses
        self._events = events
        self._saves_in_s = 0

    def load(self) -> None:
        """At start. A file that is missing or damaged is as none; where the objects are others than at the last start
        the revision rises, and is saved."""
        objects = self._objects
        try:
            kept = strict_json.loads(store.load(BACNET) or b"{}")
            objects.name = kept.get("name", objects.name.decode()).encode()
            objects.description = kept.get("description", "").encode()
            objects.location = kept.get("location", "").encode()
            objects.increments = {int(key): value for key, value in kept.get("increments", {}).items()}
            objects.revision = kept.get("revision", 0)
            digest = kept.get("digest")
        except (OSError, ValueError, AttributeError, TypeError) as error:
            self._events.add("bacnet", "%s cannot be read: %r" % (BACNET, error))
            digest = None
        if digest != self._digest():
            objects.revision += 1
            self._save()

    def changed(self) -> None:
        """A client has written something."""
        self._saves_in_s = _SETTLE_S

    def tick(self) -> None:
        """Once a second."""
        if self._saves_in_s:
            self._saves_in_s -= 1
            if not self._saves_in_s and not self._buses.pause(self._save_and_resume):
                self._saves_in_s = 1

    def close(self) -> None:
        """Saves what still waits, before the firmware ends."""
        if self._saves_in_s:
            self._saves_in_s = 0
            self._save()

    def _save_and_resume(self):
        try:
            self._save()
        finally:
            self._buses.resume()

    def _save(self):
        objects = self._objects
        text = json.dumps({
            "revision": objects.revision, "digest": self._digest(), "name": objects.name.decode(),
            "description": objects.description.decode(), "location": objects.location.decode(),
            "increments": {str(key): value for key, value in objects.increments.items()},
        })  # fmt: skip
        try:
            store.save(BACNET, text.encode())
        except (OSError, ValueError) as error:
            self._events.add("bacnet", "not saved: %r" % error)

    def _digest(self):
        """Of instance, identifiers and names of all objects."""
        objects = self._objects
        sha = hashlib.sha256(b"%d" % objects.instance)
        for _ in objects.each():
            sha.update(b"%d %d %s\n" % (objects.type, objects.object_instance(), objects.object_name()))
        return sha.digest()[:8].hex()
