"""All meters, by slot.

A point's id is permanent: meter slot x 256 + the profile's point number. It is the BACnet instance, and four times
the id is the point's register on unit 255 (docs/reference/modbus.md).
"""

from micropython import const

SLOTS = const(64)  # 64 x 256 points x 4 registers fill the 65536 addresses of unit 255


class Meters:
    """`meters`: a list of Meter, in the order of the configuration. len() is the number of all their points."""

    def __init__(self, meters):
        self.meters = meters
        self._by_slot = {meter.slot: meter for meter in meters}

    def __len__(self):
        return sum([len(meter.profile) for meter in self.meters])

    def in_slot(self, slot):
        """The meter in that slot, or None."""
        return self._by_slot.get(slot)

    def find(self, point_id):
        """(meter, index of the point in its profile); index -1 when its profile has no such point; None when there is
        no such meter."""
        meter = self._by_slot.get(point_id >> 8)
        return None if meter is None else (meter, meter.profile.index_of(point_id & 0xFF))
