"""Adapts the plan of reads of a meter to what the meter refuses (exceptions 02 and 03).

A meter refuses a whole read when one of its registers does not exist, or when the meter gives fewer registers at once
than its profile says. A block that is refused twice in a row is halved at a border between two points, and its halves
likewise, until all that can be read is read. (One refusal may be that of a meter which is just starting.) A block that
cannot be halved is read no more until ask_again(), and the meter's refused_text names it. Adjacent blocks of that kind
are joined, so a meter that refuses everything has as few blocks as before.

If all blocks are refused, the first is still read (Round.begin), so that the meter's state is known.
"""

from micropython import const

from firmware.meters.block import NOT_FRESH, REFUSED, Part

_TYPING = const(0)
if _TYPING:
    from firmware.meters.meter import Meter

_LASTING = (2, 3)  # Application Protocol 7: ILLEGAL DATA ADDRESS, ILLEGAL DATA VALUE
_MORE_BLOCKS_MAX = const(24)  # than the profile's plan has: about 3 KB of heap for each meter at worst
_NAMED_MAX = const(3)  # ranges of registers in the meter's refused_text


def is_lasting(exception: int) -> bool:
    """True when that exception code means that the same read will be refused each time."""
    return exception in _LASTING


def note(meter: "Meter", k: int, exception: int) -> int:
    """Notes that the meter has just refused its block `k` with that exception code. Returns the index of the block that
    is read next in this round."""
    block = meter.blocks[k]
    before = block.refuse(exception)
    if not is_lasting(exception) or not is_lasting(before) or block.fresh_until_ms == REFUSED:
        return k + 1
    if len(meter.blocks) < len(meter.profile.plan) + _MORE_BLOCKS_MAX and _halve(meter, k):
        return k
    block.fresh_until_ms = REFUSED
    k = _join(meter, k)
    _name(meter)
    return k + 1


def ask_again(meter: "Meter") -> None:
    """Puts refused blocks back into the plan: the meter may have been replaced, or have been starting."""
    for block in meter.blocks:
        if block.fresh_until_ms == REFUSED:
            block.fresh_until_ms = NOT_FRESH
    meter.refused_text = ""


def refused_ranges(meter: "Meter") -> "list[tuple[int, int, int, int]]":
    """Lists (function, first register, count, exception code) of the blocks that are not read."""
    blocks = [block for block in meter.blocks if block.fresh_until_ms == REFUSED]
    return [(block.function, block.first, block.count, block.exception) for block in blocks]


def _halve(meter, k):
    """Replaces block `k` by two parts, as equal as the points allow. Returns False when no border between two points
    lies in it. Registers between two points belong to neither part: perhaps the meter lacks these."""
    block = meter.blocks[k]
    profile = meter.profile
    spans = []
    for i, number in enumerate(meter.block_of):
        if number == k:
            first = block.origin + profile.offsets[i] // 2
            spans.append((first, first + profile.size(i)))
    spans.sort()
    nearest = None
    end = spans[0][1]
    for first, after in spans:
        distance = abs(end + first - 2 * block.first - block.count)  # of the border from the middle, doubled
        if first >= end and (nearest is None or distance < nearest[0]):
            nearest = distance, end, first
        end = max(end, after)
    if nearest is None:
        return False
    _, end, first = nearest
    halves = [Part(block, block.first, end - block.first), Part(block, first, block.first + block.count - first)]
    moved = bytearray(meter.block_of)
    for i, number in enumerate(moved):
        if number > k or number == k and block.origin + profile.offsets[i] // 2 >= first:
            moved[i] = number + 1
    block_of = bytes(moved)  # before anything is changed: there may be no memory for it
    meter.blocks[k : k + 1] = halves
    meter.block_of = block_of
    return True


def _join(meter, k):
    """Joins the refused block `k` with a refused one before it, if both are parts of one block of the plan. Returns the
    index of the block that then holds the registers of `k`."""
    block = meter.blocks[k]
    before = meter.blocks[k - 1]
    if not k or before.raw is not block.raw or before.fresh_until_ms != REFUSED:
        return k
    joined = Part(block, before.first, block.first + block.count - before.first)
    joined.fresh_until_ms = REFUSED
    block_of = bytes([number - 1 if number >= k else number for number in meter.block_of])
    meter.blocks[k - 1 : k + 1] = [joined]
    meter.block_of = block_of
    return k - 1


def _name(meter):
    """Sets the meter's refused_text."""
    ranges = refused_ranges(meter)
    texts = ["%d to %d of function %d" % (first, first + count - 1, function) for function, first, count, _ in ranges]
    more = len(texts) - _NAMED_MAX
    text = ", ".join(texts[:_NAMED_MAX])
    meter.refused_text = "refuses registers " + text + (" and %d more ranges" % more if more > 0 else "")
