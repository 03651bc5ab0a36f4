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
import gc
import os

import strict_json

from firmware.config import checks, difference, rules, schema, store
from firmware.meters import catalog, profile_loader

PATH = "data/config.json"
LAST_GOOD = "data/config.good"
FILE_MAX = 12288
_KEPT = ".good"  # of a profile


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
        document = read(PATH)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Loaded(default(), "default", [], profiles, difference.digest({}))
        return _without_file(["%s: cannot be read: %r" % (PATH, error)], profiles)
    except ValueError as error:
        return _without_file(["configuration: %s" % error], profiles)
    except MemoryError:
        return _without_file(["configuration: no memory to read it"], profiles)
    if not isinstance(document, dict):
        return _without_file(validate(document)[1], profiles)
    digest = difference.digest(document)
    gc.collect()
    last_good = LastGood(profiles)
    config, errors = validate(document, last_good.profile_error, last_good)
    del document
    source = "partly" if errors else "file"
    if not errors:
        _remember(config, errors)
    return Loaded(config, source, errors, _of_meters(config, profiles), digest)


def _without_file(errors, profiles):
    last_good = LastGood(profiles)
    config = last_good.config()
    if config is None:
        return Loaded(default(), "default", errors, profiles, None)
    for error in last_good.errors:
        rules.tell(errors, "last good copy: " + error)
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
    try:
        profile_loader.load(name)
    except profile_loader.ProfileError as error:
        return str(error)
    return None


def validate(document, profile_error=profile_error, last_good=None):
    """(complete and valid configuration, errors) of a parsed document of any type. What is wrong in it is named, and
    replaced: by what `last_good` (as LastGood) has, else by the default. The errors are the same with and without
    `last_good`. `profile_error(name)`: what is wrong with a profile, or None; called once for each name."""
    return _Validation(document, last_good).run(profile_error)


class _Validation:
    def __init__(self, document, last_good):
        self.errors = []
        self.spec = schema.load()
        self.last_good = last_good
        self.config = strict_json.OrderedDict()
        self.wrong = set()  # names of parts that are not the document's
        if not isinstance(document, dict):
            self.tell("configuration: must be an object")
            document = {}
        self.document = document
        self.is_misspelt = not rules.check_keys(document, self.spec, "", self.errors)

    def tell(self, text):
        rules.tell(self.errors, text)

    def run(self, profile_error):
        config = self.config
        for name in self.spec:
            config[name] = None if name == "meters" else self.part(name)  # one by one below
        self.separate_ports()
        self.check_routes(len(config["buses"]))
        given = self.given_meters()
        if given is None:
            config["meters"] = self.replacing_meters(checks.Places(len(config["buses"])))
        else:
            config["meters"] = self.meters(given, profile_error)
        return config, self.errors

    def is_left_out(self, name):
        return self.is_misspelt and name not in self.document

    def part(self, name):
        value = None
        if not self.is_left_out(name):
            value = rules.part(name, self.spec[name], self.document, self.errors)
        if value is not None:
            for text in checks.within(name, value):
                self.tell(text)
                self.wrong.add(name)
            if name not in self.wrong:
                return value
        self.wrong.add(name)
        return next(self.replacements(name))

    def replacements(self, name):
        """Yields what may stand in for a part that is wrong, the best first."""
        good = None if self.last_good is None else self.last_good.config()
        if good is not None:
            yield good[name]
        yield rules.part(name, self.spec[name], {}, self.errors)

    def separate_ports(self):
        config = self.config
        if not checks.is_port_shared(config["http"], config["modbus"]):
            return
        loser = "http" if "http" in self.wrong and "modbus" not in self.wrong else "modbus"
        if "http" not in self.wrong and "modbus" not in self.wrong:
            self.tell("modbus.port: %d is taken by http.port" % config["modbus"]["port"])
        for replacement in self.replacements(loser):
            config[loser] = replacement
            if not checks.is_port_shared(config["http"], config["modbus"]):
                return
        replacement["enabled"] = False

    def check_routes(self, bus_count):
        astray = list(checks.routes_astray(self.config["routes"], bus_count))
        if not astray:
            return
        if "buses" not in self.wrong and "routes" not in self.wrong:
            for text in astray:
                self.tell(text)
        for routes in self.replacements("routes"):
            if not list(checks.routes_astray(routes, bus_count)):
                break  # at the latest with the default: no routes
        self.config["routes"] = routes

    def given_meters(self):
        """The list that the document has, of items of any type; None when there is none that is right."""
        if self.is_left_out("meters"):
            return None
        return rules.list_of(self.document.get("meters", []), self.spec["meters"], "meters", self.errors)

    def meters(self, given, profile_error):
        """Those that can run: those that are right, and in the place of others the last good ones."""
        bus_count = len(self.config["buses"])
        # With buses that are wrong no meter is named for its bus, but only used where there is one.
        told = checks.Places(checks.BUSES_MAX if "buses" in self.wrong else bus_count)
        places = checks.Places(bus_count)
        profile_errors = {}
        meters = []
        for k, item in enumerate(given):
            where = "meters[%d]" % k
            meter = rules.section(item, self.spec["meters"][0], where, self.errors)
            if meter is not None and not self.is_meter_right(where, meter, told, profile_errors, profile_error):
                meter = None
            if meter is not None:
                if places.conflicts(meter):
                    meter = None
                else:
                    places.take(meter)
            meters.append(meter)
        if None in meters and self.last_good is not None:
            for k, item in enumerate(given):
                if meters[k] is None and isinstance(item, dict):
                    meters[k] = self.replacing_meter(item.get("slot"), places)
        return [meter for meter in meters if meter is not None]

    def is_meter_right(self, where, meter, told, profile_errors, profile_error):
        conflicts = told.conflicts(meter)
        told.take(meter)
        for text in conflicts:
            self.tell("%s.%s" % (where, text))
        name = meter["profile"]
        if not catalog.is_name(name):
            self.tell("%s.profile: %s: letters, digits, - _ . only" % (where, rules.short(name)))
            return False
        if name not in profile_errors:
            profile_errors[name] = profile_error(name)
        if profile_errors[name]:
            self.tell("%s.profile: %s" % (where, profile_errors[name]))
            if self.last_good is None or not self.last_good.has_profile(name):
                return False
        return not conflicts

    def replacing_meter(self, slot, places):
        """The last good meter of that slot, if it finds a place, or None."""
        good = self.last_good.config()
        if good is not None:
            for meter in good["meters"]:
                if meter["slot"] == slot and not places.conflicts(meter):
                    places.take(meter)
                    return meter
        return None

    def replacing_meters(self, places):
        good = None if self.last_good is None else self.last_good.config()
        found = []
        for meter in () if good is None else good["meters"]:
            if not places.conflicts(meter):
                places.take(meter)
                found.append(meter)
        return found


