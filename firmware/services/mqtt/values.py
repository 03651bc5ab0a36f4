"""The values of a meter as MQTT sends them: a message for each point, or the members of one object of JSON."""

from array import array

from micropython import const

from firmware.meters.block import copy
from firmware.meters.decimal_text import TEXT_MAX, write_decimal
from firmware.meters.readings import GOOD

try:
    from firmware.meters.points_machine import decode_points  # type: ignore
    from firmware.services.mqtt.values_machine import write_values  # type: ignore
except ImportError:  # only images for the RP2 have machine code
    decode_points = write_values = None

_TYPING = const(0)
if _TYPING:
    from firmware.meters.meter import Meter
    from firmware.meters.readings import Readings

# Indices of the array `state`
_POINT = const(0)  # that is next
_NAME = const(1)  # where the length of its name stands in Profile.names
_COUNT = const(2)  # values that were written
_POINTS = const(3)  # of the meter
_BLOCKS = const(4)  # for each block two numbers (decode_points); the last one of all: whether there was no room
_OF_A_MEMBER = const(4)  # bytes beside name and value: two quotes, a colon, a comma


class Values:
    """Writes one meter after the other."""

    def __init__(self, readings: "Readings") -> None:
        self._readings = readings
        self._text = bytearray(TEXT_MAX)  # of a value
        self._state = array("i", [0, 0, 0, 0, 0])
        self._decoded = bytearray(0)
        self._order = b""

    @staticmethod
    def longest(meter: "Meter") -> int:
        """Bytes of all members of its object, at most."""
        profile = meter.profile
        return len(profile.names) + (TEXT_MAX + _OF_A_MEMBER) * len(profile)

    def begin(self, meter: "Meter", topic: bytes) -> None:
        """Begins with the first point of a meter. `topic`: of its messages, without the point's name; empty for members
        of an object."""
        self._meter = meter
        self._topic = topic
        # Both of the same moment: they change when the meter refuses a read.
        self._block_of = meter.block_of
        self._blocks = meter.blocks
        self._is_decoded = write_values is not None and meter.ratios is None and not meter.held
        if self._is_decoded:
            self._decode(meter)
        state = self._state
        state[_POINT] = state[_NAME] = state[_COUNT] = 0
        state[_POINTS] = len(meter.profile)

    def _decode(self, meter):
        count = len(meter.profile)
        size = _BLOCKS + 2 * len(meter.blocks) + 1
        if len(self._state) < size:
            self._state = array("i", bytes(4 * size))
        if len(self._decoded) < 4 * count:
            self._decoded = bytearray(4 * count)
        if len(self._order) != count:
            self._order = bytes(range(count))
        state = self._state
        at = _BLOCKS
        for block in meter.blocks:
            state[at] = 0
            state[at + 1] = 0 if self._readings.of_block(meter, block)[1] == GOOD else -1
            at += 2
        decode_points(b"", 0, self._decoded, meter, self._order, state)

    def count(self) -> int:
        """Values that were written of this meter."""
        return self._state[_COUNT]

    def fill(self, buffer: bytearray, at: int) -> int:
        """Writes to the buffer from buffer[at] on until the meter or the buffer is at its end; returns where that is.
        A message is one of QoS 0, and a point without a fresh value has none; a member is "name":value, or null."""
        state = self._state
        names = self._meter.profile.names
        while state[_POINT] < state[_POINTS]:
            if self._is_decoded:
                at = write_values(buffer, names, at, len(buffer), self._topic, self._decoded, state)
                if state[_POINT] == state[_POINTS] or state[-1]:
                    break
            end = self._put(buffer, at)
            if end < 0:
                break
            at = end
            state[_NAME] += 1 + names[state[_NAME]]
            state[_POINT] += 1
        return at

    def _put(self, buffer, at):
        """Writes the next point, as fill() does; returns where it ends, less than 0 when there is no room for it."""
        state = self._state
        meter = self._meter
        profile = meter.profile
        topic = self._topic
        text = self._text
        i = state[_POINT]
        block = self._blocks[self._block_of[i]]
        decimal = None
        if self._readings.of_block(meter, block)[1] == GOOD:
            decimal = meter.decimal(i, block)
        if decimal is not None:
            digit = write_decimal(text, TEXT_MAX, decimal)
        elif topic:
            return at
        else:
            digit = TEXT_MAX - 4
            text[digit:] = b"null"
        name = profile.names[state[_NAME]]
        size = len(topic) + name + TEXT_MAX - digit
        if topic:
            size += 2  # behind the length, as the head says it
            if at + size + 3 > len(buffer):
                return -1
            buffer[at] = 0x30
            if size > 127:
                at += 1
                buffer[at] = size & 127 | 128
                buffer[at + 1] = size >> 7
            else:
                buffer[at + 1] = size
            buffer[at + 2] = len(topic) + name >> 8
            buffer[at + 3] = len(topic) + name & 255
            at += 4
            copy(buffer, at, topic, 0, len(topic))
            at += len(topic)
        else:
            if at + size + _OF_A_MEMBER > len(buffer):
                return -1
            buffer[at] = 0x22  # "
            at += 1
        copy(buffer, at, profile.names, state[_NAME] + 1, name)
        at += name
        if not topic:
            buffer[at] = 0x22
            buffer[at + 1] = 0x3A  # :
            at += 2
        copy(buffer, at, text, digit, TEXT_MAX - digit)
        at += TEXT_MAX - digit
        if not topic:
            buffer[at] = 0x2C  # ,
            at += 1
        if decimal is not None:
            state[_COUNT] += 1
        return at

    def is_done(self) -> bool:
        """Whether all points of the meter are written."""
        return self._state[_POINT] >= self._state[_POINTS]
