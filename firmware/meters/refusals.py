"""What a meter refuses to be read (exceptions 02 and 03), and how its plan of reads learns from it.

A meter refuses a whole read when one register of it does not exist, or when it gives fewer registers at once than its
profile says. A block that was refused twice in a row, so that a meter which is just starting teaches nothing wrong, is
halved at a border between two points, and its halves likewise, until what can be read is read. What is refused alone is
remembered: it is not asked for again until ask_again(), and the meter's refused_text names it. Adjacent ones are
joined, so a meter that refuses everything has as few blocks as before.

If all is refused the first block is asked for all the same (Round.begin), so that the meter's state is known.
"""

from micropython import const

from firmware.meters.block import NOT_FRESH, REFUSED, Part

_LEARNT_FROM = (2, 3)  # Application Protocol 7: ILLEGAL DATA ADDRESS, ILLEGAL DATA VALUE
_MORE_BLOCKS_MAX = const(24)  # than the profile's plan has: about 3 KB of heap for each meter at worst
_NAMED_MAX = const(3)  # ranges of registers in the meter's refused_text


def teaches(exception):
    """Whether that exception code says that a read can never be answered."""
    return exception in _LEARNT_FROM


def refuse(meter, k, exception):
    """Block `k` of the meter was read just now and refused with that exception code. Returns the index of the block
    that is read next in this round."""
    block = meter.blocks[k]
    before = block.refuse(exception)
    if not teaches(exception) or not teaches(before) or block.fresh_until_ms == REFUSED:
        return k + 1
    if len(meter.blocks) < len(meter.profile.plan) + _MORE_BLOCKS_MAX and _halve(meter, k):
        return k
    block.fresh_until_ms = REFUSED
    k = _join(meter, k)
    _name(meter)
    return k + 1


def ask_again(meter):
    """Has the meter asked once more for what it refused: it may have been replaced, or have been starting."""
    for block in meter.blocks:
        if block.fresh_until_ms == REFUSED:
            block.fresh_until_ms = NOT_FRESH
    meter.refused_text = ""


def refused_ranges(meter):
    """[(function, first register, count, exception code)] of what the meter is not asked for."""
    blocks = [block for block in meter.blocks if block.fresh_until_ms == REFUSED]
    return [(block.function, block.first, block.count, block.exception) for block in blocks]


def _halve(meter, k):
    """Puts two parts in the place of block `k`, as equal as the points allow. False when no border between two points
    lies in it. Registers between two points belong to neither part: perhaps they are what is missing."""
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
    """Joins the refused block `k` with a refused one that lies before it in the same block of the plan. Returns its
    index."""
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
    ranges = refused_ranges(meter)
    texts = ["%d to %d of function %d" % (first, first + count - 1, function) for function, first, count, _ in ranges]
    more = len(texts) - _NAMED_MAX
    text = ", ".join(texts[:_NAMED_MAX])
    meter.refused_text = "refuses registers " + text + (" and %d more ranges" % more if more > 0 else "")
