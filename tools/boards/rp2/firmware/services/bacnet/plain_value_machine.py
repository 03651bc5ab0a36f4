"""The way of a value from its registers to an answer of BACnet, as machine code.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

from firmware.meters.profile import plain_real as _plain_real

_NEVER = None  # machine code compares objects with names only
_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def put_plain(tables, instance: int, buf, at: int) -> int:
    """As firmware.services.bacnet.plain_value.put_plain()."""
    slot = instance >> 8
    places = tables[0]
    if slot < 0 or slot >= int(_len(places)):
        return -1
    place = int(ptr8(places)[slot]) - 1
    if place < 0:
        return -1
    indices = tables[1][place]
    number = instance & 0xFF
    if number >= int(_len(indices)):
        return -1
    i = int(ptr8(indices)[number]) - 1
    if i < 0:
        return -1
    meter = tables[2][place]
    block = meter.blocks[meter.block_of[i]]
    if block.read_at_s is _NEVER or block.exception or meter.ratios or meter.held:
        return 0
    return int(_plain_real(buf, at, meter.profile, i, block.raw))
