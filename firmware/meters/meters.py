"""Finds meters by slot, and points by their permanent id.

A point's id is permanent: meter slot x 256 + the profile's point number. It is the BACnet instance, and four times
the id is the point's register on unit 255 (docs/reference/modbus.md).
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from firmware.meters.meter import Meter

SLOTS = const(64)  # 64 x 256 points x 4 registers fill the 65536 addresses of unit 255


def topic_level(name: str) -> str:
    """A name as one level of a topic of MQTT: without the characters that have a meaning there (3.1.1, 4.7)."""
    for character in ("/", "+", "#", "\0"):
        name = name.replace(character, "_")
    return name


class Meters:
    """`meters`: in the order of the configuration. Those of one name get their slot behind it: series in a database,
    topics of MQTT and objects of BACnet are known by names."""

    def __init__(self, meters: "list[Meter]") -> None:
        self.meters = meters
        for _ in meters:  # again, when another is configured with the name and that slot
            levels = [topic_level(meter.name) for meter in meters]
            alike = [meter for meter, level in zip(meters, levels) if levels.count(level) > 1]
            if not alike:
                break
            for meter in alike:
                meter.name = "%s %d" % (meter.name, meter.slot)
        self._by_slot = {meter.slot: meter for meter in meters}

    def __len__(self) -> int:
        """How many points all meters have together."""
        return sum([len(meter.profile) for meter in self.meters])

    def in_slot(self, slot: int) -> "Meter | None":
        """The meter in that slot, or None."""
        return self._by_slot.get(slot)

    def find(self, point_id: int) -> "tuple[Meter, int] | None":
        """(meter, index of the point in its profile); index -1 when its profile has no such point; None when there is
        no such meter."""
        meter = self._by_slot.get(point_id >> 8)
        return None if meter is None else (meter, meter.profile.index_of(point_id & 0xFF))
