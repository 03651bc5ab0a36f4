"""What a served meter shows: the points of one meter, or of several that are added up.

A point is found by its number, which is the same for one quantity in every profile. What a meter does not measure is
made of what it does, where that is the same quantity: a total of its phases, phase 1 of the total of a meter with one
phase, an import of the total of a meter that does not know directions.
"""

from micropython import const

from firmware.meters.profile import DECIMALS_BITS, DECIMALS_MASK, TURNS, UNITS, plain_real
from firmware.meters.readings import GOOD, WITHOUT_VALUE

_TYPING = const(0)
if _TYPING:
    from firmware.meters.meter import Meter
    from firmware.meters.readings import Readings

# Why there is no value
MISSING = const(0)  # the meters do not measure it, or give no value for it
STALE = const(1)  # they do, and have not been read lately
# Numbers of points (docs/reference/points.md). Phases follow their total.
_TOTALS = b"\x10\x14\x18\x20\x24\x28\x2c\x30\x34"
_POWER_FACTOR = const(28)
_IMPORT = const(32)
_EXPORT = const(36)
_ENERGY_TOTAL = const(40)
_ENERGIES_END = const(52)  # behind those of one direction
_OWN = const(128)  # from here on numbers are of one kind of meter
# What a sum is made of. Of voltages and frequency the first meter's are shown; power factors have no sum.
_ADDITIVE = ("A", "W", "var", "VA", "Wh", "varh", "VAh")
_ENERGIES = ("Wh", "varh", "VAh")
_DIRECTED = ("W", "var", "")  # with the other sign on a meter that is subtracted
_PHASES = const(3)


class Source:
    """`terms`: [(sign, meter)], sign 1 or -1. `last_s`: how old a reading that is not good may be, 0: none may be used.
    `kind`: name of the profile whose own points (number 128 and more) are meant. `reason`: why the last value() was
    None."""

    def __init__(self, terms: "list[tuple[int, Meter]]", readings: "Readings", last_s: int, kind: str) -> None:
        self._terms = terms
        self._is_sum = len(terms) > 1
        self._readings = readings
        self._last_s = last_s
        self._kind = kind
        self.reason = MISSING

    def value(self, number: int, unit: int) -> "int | None":
        """The value of the point with that number and unit (index into UNITS), as Profile.decimal() returns it."""
        self.reason = MISSING
        if not self._is_sum:
            sign, meter = self._terms[0]
            return self._of_term(sign, meter, number, unit)
        if not unit:
            return None
        if UNITS[unit] not in _ADDITIVE:
            return self._of_meter(self._terms[0][1], number)
        total = 0
        for sign, meter in self._terms:
            value = self._of_term(sign, meter, number, unit)
            if value is None:
                return None
            total = add(total, value)
        return total

    def put_real(self, number: int, accumulates: bool, out: bytearray) -> bool:
        """Writes the value of the point with that number as profile.plain_real() does, to out[0:]; False when that is
        left to value(): also where the meter's point accumulates (kWh) and the wanted one does not, or the other way
        round. Most values of served floats go this way, without objects in the heap."""
        sign, meter = self._terms[0]
        if self._is_sum or sign < 0 or meter.ratios or meter.held or number >= _OWN:
            return False
        i = meter.profile.index_of(number)
        if i < 0 or meter.profile.accumulates(i) != accumulates:
            return False
        block = meter.blocks[meter.block_of[i]]
        return self._is_usable(meter, block) and plain_real(out, 0, meter.profile, i, block.raw)

    def _of_term(self, sign, meter, number, unit):
        """The value of a meter, or of one that is subtracted: powers have the other sign, and what it imports counts as
        exported. Energies so never fall. What has no direction (apparent power, most currents) cannot be subtracted."""
        if sign > 0:
            return self._of_meter(meter, number)
        name = UNITS[unit]
        if name in _ENERGIES:
            return self._of_meter(meter, _mirrored(number))
        value = self._of_meter(meter, number)
        if value is None:
            return None
        i = meter.profile.index_of(number)
        profile = meter.profile
        if name in _DIRECTED or i >= 0 and profile.encodings[profile.encoding_of[i]][3] & TURNS:
            return _negative(value)
        return None if self._is_sum else value

    def _of_meter(self, meter, number):
        i = meter.profile.index_of(number)
        if i >= 0:
            return self._read(meter, i) if number < _OWN or meter.profile_name == self._kind else None
        if number in _TOTALS:
            return self._total(meter, number)
        if number - 1 in _TOTALS or number - 1 == _POWER_FACTOR:
            return self._only_phase(meter, number)
        if number == _POWER_FACTOR and meter.profile.index_of(number + 2) < 0:
            return self._read_number(meter, number + 1)
        return None

    def _total(self, meter, number):
        """The sum of the phases that the meter measures."""
        total = None
        for phase in range(number + 1, number + 1 + _PHASES):
            i = meter.profile.index_of(phase)
            if i < 0:
                continue
            value = self._read(meter, i)
            if value is None:
                return None
            total = value if total is None else add(total, value)
        if total is None and number == _IMPORT and meter.profile.index_of(_EXPORT) < 0:
            return self._read_number(meter, _ENERGY_TOTAL)
        if total is None and number == _ENERGY_TOTAL:
            return self._both_directions(meter)
        return total

    def _both_directions(self, meter):
        """Import and export added, as meters with a total of both count."""
        energy = self._read_number(meter, _IMPORT)
        if energy is None or meter.profile.index_of(_EXPORT) < 0:
            return energy
        exported = self._read_number(meter, _EXPORT)
        return None if exported is None else add(energy, exported)

    def _only_phase(self, meter, number):
        """Phase 1 of a meter that has but one: its total."""
        return None if meter.profile.index_of(number + 1) >= 0 else self._read_number(meter, number - 1)

    def _read_number(self, meter, number):
        i = meter.profile.index_of(number)
        return None if i < 0 else self._read(meter, i)

    def _read(self, meter, i):
        block = meter.blocks[meter.block_of[i]]
        if not self._is_usable(meter, block):
            return None
        return meter.decimal(i, block)

    def _is_usable(self, meter, block):
        """True when what was read of the block may be shown; else the reason is set."""
        age_s, quality = self._readings.of_block(meter, block)
        if quality == GOOD:
            return True
        if quality in WITHOUT_VALUE:
            self.reason = MISSING if block.exception else STALE
            return False
        self.reason = STALE
        return age_s <= self._last_s


def _mirrored(number):
    """The number of the energy in the other direction."""
    place = (number - _IMPORT) % 12  # import and export, both with three phases; the same again, reactive
    if not _IMPORT <= number < _ENERGIES_END or place >= 8:
        return number
    return number + 4 if place < 4 else number - 4


def add(one: int, other: int) -> int:
    """The sum of two decimal numbers (Profile.decimal())."""
    decimals = max(one & DECIMALS_MASK, other & DECIMALS_MASK)
    number = (one >> DECIMALS_BITS) * 10 ** (decimals - (one & DECIMALS_MASK))
    number += (other >> DECIMALS_BITS) * 10 ** (decimals - (other & DECIMALS_MASK))
    return number << DECIMALS_BITS | decimals


def _negative(decimal):
    return -(decimal >> DECIMALS_BITS) << DECIMALS_BITS | decimal & DECIMALS_MASK
