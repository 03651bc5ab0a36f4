"""The configuration of the running device, the user's file, and saves of a new one.

A save is check(), then write(): nothing that was refused is ever written, and the boot takes what was written. It is
used from the next boot on; until then reboot_due() lists what waits. A file that was saved runs on trial (trial.py)
until confirm() makes it the last good copy. While flash is written some chips receive nothing, at their UARTs either:
the caller of write() and confirm() pauses the buses.
"""

import errno
import json
import os

from micropython import const

from firmware.config import difference, heap_use, load, rules, schema, store, trial

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from firmware.events import Events

PASSWORD = "data/password"  # of the page, kept by store.py
BACNET = "data/bacnet"  # what BACnet clients have written, kept by store.py
# (section, key): never shown
SECRETS = (
    ("network", "password"), ("network", "password_2"), ("network", "password_3"), ("bacnet", "password"),
    ("posting", "password"),
    ("mqtt", "password"),
)  # fmt: skip
_FOLDER = const("data")
_IS_FOLDER = const(0x4000)  # in the mode that os.stat() gives
_RESETTING = const("data/resetting")  # there until a factory reset has removed all
_ERASE = const("erase")  # firmware.erase.MARK, after that
_PROFILES = const("data/meters")
_LOOK_EACH = const(12)


