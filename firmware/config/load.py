"""Reads and checks data/config.json, the configuration as the user wrote it, and gives that which the device runs by.

Check is the one set of rules: the boot, a save over HTTP and tools on a computer use it. Each part that is right by
itself is used, and what is wrong is named:

- File missing: a new device; it runs by the defaults.
- File unreadable, longer than FILE_MAX or no JSON object: the last good copy in its place, its parts each by itself;
  without one the defaults.
- File that could not bring up the page at its first starts (trial.py): the last good copy; without one the file without
  its meters.
- A section that is wrong, or a list of buses or routes: that of the last good copy, else its default. Where two
  sections are at odds the later one is wrong: modbus.port that equals http.port (where no replacement has another port
  modbus is switched off), a route to a bus that is not there. With a key at the top that is not known, any section
  that is left out may be the one that was meant, and counts as wrong.
- A meter that is wrong: the last good copy's of the same slot, else none. Right ones are never given up for another.
- A profile that a user has added (data/meters/NAME.json) and that is damaged or missing: its last good copy, so that
  the meter runs on. Without a copy the meter is wrong.

The last good copy is the file, and the profiles of the user that it names, as they were when all was right and the page
was up (store.py: data/config.good, data/meters/NAME.good). The firmware itself never changes the user's files.
"""

import errno
import os
from collections import OrderedDict

import strict_json
from micropython import const

from firmware.config import checks, difference, rules, schema, store
from firmware.meters import catalog, profile_loader

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterable
    from typing import Any

    ProfileError = Callable[[str], str | None]

PATH = "data/config.json"
LAST_GOOD = "data/config.good"
FILE_MAX = 12288
_COPY = const(".good")  # the end of the name of a profile's last good copy
_NO_OBJECT = const("must be an object")


class Loaded:
    """The result of load().

    config    complete and valid
    source    "file"; "partly": the file, but what is wrong in it is replaced; "last good"; "default"
    errors    what is wrong with the file
    profiles  {name: Profile} of all meters in `config`
    digest    of the file (difference.py); of {} without one, None when it does not run as a whole"""

    def __init__(self, config: dict, source: str, errors: list, profiles: dict, digest: "bytes | None") -> None:
        self.config = config
        self.source = source
        self.errors = errors
        self.profiles = profiles
        self.digest = digest


def load(has_failed: bool = False) -> Loaded:
    """Reads the configuration as far as possible: never raises for the content of the files. `has_failed`: the file
    could not bring up the page, and does not run as a whole."""
    profiles: dict = {}
    try:
        return _from_file(profiles, has_failed)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Loaded(default(), "default", [], profiles, difference.digest({}))
        errors = ["%s: cannot be read: %r" % (PATH, error)]
    except ValueError as error:
        errors = ["configuration: %s" % error]
    except MemoryError:
        errors = ["configuration: no memory to read it"]
    profiles.clear()
    return _without_file(errors, profiles)


def _from_file(profiles, has_failed):
    """Raises as read(), and ValueError when the file is no object or has failed."""
    document = read(PATH)
    if not isinstance(document, dict):
        raise ValueError(_NO_OBJECT)
    last_good = LastGood(profiles)
    digest = None
    if not has_failed:
        digest = difference.digest(document)
    elif last_good.exists():
        raise ValueError("the device could not bring up its page with it")
    else:
        document.pop("meters", None)
    check = Check(document, last_good.profile_error)
    del document
    if has_failed:
        rules.add_error(check.errors, "meters: the device could not bring up its page with them")
    source = "partly" if check.errors else "file"
    config = check.complete(last_good)
    return Loaded(config, source, check.errors, _used_profiles(config, profiles), digest)


def _without_file(errors, profiles):
    last_good = LastGood(profiles)
    config = last_good.config()
    if config is None:
        return Loaded(default(), "default", errors, profiles, None)
    for error in last_good.errors:
        rules.add_error(errors, "last good copy: " + error)
    return Loaded(config, "last good", errors, _used_profiles(config, profiles), None)


def _used_profiles(config, profiles):
    names = {meter["profile"] for meter in config["meters"]} | {item["as"] for item in config["served"] if item["as"]}
    return {name: profiles[name] for name in names}


