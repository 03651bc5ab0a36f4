"""Reads and checks the configuration: data/config.json, as the user wrote it; and what the device runs by.

validate() is the one check: the boot, a save over HTTP and tools on a computer use it. Each part that is right by
itself is used, and what is wrong is named:

- File missing: a new device; it runs by the defaults.
- File unreadable, longer than FILE_MAX or no JSON object: the last good copy in its place, its parts each by itself;
  without one the defaults.
- A section that is wrong, or a list of buses or routes: that of the last good copy, else its default. Where two
  sections are at odds the later one is wrong: modbus.port that equals http.port (where no replacement has another port
  modbus is switched off), a route to a bus that is not there. With a key at the top that is not known, any section
  that is left out may be the one that was meant, and counts as wrong.
- A meter that is wrong: the last good copy's of the same slot, else none. Right ones are never given up for another.
- A profile that a user has added (data/meters/NAME.json) and that is damaged or missing: its last good copy, so that
  the meter runs on. Without a copy the meter is wrong.

The last good copy is what the file and the profiles of the user that it names were when all was right at a boot
(store.py: data/config.good, data/meters/NAME.good). The files themselves are never changed behind the user's back.
"""

import errno
import os
from collections import OrderedDict

import strict_json

from firmware.config import checks, difference, rules, schema, store
from firmware.meters import catalog, profile_loader

PATH = "data/config.json"
LAST_GOOD = "data/config.good"
FILE_MAX = 12288
_KEPT = ".good"  # of a profile
_NO_OBJECT = "must be an object"


class Loaded:
    """What load() found.

    config    complete and valid
    source    "file"; "partly": the file, but what is wrong in it is replaced; "last good"; "default"
    errors    what is wrong with the file
    profiles  {name: Profile} of all meters in `config`
    digest    of what the file says (difference.py); of {} without one, None when it is unusable as a whole"""

    def __init__(self, config, source, errors, profiles, digest):
        self.config = config
        self.source = source
        self.errors = errors
        self.profiles = profiles
        self.digest = digest


def load():
    """Reads the configuration, as far as it can be: never raises for what lies in the files."""
    profiles = {}
    try:
        return _from_file(profiles)
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


def _from_file(profiles):
    """Raises as read(), and ValueError when the file is no object."""
    document = read(PATH)
    if not isinstance(document, dict):
        raise ValueError(_NO_OBJECT)
    digest = difference.digest(document)
    last_good = LastGood(profiles)
    checked = _Checked(document, last_good.profile_error)
    del document
    if checked.errors and last_good.is_there():
        # Once more, with what takes large pieces of the heap first: amid what was made of the file there may be none.
        checked = None
        profiles.clear()
        text = store.read(PATH)
        last_good.config()
        document = parse(text)
        del text
        checked = _Checked(document, last_good.profile_error)
        del document
    errors = checked.errors
    source = "partly" if errors else "file"
    config = checked.complete(last_good)
    if not errors:
        _remember(config, errors)
    return Loaded(config, source, errors, _of_meters(config, profiles), digest)


def _without_file(errors, profiles):
    last_good = LastGood(profiles)
    config = last_good.config()
    if config is None:
        return Loaded(default(), "default", errors, profiles, None)
    for error in last_good.errors:
        rules.add_error(errors, "last good copy: " + error)
    return Loaded(config, "last good", errors, _of_meters(config, profiles), None)


def _of_meters(config, profiles):
    names = {meter["profile"] for meter in config["meters"]}
    return {name: profiles[name] for name in names}


def read(path):
    """The file, parsed. Raises OSError, and ValueError as parse()."""
    size = os.stat(path)[6]
    if size > FILE_MAX:
        raise ValueError("%d bytes are more than %d" % (size, FILE_MAX))
    return parse(store.read(path))


def parse(text):
    """The document in `text` (bytes-like), of which nothing is checked yet. Raises ValueError with what is wrong."""
    if len(text) > FILE_MAX:
        raise ValueError("%d bytes are more than %d" % (len(text), FILE_MAX))
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise ValueError("not JSON: %s" % error) from None


def default():
    """The configuration of a new device: all six services, no meters."""
    config, errors = validate({})
    assert not errors
    return config


def profile_error(name):
    """What is wrong with that profile, or None."""
    return _load_profile(name, {})


def _load_profile(name, profiles):
    """The same; what is loaded is added to `profiles`."""
    try:
        profiles[name] = profile_loader.load(name)
    except profile_loader.ProfileError as error:
        return str(error)
    except MemoryError:
        return "profile %s: no memory for it" % name  # it must cost nothing but its meters
    return None