class ConfigStore:
    """config: complete and valid, by which the device runs; firmware.app removes meters and routes once it has made
    objects of them. source, errors: as load.Loaded. profiles: {name: Profile} of the meters in it, set to None then.
    is_confirmed: True when confirm() has nothing to do. is_reset: after factory_reset(), until the restart: nothing may
    be written any more."""

    def __init__(self, events: "Events", heap_free: "Callable[[], int] | None" = None) -> None:
        """`heap_free()`: bytes of heap that this board has left, or 0 where that is not known."""
        self._events = events
        self._heap_free = heap_free
        self.is_reset = False
        if store.exists(_RESETTING):
            self._remove_all()
        starts = trial.begin()
        loaded = load.load(starts == trial.FAILED)
        self.config = loaded.config
        self.source = loaded.source
        self.errors = loaded.errors
        self.profiles = loaded.profiles
        self.name = self.config["name"]
        self.hostname = self.config["network"]["hostname"]
        for error in self.errors:
            events.add("config", error)
        if self.source == "partly":
            events.add("config", "running by the file where it is right")
        elif self.errors:
            events.add("config", "running by the %s configuration" % self.source)
        sizes = {name: heap_use.of_profile(profile) for name, profile in loaded.profiles.items()}
        self._heap_needed = heap_use.of_configuration(self.config, sizes)
        self._added = [name for name in sizes if load.is_added(name)]
        # Profiles that came with the firmware do not change, so a check need not load those in use again.
        self._built_in_sizes = {name: size for name, size in sizes.items() if name not in self._added}
        self._digest = loaded.digest
        self._due: list = []
        self._seen_file = self._booted_file = _file_state()
        self._is_asked = True  # what is due, since the last look at the file
        self._unlooked = 0
        is_kept = self.source != "file" or load.is_last_good(self._added)
        self.is_confirmed = is_kept and starts in (trial.PROVEN, trial.FAILED)

    def public(self) -> dict:
        """The document in the user's file, or when it is damaged that of the last good copy, without secrets. {}
        without either: a new device. Raises OSError."""
        document = self._readable()
        if not isinstance(document, dict):
            try:
                document = load.parse(store.load(load.LAST_GOOD) or b"{}")
            except ValueError:
                document = {}
        for section, key in SECRETS:
            if isinstance(document.get(section), dict):
                document[section].pop(key, None)
        return document

    def check(self, body: "bytes | bytearray | memoryview") -> "tuple[Any, list]":
        """(document for write(), []) when the configuration in `body` is right and this board has room for it, else
        (None, errors). Secrets that are left out are added: those of the file, or where they are wrong those in use.
        Raises MemoryError."""
        secrets = list(self._secrets())  # before `body` is parsed, so that one document at a time is in the heap
        try:
            document = load.parse(body)
        except ValueError as error:
            return None, ["configuration: %s" % error]
        if isinstance(document, dict):
            for section, key, secret in secrets:
                part = document.setdefault(section, {}) if secret else None
                if isinstance(part, dict) and key not in part:
                    part[key] = secret
        sizes = dict(self._built_in_sizes)
        errors = self._errors(document, sizes)
        if not errors:
            size = sum([len(piece) for piece in json_pieces(document)])
            if size > load.FILE_MAX:
                errors.append("configuration: %d bytes, with its secrets, are more than %d" % (size, load.FILE_MAX))
            self._check_room(document, sizes, errors)
        return (None, errors) if errors else (document, errors)

    def _errors(self, document, sizes):
        """The errors in `document`; the sizes of its profiles are added to `sizes`."""

        def profile_error(name):
            # Loading a profile takes time and tens of kilobytes.
            if name in self._built_in_sizes and not load.is_added(name):
                return None
            profiles: dict = {}
            error = load.load_profile(name, profiles)
            if not error:
                sizes[name] = heap_use.of_profile(profiles[name])
            return error

        return load.Check(document, profile_error, False).errors

    def _check_room(self, document, sizes, errors):
        """Adds an error when the configuration takes more heap than the one in use, and more than there is."""
        more = heap_use.of_configuration(document, sizes) - self._heap_needed
        free = self._heap_free() if self._heap_free is not None and more > 0 else 0
        missing = more + heap_use.RESERVE - free
        if free and missing > 0:
            errors.append("configuration: needs %d KB of heap more than this board has" % (missing // 1024 + 1))

    def write(self, checked: "Any", due: "list | None" = None) -> None:
        """Saves the document that check() has returned. `due`: reboot_due_after() of it. After a power cut the file is
        the old or the new one. Raises OSError and MemoryError; the old one is in place then."""
        if due is None:
            due = self.reboot_due_after(checked)
        store.replace(load.PATH, json_pieces(checked))
        store.remove_file(trial.PATH)
        self._set_due(due)
        self._seen_file = _file_state()

    def confirm(self) -> None:
        """To be called once the page is up: ends the trial of the file, and makes it the last good copy when all of it
        is right. Does nothing when the file was changed meanwhile. Raises OSError, ValueError, MemoryError."""
        if self.is_confirmed:
            return
        self.is_confirmed = True
        if _file_state() != self._booted_file:
            return
        if self.source == "file":
            load.save_last_good(self._added)
        trial.record(trial.PROVEN)

    def reject(self) -> None:
        """To be called when the file has brought up no page: from the next boot on the device runs by the last good
        copy, or without its meters. Raises OSError."""
        self.is_confirmed = True
        if _file_state() == self._booted_file:
            trial.record(trial.FAILED)

    def uncount_start(self) -> None:
        """Before an end or a restart that was asked for: this start does not count against the file."""
        if not self.is_confirmed:
            store.remove_file(trial.PATH)

    def file_size(self) -> int:
        """Bytes of the file that the device has booted with; 0 without one."""
        return self._booted_file[0] if self._booted_file else 0

    def reboot_due(self) -> list:
        """What waits for a reboot: names of services that the file switches on or off against the boot, else
        "configuration" when anything else has changed."""
        self._is_asked = True
        return self._due

    def notice_change(self) -> None:
        """Notices, by its size and time, that the file was changed otherwise than by write(); logs what is wrong in
        it. To be called every few seconds. Looks at the file each time while somebody asks what is due, else each
        twelfth time: on an RP2040 a look takes 300,000 cycles."""
        self._unlooked += 1
        if not self._is_asked and self._unlooked < _LOOK_EACH:
            return
        self._is_asked = False
        self._unlooked = 0
        mark = _file_state()
        if mark == self._seen_file:
            return
        self._seen_file = mark
        due = ["configuration"]
        try:
            document = self._read()
            due = self.reboot_due_after(document)
            errors = self._errors(document, dict(self._built_in_sizes))
        except (OSError, ValueError) as error:
            errors = (str(error),)
        except MemoryError:
            errors = ("no memory to check it",)
        if errors:
            more = " (and %d more)" % (len(errors) - 1) if len(errors) > 1 else ""
            self._events.add("config", "the new file is wrong: %s%s" % (errors[0], more))
        self._set_due(due)

    def factory_reset(self) -> None:
        """Removes every file in data/, whatever has made it, but the profiles that were added. A power cut meanwhile
        has the next start go on; that start has erase.py erase what they lay in. Raises OSError."""
        self.is_reset = True
        store.replace(_RESETTING, ())
        self._remove_all()
        self._events.add("app", "all settings were removed")

    def _remove_all(self):
        load.remove_profile_copies()
        folders = [_FOLDER]
        while folders:
            folder = folders.pop()
            for name in os.listdir(folder):
                path = folder + "/" + name
                if os.stat(path)[0] & _IS_FOLDER:
                    if path != _PROFILES:
                        folders.append(path)
                elif path != _RESETTING:
                    os.remove(path)
        os.rename(_RESETTING, _ERASE)

    def reboot_due_after(self, document: "Any") -> list:
        """The reboot_due() of a file with `document`, of any type."""
        if not isinstance(document, dict):
            return ["configuration"]
        if difference.digest(document) == self._digest:
            return []
        return difference.switched_services(document, self.config) or ["configuration"]

    def _set_due(self, due):
        self._due = due
        if due:
            self._events.add("config", "a reboot is due for: " + ", ".join(due))

    def _read(self):
        """The user's file; {} without one. Raises OSError, ValueError."""
        try:
            return load.read(load.PATH)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return {}
            raise

    def _readable(self):
        """The document in the user's file; None when it is damaged."""
        try:
            return self._read()
        except (OSError, ValueError):
            return None

    def _secrets(self):
        """Yields (section, key, secret) of those that the file names, or where it is wrong those in use."""
        if self._due or self.source not in ("file", "default") or _file_state() != self._seen_file:
            document = self._readable()
        else:
            document = None  # the secrets in it are those in use
        for section, key in SECRETS:
            part = document.get(section, {}) if isinstance(document, dict) else None
            secret = part.get(key, "") if isinstance(part, dict) else None
            if rules.correction(secret, schema.find(key, schema.find(section)[2])):
                secret = self.config[section][key]
            yield section, key, secret


def _file_state():
    """(size, time of the last change) of the file; None without one."""
    try:
        status = os.stat(load.PATH)
    except OSError:
        return None
    return status[6], status[8]


def json_pieces(document: dict) -> "Iterator[bytes]":
    """Yields the document as JSON in pieces: a line for each section and each item of a list, without spaces, so that
    it is hardly longer than what was sent."""
    before = b"{"
    for name, value in document.items():
        yield before + _compact(name) + b":"
        before = b",\n"
        if not isinstance(value, list) or not value:
            yield _compact(value)
            continue
        before_item = b"[\n"
        for item in value:
            yield before_item + _compact(item)
            before_item = b",\n"
        yield b"]"
    yield b"}\n" if before == b",\n" else b"{}\n"


def _compact(value):
    return json.dumps(value, separators=(",", ":")).encode()