def read(path: str) -> "Any":
    """The document in a file, parsed and not checked. Raises OSError, and ValueError as parse()."""
    size = os.stat(path)[6]
    if size > FILE_MAX:
        raise ValueError("%d bytes are more than %d" % (size, FILE_MAX))
    return parse(store.read(path))


def parse(text: "bytes | bytearray | memoryview") -> "Any":
    """The document in `text`, not checked. Raises ValueError with what is wrong."""
    if len(text) > FILE_MAX:
        raise ValueError("%d bytes are more than %d" % (len(text), FILE_MAX))
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise ValueError("not JSON: %s" % error) from None


def default() -> dict:
    """The configuration of a new device: its default services, no meters."""
    config, errors = validate({})
    assert not errors
    return config


def profile_error(name: str) -> "str | None":
    """What is wrong with that profile, or None. Raises MemoryError."""
    return load_profile(name, {})


def load_profile(name: str, profiles: dict) -> "str | None":
    """As profile_error(); a profile that is right is added to `profiles`. Raises MemoryError."""
    try:
        profiles[name] = profile_loader.load(name)
    except profile_loader.ProfileError as error:
        return str(error)
    return None


def validate(document: "Any", profile_error: "ProfileError" = profile_error) -> tuple:
    """(complete and valid configuration, errors) of a parsed document of any type. What is wrong in it is named, and
    has its default in the configuration. `profile_error(name)`: what is wrong with a profile, or None; called once for
    each name."""
    check = Check(document, profile_error)
    return check.complete(None), check.errors


def _profile_names(document):
    """Names of profiles in a document that is not checked yet."""
    names: list[str] = []
    for part, key, most in (("meters", "profile", schema.METERS_MAX), ("served", "as", schema.SERVED_MAX)):
        items = document.get(part) if isinstance(document, dict) else None
        for item in items[:most] if isinstance(items, list) else ():
            name = item.get(key) if isinstance(item, dict) else None
            if isinstance(name, str) and name not in names and catalog.is_name(name):
                names.append(name)
    return names


