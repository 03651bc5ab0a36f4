"""The configuration of the running device: what it runs by, what the user's file says, and saving a new one.

A save is check(), then write(): nothing that was refused is ever written, and the boot takes whatever was written. What
is saved is used from the next boot on; until then reboot_due() says what waits. While flash is written some chips hear
nothing, their UARTs included: whoever calls write() lets the buses rest.
"""

import errno
import json
import os

from firmware.config import difference, load, rules, schema, store

PASSWORD = "data/password"  # of the page, kept by store.py
SECRETS = (("network", "password"),)  # (section, key): never told
_UPLOAD = "data/config.upload"  # left by a firmware that wrote a save there first


class ConfigStore:
    """config: complete and valid, by which the device runs; who has made meters and routes of it may take these out.
    source, errors: as load.Loaded. profiles: {name: Profile} of the meters in it; likewise, set to None."""

    def __init__(self, events):
        self._events = events
        loaded = load.load()
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
        # Of the profiles that came with the firmware those that are known to be right: they do not change.
        self._right_profiles = [name for name in loaded.profiles if self.source == "file" and not load.is_added(name)]
        self._digest = loaded.digest
        self._due = []
        self._mark = _mark()

    def public(self):
        """What the user's file says, or when it is damaged the last good copy, without secrets: a dict. {} without
        either: a new device. Raises OSError."""
        document = self._document()
        if not isinstance(document, dict):
            try:
                document = load.parse(store.load(load.LAST_GOOD) or b"{}")
            except ValueError:
                document = {}
        for section, key in SECRETS:
            if isinstance(document.get(section), dict):
                document[section].pop(key, None)
        return document

    def check(self, body):
        """(document for write(), []) when the configuration in `body` (bytes-like) is right, else (None, what is
        wrong). The secrets that it does not name are added: those of the file, or where they are wrong those in use."""
        secrets = list(self._secrets())  # before `body` is parsed: two documents at once are many
        try:
            document = load.parse(body)
        except ValueError as error:
            return None, ["configuration: %s" % error]
        if isinstance(document, dict):
            for section, key, secret in secrets:
                part = document.setdefault(section, {}) if secret else None
                if isinstance(part, dict) and key not in part:
                    part[key] = secret
        errors = load.validate(document, self._profile_error)[1]
        if not errors:
            size = sum([len(piece) for piece in _pieces(document)])
            if size > load.FILE_MAX:
                errors.append("configuration: %d bytes, with its secrets, are more than %d" % (size, load.FILE_MAX))
        return (None, errors) if errors else (document, errors)

    def write(self, checked, due=None):
        """Saves what check() gave. `due`: what due_after() has given for it. After a power cut the file is the old or
        the new one. Raises OSError and MemoryError; the old one is in place then."""
        if due is None:
            due = self.due_after(checked)
        store.replace(load.PATH, _pieces(checked))
        self._set_due(due)
        self._mark = _mark()

    def reboot_due(self):
        """What waits for a reboot: names of services whose switch in the file is no longer what they were booted with,
        else "configuration" when anything else has changed."""
        return self._due

    def look(self):
        """Notices, by its size and time, that the file was changed past the page; says what is wrong with it."""
        mark = _mark()
        if mark == self._mark:
            return
        self._mark = mark
        due = ["configuration"]
        try:
            document = self._parsed()
            due = self.due_after(document)
            errors = load.validate(document, self._profile_error)[1]
        except (OSError, ValueError) as error:
            errors = (str(error),)
        except MemoryError:
            errors = ("no memory to check it",)
        if errors:
            more = " (and %d more)" % (len(errors) - 1) if len(errors) > 1 else ""
            self._events.add("config", "the new file will not do: %s%s" % (errors[0], more))
        self._set_due(due)

    def factory_reset(self):
        """Removes the configuration, its last good copy and the password. Profiles that were added stay."""
        for path in (load.PATH, _UPLOAD):
            store.remove_file(path)
        for path in (load.LAST_GOOD, PASSWORD):
            store.remove(path)
        load.forget_profiles()
        self._events.add("app", "all settings were removed")

    def _profile_error(self, name):
        """As load.profile_error, but loading a profile takes time and tens of kilobytes of the heap."""
        if name in self._right_profiles and not load.is_added(name):
            return None
        return load.profile_error(name)

    def due_after(self, document):
        """What reboot_due() says once the file says `document`, of any type."""
        if not isinstance(document, dict):
            return ["configuration"]
        if difference.digest(document) == self._digest:
            return []
        return difference.switched(document, self.config) or ["configuration"]

    def _set_due(self, due):
        self._due = due
        if due:
            self._events.add("config", "a reboot is due for: " + ", ".join(due))

    def _parsed(self):
        """The user's file; {} without one. Raises OSError, ValueError."""
        try:
            return load.read(load.PATH)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return {}
            raise

    def _document(self):
        """The same; None when it is damaged."""
        try:
            return self._parsed()
        except (OSError, ValueError):
            return None

    def _secrets(self):
        """Yields (section, key, secret) of those that the file names, or where it is wrong those in use."""
        if self._due or self.source not in ("file", "default") or _mark() != self._mark:
            document = self._document()
        else:
            document = None  # it says what is in use
        for section, key in SECRETS:
            part = document.get(section, {}) if isinstance(document, dict) else None
            secret = part.get(key, "") if isinstance(part, dict) else None
            if rules.wrong(secret, schema.find(key, schema.find(section)[2])):
                secret = self.config[section][key]
            yield section, key, secret


def _mark():
    """Changes when the file does."""
    try:
        status = os.stat(load.PATH)
    except OSError:
        return None
    return status[6], status[8]


def _pieces(document):
    """The document as JSON, in pieces of bytes: a line for each section and each item of a list, without spaces, so
    that it is hardly longer than what was sent."""
    before = b"{"
    for name, value in document.items():
        yield before + _json(name) + b":"
        before = b",\n"
        if not isinstance(value, list) or not value:
            yield _json(value)
            continue
        before_item = b"[\n"
        for item in value:
            yield before_item
            yield _json(item)
            before_item = b",\n"
        yield b"]"
    yield b"}\n" if before == b",\n" else b"{}\n"


def _json(value):
    return json.dumps(value, separators=(",", ":")).encode()
