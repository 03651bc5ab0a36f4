"""Meters, the blocks of registers last read from them, and the table of all their points.

A point's id is permanent: meter slot x 256 + the profile's point number. It is the BACnet instance, and four times
the id is the point's register on unit 255 (docs/contracts.md).

A block holds what the meter said, byte for byte. The poller fills it; Modbus reads are answered from it; readings are
decoded from it when somebody asks. So a value exists once, and nothing is decoded that nobody wants.
"""

from micropython import const

SLOTS = const(64)  # 64 x 256 points x 4 registers fill the 65536 addresses of unit 255

# What a meter's last exchanges say of it
UNKNOWN = const(0)  # never asked yet
ONLINE = const(1)
FAILING = const(2)  # the last request got no (right) answer
QUARANTINED = const(3)  # asked only now and then
STATES = ("unknown", "online", "failing", "quarantined")


class Block:
    """Registers first..end-1 of one function as last read. `good` means: what the cache may answer from."""

    def __init__(self, function, first, count, max_age_ms):
        self.function = function
        self.first = first
        self.end = first + count
        self.data = bytearray(2 * count)
        self.view = memoryview(self.data)
        self.max_age_ms = max_age_ms  # beyond which it may not answer requests
        self.read_ms = 0  # ticks of the last good read
        self.read_s = 0  # uptime of it
        self.seen = False  # was read at least once
        self.good = False  # may answer requests, until it is too old
        self.failed = False  # the last read of it failed
        self.refused = 0  # exception code of the meter to this read, 0 for none


class Meter:
    """One meter of the configuration. `state` and the counters are kept by the bus."""

    ratios = None  # of its transformers (profile_load.ratios); for most meters there are none, and no entry

    def __init__(self, config, profile, ratios=None):
        self.slot = config["slot"]
        self.name = config["name"]
        self.unit = config["unit"]
        self.bus = config["bus"]
        self.profile_name = config["profile"]
        self.interval_ms = 1000 * config["interval_s"]
        self.max_age_ms = 1000 * config["max_age_s"]
        self.timeout_ms = config["timeout_ms"]
        self.retries = config["retries"]
        self.auto_timeout = config["auto_timeout"]
        if ratios:
            self.ratios = ratios
        self.profile = profile
        self.blocks = [Block(function, first, count, self.max_age_ms) for function, first, count in profile.plan]
        self.state = UNKNOWN
        self.failures = 0  # in a row
        self.requests = 0
        self.timeouts = 0
        self.errors = 0  # answers that were not taken
        self.exceptions = 0
        self.trouble = 0  # how the last exchange ended (firmware.bus.transaction)
        self.reason = 0  # why the last wrong answer was wrong (modbus.rtu)
        self.tally = None  # of the bus (firmware.bus.tally)

    def point_id(self, i):
        return self.slot << 8 | self.profile.numbers[i]


class Points:
    """All meters, by slot and by unit."""

    def __init__(self, meters):
        self.meters = meters
        self._by_slot = {meter.slot: meter for meter in meters}
        self.by_unit = {meter.unit: meter for meter in meters}

    def __len__(self):
        return sum([len(meter.profile) for meter in self.meters])

    def in_slot(self, slot):
        """The meter in that slot, or None."""
        return self._by_slot.get(slot)

    def find(self, point_id):
        """(meter, index of the point in its profile); index -1 when its profile has no such point; None when there is
        no such meter."""
        meter = self._by_slot.get(point_id >> 8)
        if meter is None:
            return None
        return meter, meter.profile.numbers.find(bytes((point_id & 0xFF,)))