class LastGood:
    """The last good copy, read when it is asked for. Profiles that are right are added to `profiles`."""

    def __init__(self, profiles):
        self._profiles = profiles
        self._config = None
        self._is_read = False
        self.errors = []

    def config(self):
        """Complete and valid, or None without a copy. `errors` says then what is wrong in it, all the same: a newer
        firmware may want more than the one that kept it."""
        if not self._is_read:
            self._is_read = True
            try:
                text = store.load(LAST_GOOD)
                document = None if text is None else strict_json.loads(text)
            except (OSError, ValueError):
                document = None
            if isinstance(document, dict):
                self._config, self.errors = validate(document, self._kept_profile_error)
        return self._config

    def profile_error(self, name):
        """As the one above, of the profile that is in use."""
        gc.collect()
        try:
            self._profiles[name] = profile_loader.load(name)
        except profile_loader.ProfileError as error:
            return str(error)
        return None

    def has_profile(self, name):
        """Whether the last good copy of a profile can be used in its place, or it was itself right."""
        if name not in self._profiles:
            try:
                text = store.load(_kept_path(name))
                if text is None:
                    return False
                self._profiles[name] = profile_loader.parse(name, strict_json.loads(text))
            except (OSError, ValueError):
                return False
        return True

    def _kept_profile_error(self, name):
        if name in self._profiles:
            return None
        error = self.profile_error(name)
        return None if error and self.has_profile(name) else error


def _kept_path(name):
    return catalog.ADDED + name + _KEPT


def _remember(config, errors):
    """Keeps the file and the profiles of the user that it names as the last good ones, as the user wrote them."""
    try:
        kept = set()
        for name in {meter["profile"] for meter in config["meters"]}:
            path = catalog.ADDED + name + ".json"
            if store.exists(path):  # else it came with the firmware
                store.save_file(_kept_path(name), path)
                kept.add(name)
        store.save_file(LAST_GOOD, PATH)
        forget_profiles(kept)
    except (OSError, ValueError) as error:
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