def validate(document, profile_error=profile_error):
    """(complete and valid configuration, errors) of a parsed document of any type. What is wrong in it is named, and
    has its default in the configuration. `profile_error(name)`: what is wrong with a profile, or None; called once for
    each name."""
    checked = _Checked(document, profile_error)
    return checked.complete(None), checked.errors


def _profile_names(document):
    """Of a document in which nothing is checked yet."""
    meters = document.get("meters") if isinstance(document, dict) else None
    names = []
    for item in meters[: schema.METERS_MAX] if isinstance(meters, list) else ():
        name = item.get("profile") if isinstance(item, dict) else None
        if isinstance(name, str) and name not in names and catalog.is_name(name):
            names.append(name)
    return names


class _Checked:
    """A document that was checked: `errors` says what is wrong, complete() gives the configuration.

    config: what is right of it, with defaults; None for each part that is wrong. meters: for each of the document's the
    meter, or None when it is wrong; None in place of the list when that is wrong. slots: of each of these as the
    document says, of any type. kept: indices of meters that are right but for their profile."""

    def __init__(self, document, profile_error):
        self.errors = []
        # First of all, for a profile that is parsed takes more than everything else.
        self.profile_errors = {name: profile_error(name) for name in _profile_names(document)}
        self.config = OrderedDict()
        self.meters = None
        self.slots = []
        self.kept = set()
        if not isinstance(document, dict):
            self.tell("configuration: " + _NO_OBJECT)
            document = {}
        is_misspelt = not rules.check_keys(document, schema.KEYS, "", self.errors)
        for row in schema.KEYS:
            name = row[0]
            self.config[name] = None
            if name != "meters" and (name in document or not is_misspelt):
                self.check_part(row, document)
        self.check_sections()
        if "meters" in document or not is_misspelt:
            self.check_meters(document.get("meters", []))

    def tell(self, text):
        rules.add_error(self.errors, text)

    def check_part(self, row, document):
        name = row[0]
        value = rules.part(row, document, self.errors)
        if value is not None:
            wrong = list(checks.within(name, value))
            for text in wrong:
                self.tell(text)
            if not wrong:
                self.config[name] = value

    def check_sections(self):
        """What sections are to each other, where both are right."""
        config = self.config
        if config["http"] and config["modbus"] and checks.is_port_shared(config["http"], config["modbus"]):
            port = config["http"]["port"]
            key = "port" if config["modbus"]["port"] == port else "rtu_over_tcp"
            self.tell("modbus.%s: %d is taken by http.port" % (key, port))
            config["modbus"] = None
        if config["buses"] is not None and config["routes"]:
            astray = list(checks.routes_astray(config["routes"], len(config["buses"])))
            for text in astray:
                self.tell(text)
            if astray:
                config["routes"] = None

    def check_meters(self, given):
        row = schema.find("meters")
        items = rules.list_of(given, row, self.errors)
        if items is None:
            return
        self.meters = []
        buses = self.config["buses"]
        # With buses that are wrong no meter is named for its bus.
        places = checks.Places(schema.BUSES_MAX if buses is None else len(buses))
        for k, item in enumerate(items):
            meter = rules.section(item, row[2], "meters[%d]" % k, self.errors)
            if meter is not None and not self.is_meter_right(k, meter, places):
                meter = None
            self.meters.append(meter)
            self.slots.append(item.get("slot") if isinstance(item, dict) else None)

    def is_meter_right(self, k, meter, places):
        where = "meters[%d]." % k
        conflicts = places.conflicts(meter)
        places.take(meter)
        for text in conflicts:
            self.tell(where + text)
        name = meter["profile"]
        if name not in self.profile_errors:
            self.tell("%sprofile: %s: letters, digits, - _ . only" % (where, rules.short(name)))
            return False
        if self.profile_errors[name]:
            self.tell("%sprofile: %s" % (where, self.profile_errors[name]))
            self.kept.add(k)
        return not conflicts

    # -- what is wrong is replaced

    def complete(self, last_good):
        """The complete and valid configuration, in which what is wrong is that of `last_good` (LastGood or None), or
        else the default. To be called once."""
        good = None
        if last_good is not None and self.errors:
            good = last_good.config()
        config = self.config
        for name in config:
            if config[name] is None and name not in ("http", "modbus", "routes", "meters"):
                config[name] = next(self.replacements(name, good))
        self.separate_ports(good)
        bus_count = len(config["buses"])
        if config["routes"] is None or list(checks.routes_astray(config["routes"], bus_count)):
            for routes in self.replacements("routes", good):
                if not list(checks.routes_astray(routes, bus_count)):
                    break  # at the latest with the default: no routes
            config["routes"] = routes
        config["meters"] = self.running_meters(good, last_good, checks.Places(bus_count))
        return config

    def replacements(self, name, good):
        """Yields what may stand in for a part that is wrong, the best first."""
        if good is not None:
            yield good[name]
        yield rules.part(schema.find(name), {}, self.errors)

    def separate_ports(self, good):
        config = self.config
        for name, other in (("http", "modbus"), ("modbus", "http")):
            if config[name] is not None:
                continue
            for section in self.replacements(name, good):
                if config[other] is None or not checks.is_port_shared(section, config[other]):
                    break
            else:
                section["enabled"] = False
            config[name] = section

    def running_meters(self, good, last_good, places):
        """Those that are right, and in the place of others the last good ones of their slots."""
        replacing = [] if good is None else good["meters"]
        if self.meters is None:
            return [meter for meter in replacing if _is_placed(meter, places)]
        meters = self.meters
        for k, meter in enumerate(meters):
            if meter is not None:
                has_profile = k not in self.kept or (last_good is not None and last_good.has_profile(meter["profile"]))
                if not has_profile or not _is_placed(meter, places):
                    meters[k] = None
        for k, slot in enumerate(self.slots):
            if meters[k] is None:
                for meter in replacing:
                    if meter["slot"] == slot and _is_placed(meter, places):
                        meters[k] = meter
        return [meter for meter in meters if meter is not None]


