"""Builds the parts of the gateway from its configuration. Runs once, and is given back to the heap afterwards."""

from firmware.bus import Bus, Buses, Router
from firmware.events import Events
from firmware.meters.meter import Meter
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net.budget import SERVICES, Budget
from firmware.net.clock import Clock

_BOOT_MODULES = (
    "firmware.config.load", "firmware.config.lists", "firmware.config.rules", "firmware.config.sections",
    "firmware.config.json_file", "firmware.config.schema", "firmware.config.store",
)  # fmt: skip


def build(board, forget):
    """(clock, events, budget, link, readings, points, buses, configuration, where it came from, what is wrong
    with the file) of a gateway on `board`. `forget(*names)` gives modules back."""
    clock = Clock(board.set_clock)
    events = Events(clock.uptime_s)
    # Values only: an instance of a class of that module would keep all of it in the heap.
    config, source, errors = _load_config()
    for error in errors:
        events.add("config", error)
    if errors:
        events.add("config", "running by the %s configuration" % source)
    limit = min(config["sockets"]["limit"], board.sockets)
    enabled = [name for name in SERVICES if config[name]["enabled"]]
    budget = Budget(limit, board.tcp, board.udp, enabled, config["http"]["max_connections"], clock.uptime_s, events)
    link = board.open_link(config["network"])
    points = _load_points(config["meters"])
    forget(*_BOOT_MODULES)
    cause = board.reset_cause()
    if cause:
        events.add("app", "started after " + cause)
    buses = []
    for number, bus in enumerate(config["buses"]):
        meters = [meter for meter in points.meters if meter.bus == number]
        buses.append(Bus(number, bus, board.open_line, meters, events, clock.uptime_s))
    router = Router(buses, points.meters, config["routes"])
    # What has become of them has all that is needed: with 32 meters these are 10 KB.
    del config["meters"], config["routes"]
    readings = Readings(clock.uptime_s)
    return clock, events, budget, link, readings, points, Buses(buses, router, events), config, source, errors


def _load_config():
    from firmware.config import load as config

    loaded = config.load()
    return loaded.config, loaded.source, loaded.errors


def _load_points(configs):
    """Meters with their profiles, one profile for all meters of a kind. Takes each from `configs`, for the heap has no
    room for both of all; and its name is copied, or it would stay behind where the others were and break the room in
    pieces."""
    from firmware.meters import profile_loader as profile_load

    profiles = {}
    names = {}
    meters = []
    configs.reverse()
    while configs:
        one = configs.pop()
        one["name"] = (one["name"] + " ")[:-1]
        one["profile"] = names.setdefault(one["profile"], one["profile"])
        meters.append(Meter(one, profile_load.of_meter(one, profiles), profile_load.ratios(one)))
    return Meters(meters)