class Check:
    """Checks a parsed document of any type: `errors` lists what is wrong in it, complete() makes a configuration of
    what is right.

    `profile_error`: as validate() has it. Without `keeps_meters` (5 KB for 32) complete() must not be called."""

    def __init__(self, document: "Any", profile_error: "ProfileError", keeps_meters: bool = True) -> None:
        self.errors: list = []
        # First of all, for a profile that is parsed takes more than everything else.
        self._profile_errors = {name: profile_error(name) for name in _profile_names(document)}
        self._config: dict = OrderedDict()  # parts that are right, with defaults; None for each wrong one
        self._keeps_meters = keeps_meters
        self._meters: "list | None" = None  # of the document, None for each wrong one; None when there is no list
        self._slots: list = []  # of these meters as in the document, of any type
        self._units: set = set()  # of all meters that are right
        self._profile_wrong: set = set()  # indices of meters of which only the profile is wrong
        if not isinstance(document, dict):
            self._add_error("configuration: " + _NO_OBJECT)
            document = {}
        is_misspelt = not rules.check_keys(document, schema.KEYS, "", self.errors)
        for row in schema.KEYS:
            name = row[0]
            self._config[name] = None
            if name != "meters" and (name in document or not is_misspelt):
                self._check_part(row, document)
        self._check_sections()
        if "meters" in document or not is_misspelt:
            self._check_meters(document.get("meters", []))
        if self._config["served"]:
            self._check_served()

    def _add_error(self, text):
        rules.add_error(self.errors, text)

    def _check_part(self, row, document):
        value = rules.part(row, document, self.errors)
        if value is not None:
            wrong = list(checks.part_errors(row[0], value))
            for text in wrong:
                self._add_error(text)
            if not wrong:
                self._config[row[0]] = value

    def _check_sections(self):
        """Compares sections with each other, where both are right."""
        config = self._config
        if config["http"] and config["modbus"] and checks.is_port_shared(config["http"], config["modbus"]):
            port = config["http"]["port"]
            key = "port" if config["modbus"]["port"] == port else "rtu_over_tcp"
            self._add_error("modbus.%s: %d is taken by http.port" % (key, port))
            config["modbus"] = None
        if config["board"]:
            self._check_board()
        if config["buses"] is not None and config["routes"]:
            stray = list(checks.stray_routes(config["routes"], len(config["buses"])))
            for text in stray:
                self._add_error(text)
            if stray:
                config["routes"] = None

    def _check_board(self):
        """A board file that is wrong is none; buses that do not fit it are wrong."""
        from firmware.config import board_files  # here and not at the head: heap only where there is a board

        config = self._config
        try:
            board = board_files.load(config["board"])
        except ValueError as error:
            self._add_error("board: %s" % error)
            config["board"] = None
            return
        wrong = [] if config["buses"] is None else board_files.line_errors(board, config["buses"])
        for text in wrong:
            self._add_error(text)
        if wrong:
            config["buses"] = None

    def _check_served(self):
        """Compares the list with profiles and meters."""
        served = self._config["served"]
        wrong = list(checks.served_clashes(served, self._units))
        for k, item in enumerate(served):
            name = item["as"]
            if name and name not in self._profile_errors:
                wrong.append("served[%d].as: %s: letters, digits, - _ . only" % (k, rules.shortened(name)))
            elif name and self._profile_errors[name]:
                wrong.append("served[%d].as: %s" % (k, self._profile_errors[name]))
        for text in wrong:
            self._add_error(text)
        if wrong:
            self._config["served"] = None

    def _check_meters(self, value):
        row = schema.find("meters")
        items = rules.list_of(value, row, self.errors)
        if items is None:
            return
        self._meters = []
        places = checks.Places(self._config["buses"])
        for k, item in enumerate(items):
            meter = rules.section(item, row[2], "meters[%d]" % k, self.errors)
            if meter is not None and not self._is_meter_right(k, meter, places):
                meter = None
            if meter is not None:
                self._units.add(meter["unit"])
            if self._keeps_meters:
                self._meters.append(meter)
                self._slots.append(item.get("slot") if isinstance(item, dict) else None)

    def _is_meter_right(self, k, meter, places):
        where = "meters[%d]." % k
        conflicts = places.conflicts(meter)
        places.take(meter)
        for text in conflicts:
            self._add_error(where + text)
        name = meter["profile"]
        if name not in self._profile_errors:
            self._add_error("%sprofile: %s: letters, digits, - _ . only" % (where, rules.shortened(name)))
            return False
        if self._profile_errors[name]:
            self._add_error("%sprofile: %s" % (where, self._profile_errors[name]))
            self._profile_wrong.add(k)
        return not conflicts

    # -- replacing what is wrong

    def complete(self, last_good: "LastGood | None") -> dict:
        """The complete and valid configuration: a part that is wrong is replaced by that of `last_good`, or else the
        default. To be called once."""
        good = None
        if last_good is not None and self.errors:
            good = last_good.config()
        config = self._config
        for name in config:
            if config[name] is None and name not in ("http", "modbus", "routes", "meters"):
                config[name] = next(self._replacements(name, good))
        self._separate_ports(good)
        bus_count = len(config["buses"])
        if config["routes"] is None or list(checks.stray_routes(config["routes"], bus_count)):
            for routes in self._replacements("routes", good):
                if not list(checks.stray_routes(routes, bus_count)):
                    break  # at the latest with the default: no routes
            config["routes"] = routes
        config["meters"] = self._running_meters(good, last_good, checks.Places(config["buses"]))
        return config

    def _replacements(self, name, good):
        """Yields replacements of a part that is wrong, the best first."""
        if good is not None:
            yield good[name]
        yield rules.part(schema.find(name), {}, self.errors)

    def _separate_ports(self, good):
        config = self._config
        for name, other in (("http", "modbus"), ("modbus", "http")):
            if config[name] is not None:
                continue
            for section in self._replacements(name, good):
                if config[other] is None or not checks.is_port_shared(section, config[other]):
                    break
            else:
                section["enabled"] = False
            config[name] = section

    def _running_meters(self, good, last_good, places):
        """The meters that are right, and for others the last good meters of their slots."""
        replacing = [] if good is None else good["meters"]
        if self._meters is None:
            return [meter for meter in replacing if _is_placed(meter, places)]
        meters = self._meters
        for k, meter in enumerate(meters):
            if meter is not None:
                has_profile = k not in self._profile_wrong or (
                    last_good is not None and last_good.has_profile(meter["profile"])
                )  # fmt: skip
                if not has_profile or not _is_placed(meter, places):
                    meters[k] = None
        for k, slot in enumerate(self._slots):
            if meters[k] is None:
                for meter in replacing:
                    if meter["slot"] == slot and _is_placed(meter, places):
                        meters[k] = meter
        return [meter for meter in meters if meter is not None]


