"""Present_Value of an Analog Input from the registers straight to the bytes of a REAL, for most of them.

For what it does not do, objects.py takes the long way.
"""

from micropython import const

from firmware.meters.profile import plain_real

_TYPING = const(0)
if _TYPING:
    from firmware.meters.meter import Meter

WRITTEN = const(1)
NOT_PLAIN = const(0)
NO_OBJECT = const(-1)


def put_plain(tables: "tuple[bytearray, list[bytearray], list[Meter]]", instance: int, buf: bytearray, at: int) -> int:
    """Writes Present_Value of that object as REAL to buf[at:at + 4]: WRITTEN, NOT_PLAIN where its value is no number
    that plain_real() can write, NO_OBJECT where it is no Analog Input. `tables`: by the slot of a meter its place + 1;
    by its place, by the number of a point its index in the profile + 1; the meters by place."""
    slot = instance >> 8  # types other than 0 give one that there is not
    places = tables[0]
    if not 0 <= slot < len(places) or not places[slot]:
        return NO_OBJECT
    place = places[slot] - 1
    indices = tables[1][place]
    number = instance & 0xFF
    i = indices[number] - 1 if number < len(indices) else -1
    if i < 0:
        return NO_OBJECT
    meter = tables[2][place]
    block = meter.blocks[meter.block_of[i]]
    if block.read_at_s is None or block.exception or meter.ratios or meter.held:
        return NOT_PLAIN
    return WRITTEN if plain_real(buf, at, meter.profile, i, block.raw) else NOT_PLAIN


try:
    from firmware.services.bacnet.plain_value_machine import put_plain  # type: ignore  # noqa: F401
except ImportError:  # only images for the RP2 have machine code
    pass
