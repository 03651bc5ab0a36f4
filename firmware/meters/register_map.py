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
_PHASES = (  # numbers of points of the phases 2 and 3, and of voltages between phases
    b"\x02\x03\x05\x06\x07\x0a\x0b\x12\x13\x16\x17\x1a\x1b\x1e\x1f\x22\x23\x26\x27\x2a\x2b\x2e\x2f\x32\x33\x36\x37"
)
_FIXED = ("constants", "signature", "both_functions")  # keys of a profile file
# What a map has of the registers of a read
NOTHING = const(0)
SOME = const(1)
EXACT = const(2)  # all, and no other map may add to them
STALE_VALUE = const(3)  # a value is too old, or fits no register, and there is no way to say that there is none


class RegisterMap:
    """The registers of one kind of meter, for all units that are served as it. `profile`: not an inverted one. `fixed`:
    [(function, first register, bytes)], what never changes: model code, identity. `has_both`: functions 3 and 4 give
    the same. `is_sunspec`: phases and counters of integers that are not measured are as SunSpec has them."""

    def __init__(
        self, profile: "Profile", fixed: "list[tuple[int, int, bytes]]", has_both: bool = False,
        is_sunspec: bool = False,
    ) -> None:  # fmt: skip
        self._profile = profile
        self._has_both = has_both
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
            if not self._has_both and profile.plan[profile.blocks[i]][0] != function:
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
            if (place == function or self._has_both) and begin < first + count and begin + size > first:
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
        is_whole = bool(encoding[3] & WHOLE)
        if encoding[:3] == (_KILO if is_whole else _UNIT):
            if values.put_real(profile.numbers[i], is_whole, row):
                if profile.is_little:
                    row[:4] = swapped(row, 0, 4)
                return True
        value = values.value(profile.numbers[i], profile.units[i])
        if value is not None:
            return encode(profile, i, value, row) or encode_no_value(profile, i, row)
        if values.reason == STALE:
            return is_stale_no_value and encode_no_value(profile, i, row)
        # Not measured: what the kind of meter says then. Where it has no way to say so, in floats, whose NaN hardly a
        # master expects, and of phases 2 and 3, 0 as of a phase that is not connected.
        if self._is_sunspec:
            is_zero = profile.accumulates(i) and encoding[0] < FLOAT32
        else:
            is_zero = not profile.no_value or profile.numbers[i] in _PHASES
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


def load(name: str, profile: "Profile") -> RegisterMap:
    """The map of the kind of meter with that name, and its `profile`. What never changes: the `constants` of its file,
    and the first of the integers by which its `signature` knows the kind; a file that is damaged has none."""
    try:
        document = catalog.read(name, _FIXED)
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        return RegisterMap(profile, [])
    fixed = []
    for function, first, kind, *test in document.get("signature", ()):
        if len(test) == 1 and test[0]:
            size = 2 * REGISTERS[TYPES.index(kind)]
            data = (test[0][0] & (1 << 8 * size) - 1).to_bytes(size, "big")
            fixed.append((function, first, swapped(data) if profile.is_little else data))
    for function, first, content in document.get("constants", ()):
        if isinstance(content, str):
            data = content.encode()
            data += bytes(len(data) & 1)
        else:
            data = b"".join([word.to_bytes(2, "big") for word in content])
        fixed.append((function, first, data))
    return RegisterMap(profile, fixed, document.get("both_functions", False))
