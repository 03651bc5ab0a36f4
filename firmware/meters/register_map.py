"""The register map of one kind of meter, for values that come from others (source.py): what a served meter answers."""

from array import array

from micropython import const

from firmware.meters import catalog
from firmware.meters.encoder import encode, encode_no_value
from firmware.meters.profile import FLOAT32, REGISTERS, TYPES, WHOLE, swapped
from firmware.meters.source import STALE, Source

_TYPING = const(0)
if _TYPING:
    from firmware.meters.profile import Profile

# Encodings (type, numerator, denominator) of floats as profile.plain_real() writes them: energies in kWh, others as are
_KILO = (FLOAT32, 1000, 1)
_UNIT = (FLOAT32, 1, 1)
_POINT_MAX = const(4)  # registers of the largest point
_FIXED = ("constants", "signature")  # keys of a profile file
# What a map has of the registers of a read
NOTHING = const(0)
SOME = const(1)
EXACT = const(2)  # all, and no other map may add to them
STALE_VALUE = const(3)  # a value is too old, or fits no register, and there is no way to say that there is none


class RegisterMap:
    """The registers of one kind of meter, for all units that are served as it. `profile`: not an inverted one. `fixed`:
    [(function, first register, bytes)], what never changes: model code, identity. `is_sunspec`: counters of
    integers that are not measured read 0."""

    def __init__(self, profile: "Profile", fixed: "list[tuple[int, int, bytes]]", is_sunspec: bool = False) -> None:
        self._profile = profile
        self._fixed = fixed
        self._is_sunspec = is_sunspec
        self._first = array("H", [
            profile.plan[profile.blocks[i]][1] + profile.offsets[i] // 2 for i in range(len(profile))
        ])  # fmt: skip
        self._low = min(self._first)
        self._high = max(self._first) + _POINT_MAX
        self._row = bytearray(8)

    def put(
        self, function: int, first: int, count: int, out: bytearray, at: int, values: Source, is_stale_no_value: bool
    ) -> int:
        """Writes its registers of a read from `first` on to out[at:] and leaves the others. Returns NOTHING,
        SOME, EXACT or STALE_VALUE."""
        found = self._put_fixed(function, first, count, out, at)
        if found == EXACT or first >= self._high or first + count <= self._low:
            return found
        profile = self._profile
        end = first + count
        i = -1
        for begin in self._first:
            i += 1
            if begin >= end or begin + _POINT_MAX <= first or begin + profile.size(i) <= first:
                continue
            if profile.plan[profile.blocks[i]][0] != function:
                continue
            found = SOME
            if not self._encode(i, values, is_stale_no_value):
                return STALE_VALUE
            _overlap(self._row, begin, profile.size(i), first, count, out, at)
        return found

    def _put_fixed(self, function, first, count, out, at):
        """EXACT where the read is of just those registers: it may have another meaning than the points there (the code
        of Carlo Gavazzi's meters is in the middle of a voltage)."""
        found = NOTHING
        for place, begin, data in self._fixed:
            size = len(data) // 2
            if place == function and begin < first + count and begin + size > first:
                found = SOME
                _overlap(data, begin, size, first, count, out, at)
                if begin == first and size == count:
                    return EXACT
        return found

    def _encode(self, i, values, is_stale_no_value):
        """Writes the registers of point `i` to the row. False when there is nothing that may be said."""
        profile = self._profile
        row = self._row
        encoding = profile.encodings[profile.encoding_of[i]]
        if encoding[:3] == (_KILO if encoding[3] & WHOLE else _UNIT):
            if values.put_real(profile.numbers[i], row):
                if profile.is_little:
                    row[:4] = swapped(row, 0, 4)
                return True
        value = values.value(profile.numbers[i], profile.units[i])
        if value is not None:
            return encode(profile, i, value, row) or encode_no_value(profile, i, row)
        if values.reason == STALE:
            return is_stale_no_value and encode_no_value(profile, i, row)
        # Not measured: what the kind of meter says then; where it has no way to say so, and in floats, whose NaN hardly
        # a master expects, 0 as of a phase that is not connected.
        is_counter = profile.accumulates(i) and profile.encodings[profile.encoding_of[i]][0] < FLOAT32
        is_zero = not profile.no_value or (is_counter and self._is_sunspec)
        if is_zero or not encode_no_value(profile, i, row):
            row[:] = bytes(len(row))
        return True


def _overlap(data, begin, size, first, count, out, at):
    """Copies what `data`, the registers from `begin` on, and the read have in common to its place in out[at:]."""
    low = max(begin, first)
    n = 2 * (min(begin + size, first + count) - low)
    to = at + 2 * (low - first)
    k = 2 * (low - begin)
    out[to : to + n] = data[k : k + n]


def fixed_registers(name: str, is_little: bool) -> "list[tuple[int, int, bytes]]":
    """What never changes in the registers of that profile: its `constants`, and the first of the integers by which its
    `signature` knows the kind. `is_little`: Profile.is_little. A file that is damaged has none."""
    try:
        document = catalog.read(name, _FIXED)
    except (OSError, ValueError):
        return []
    if not isinstance(document, dict):
        return []
    fixed = []
    for function, first, kind, *test in document.get("signature", ()):
        if len(test) == 1 and test[0]:
            size = 2 * REGISTERS[TYPES.index(kind)]
            data = (test[0][0] & (1 << 8 * size) - 1).to_bytes(size, "big")
            fixed.append((function, first, swapped(data) if is_little else data))
    for function, first, content in document.get("constants", ()):
        if isinstance(content, str):
            data = content.encode()
            data += bytes(len(data) & 1)
        else:
            data = b"".join([word.to_bytes(2, "big") for word in content])
        fixed.append((function, first, data))
    return fixed