def _is_placed(meter, places):
    """Whether the meter finds a place; it has it then."""
    if places.conflicts(meter):
        return False
    places.take(meter)
    return True


class LastGood:
    """The last good copy, read when it is asked for. Profiles that are right are added to `profiles`."""

    def __init__(self, profiles):
        self._profiles = profiles
        self._config = None
        self._is_read = False
        self.errors = []

    def is_there(self):
        return store.is_there(LAST_GOOD)

    def config(self):
        """Complete and valid, or None without a copy. `errors` says then what is wrong in it, all the same: a newer
        firmware may want more than the one that kept it."""
        if not self._is_read:
            self._is_read = True
            try:
                document = self._document()
                if isinstance(document, dict):
                    checked = _Checked(document, self._kept_profile_error)
                    self._config = checked.complete(None)
                    self.errors = checked.errors
            except (OSError, ValueError, MemoryError):
                self._config = None  # as without a copy
        return self._config

    def _document(self):
        text = store.load(LAST_GOOD)
        return None if text is None else strict_json.loads(text)

    def profile_error(self, name):
        """As the one above, of the profile that is in use."""
        return _load_profile(name, self._profiles)

    def has_profile(self, name):
        """Whether the last good copy of a profile can be used in its place, or it was itself right."""
        if name not in self._profiles:
            try:
                text = store.load(_kept_path(name))
                if text is None:
                    return False
                self._profiles[name] = profile_loader.parse(name, strict_json.loads(text))
            except (OSError, ValueError, MemoryError):
                return False
        return True

    def _kept_profile_error(self, name):
        if name in self._profiles:
            return None
        error = self.profile_error(name)
        return None if error and self.has_profile(name) else error


def is_added(name):
    """Whether that profile was added by the user; else it came with the firmware, or there is none."""
    return store.exists(_added_path(name))


def _added_path(name):
    return catalog.ADDED + name + ".json"


def _kept_path(name):
    return catalog.ADDED + name + _KEPT


def _remember(config, errors):
    """Keeps the file and the profiles of the user that it names as the last good ones, as the user wrote them."""
    try:
        kept = set()
        for name in {meter["profile"] for meter in config["meters"]}:
            if is_added(name):
                store.save_file(_kept_path(name), _added_path(name))
                kept.add(name)
        store.save_file(LAST_GOOD, PATH)
        forget_profiles(kept)
    except (OSError, ValueError, MemoryError) as error:
        # The device runs all the same; it only could not fall back to this one later.
        errors.append("%s: not kept as last good: %s" % (PATH, error))


def forget_profiles(needed=()):
    """Removes the last good copies of all profiles but those `needed`. Raises OSError."""
    try:
        files = os.listdir(catalog.ADDED[:-1])
    except OSError:
        return
    for file in files:
        name, found, _ = file.rpartition(_KEPT + ".")
        if found and name not in needed:
            os.remove(catalog.ADDED + file)