def _is_placed(meter, places):
    """Gives the meter its place; False when that is taken."""
    if places.conflicts(meter):
        return False
    places.take(meter)
    return True


class LastGood:
    """The last good copy, read at the first call of config(). Profiles that are right are added to `profiles`."""

    def __init__(self, profiles: dict) -> None:
        self.errors: list = []
        self._profiles = profiles
        self._config: "dict | None" = None
        self._is_read = False

    def exists(self) -> bool:
        """True when there is a copy; it may be wrong."""
        return store.has_copy(LAST_GOOD)

    def config(self) -> "dict | None":
        """Complete and valid, or None without a copy. `errors` lists what is wrong in the copy: a newer firmware may
        have stricter rules than the one that saved it."""
        if not self._is_read:
            self._is_read = True
            try:
                document = self._document()
                if isinstance(document, dict):
                    check = Check(document, self._profile_error_without_copy)
                    self._config = check.complete(None)
                    self.errors = check.errors
            except (OSError, ValueError, MemoryError):
                self._config = None  # as without a copy
        return self._config

    def _document(self):
        text = store.load(LAST_GOOD)
        return None if text is None else strict_json.loads(text)

    def profile_error(self, name: str) -> "str | None":
        """What is wrong with that profile, or None. A lack of memory is such an error: it costs only its meters."""
        try:
            return load_profile(name, self._profiles)
        except MemoryError:
            return "profile %s: no memory for it" % name

    def has_profile(self, name: str) -> bool:
        """True when that profile is right, or its last good copy can be used in its place."""
        if name not in self._profiles:
            try:
                text = store.load(_copy_path(name))
                if text is None:
                    return False
                self._profiles[name] = profile_loader.parse(name, strict_json.loads(text))
            except (OSError, ValueError, MemoryError):
                return False
        return True

    def _profile_error_without_copy(self, name):
        if name in self._profiles:
            return None
        error = self.profile_error(name)
        return None if error and self.has_profile(name) else error


def is_added(name: str) -> bool:
    """True when the user has added that profile; else it came with the firmware, or there is none."""
    return store.exists(_added_path(name))


def _added_path(name):
    return catalog.ADDED + name + ".json"


def _copy_path(name):
    return catalog.ADDED + name + _COPY


def is_last_good(profiles: "Iterable[str]") -> bool:
    """True when the last good copies equal the file and those of these profiles that the user has added."""
    added = [name for name in profiles if is_added(name)]
    return store.holds(LAST_GOOD, PATH) and all([store.holds(_copy_path(name), _added_path(name)) for name in added])


def save_last_good(profiles: "Iterable[str]") -> None:
    """Copies the file, and those of these profiles that the user has added, to the last good copies. Writes nothing
    that is there already. Raises OSError, ValueError."""
    added = [name for name in profiles if is_added(name)]
    for name in added:
        store.save_file(_copy_path(name), _added_path(name))
    store.save_file(LAST_GOOD, PATH)
    remove_profile_copies(added)


def remove_profile_copies(needed: "list | tuple" = ()) -> None:
    """Removes the last good copies of all profiles but those `needed`. Raises OSError."""
    try:
        files = os.listdir(catalog.ADDED[:-1])
    except OSError:
        return
    for file in files:
        name, found, _ = file.rpartition(_COPY + ".")
        if found and name not in needed:
            os.remove(catalog.ADDED + file)
