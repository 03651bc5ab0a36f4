"""The objects that BACnet clients see: the Device and, for points of meters, Analog Inputs. None exists in memory.

Type and instance of an object are meter and point by arithmetic: the instance is the point's id, meter slot x 256 + the
profile's point number. What properties there are stands in the tables below (ASHRAE 135-2012, clause 12), and a value
is written into the answer when a client asks for it.
"""

from struct import pack_into

import iso8601
from bacnet.apdu import INVALID_ARRAY_INDEX, NOT_AN_ARRAY, UNKNOWN_PROPERTY
from bacnet.tags import (
    BITS,
    BOOLEAN,
    CHARACTERS,
    DATE,
    DOUBLE,
    ENUMERATED,
    OBJECT,
    REAL,
    SIGNED,
    TIME,
    UNSIGNED,
)  # fmt: skip
from micropython import const

from firmware import VERSION
from firmware.meters.meters import SLOTS
from firmware.meters.readings import QUALITIES
from firmware.services.bacnet.plain_value import NOT_PLAIN, put_plain

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator
    from typing import Any

    from bacnet.tags import Writer

    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock

# Object types, 21
ANALOG_INPUT = const(0)
DEVICE = const(8)
LARGE_ANALOG_VALUE = const(46)
ANY_DEVICE = const(4194303)  # 12.11.1: as an instance, the device that is asked

NO_INDEX = const(-1)

# Properties, 21
ALL = const(8)
_APDU_SEGMENT_TIMEOUT = const(10)
_APDU_TIMEOUT = const(11)
_APPLICATION_SOFTWARE_VERSION = const(12)
COV_INCREMENT = const(22)
_DAYLIGHT_SAVINGS_STATUS = const(24)
DESCRIPTION = const(28)
_DEVICE_ADDRESS_BINDING = const(30)
_EVENT_STATE = const(36)
_FIRMWARE_REVISION = const(44)
_LOCAL_DATE = const(56)
_LOCAL_TIME = const(57)
LOCATION = const(58)
_MAX_APDU_LENGTH_ACCEPTED = const(62)
_MODEL_NAME = const(70)
_NUMBER_OF_APDU_RETRIES = const(73)
_OBJECT_IDENTIFIER = const(75)
OBJECT_LIST = const(76)
OBJECT_NAME = const(77)
_OBJECT_TYPE = const(79)
OPTIONAL = const(80)
_OUT_OF_SERVICE = const(81)
PRESENT_VALUE = const(85)
_OBJECT_TYPES_SUPPORTED = const(96)
_SERVICES_SUPPORTED = const(97)
_PROTOCOL_VERSION = const(98)
_RELIABILITY = const(103)
REQUIRED = const(105)
_SEGMENTATION_SUPPORTED = const(107)
STATUS_FLAGS = const(111)
_SYSTEM_STATUS = const(112)
_UNITS = const(117)
_UTC_OFFSET = const(119)
_VENDOR_IDENTIFIER = const(120)
_VENDOR_NAME = const(121)
ACTIVE_COV_SUBSCRIPTIONS = const(152)
_PROTOCOL_REVISION = const(139)
_DATABASE_REVISION = const(155)
_MAX_SEGMENTS_ACCEPTED = const(167)
PROPERTY_LIST = const(371)
_SERIAL_NUMBER = const(372)

# The properties of each type, in the order of REQUIRED and ALL. Each type has PROPERTY_LIST, too, in no list (12.1.1).
# fmt: off
_DEVICE_REQUIRED = (
    _OBJECT_IDENTIFIER, OBJECT_NAME, _OBJECT_TYPE, _SYSTEM_STATUS, _VENDOR_NAME, _VENDOR_IDENTIFIER, _MODEL_NAME,
    _FIRMWARE_REVISION, _APPLICATION_SOFTWARE_VERSION, _PROTOCOL_VERSION, _PROTOCOL_REVISION, _SERVICES_SUPPORTED,
    _OBJECT_TYPES_SUPPORTED, OBJECT_LIST, _MAX_APDU_LENGTH_ACCEPTED, _SEGMENTATION_SUPPORTED, _APDU_TIMEOUT,
    _NUMBER_OF_APDU_RETRIES, _DEVICE_ADDRESS_BINDING, _DATABASE_REVISION,
)
_DEVICE_OPTIONAL = (
    DESCRIPTION, LOCATION, _MAX_SEGMENTS_ACCEPTED, _APDU_SEGMENT_TIMEOUT, _LOCAL_TIME, _LOCAL_DATE, _UTC_OFFSET,
    _DAYLIGHT_SAVINGS_STATUS, ACTIVE_COV_SUBSCRIPTIONS, _SERIAL_NUMBER,
)
_POINT_REQUIRED = (
    _OBJECT_IDENTIFIER, OBJECT_NAME, _OBJECT_TYPE, PRESENT_VALUE, STATUS_FLAGS, _EVENT_STATE, _OUT_OF_SERVICE, _UNITS,
)
_POINT_OPTIONAL = (DESCRIPTION, _RELIABILITY, COV_INCREMENT)
# fmt: on

# What a profile says of a point, in the order of firmware.meters.profile.UNITS:
#                           none   V   A   W  var  VA  Hz  Wh  varh  VAh
_UNITS_OF_INPUT = bytes((95, 5, 3, 47, 11, 8, 27, 19, 204, 240))  # energy in kWh, kvarh, kVAh
_UNITS_OF_LARGE = bytes((95, 5, 3, 47, 11, 8, 27, 18, 203, 239))  # Wh, varh, VAh
# COV_Increment where no client has written another
_INCREMENTS = (0.01, 1.0, 0.1, 10.0, 10.0, 10.0, 0.05, 0.1, 0.1, 0.1)
_POWER_FACTOR = const(15)  # the unit
_POWER_FACTOR_FIRST = const(28)  # numbers of points, docs/reference/points.md
_POWER_FACTOR_LAST = const(31)
# Which points of a meter are shown where the configuration does not say: the first few of these that its profile has.
_POINTS = bytes((
    32, 16, 36, 20, 24, 28, 15, 40, 1, 2, 3, 9, 10, 11, 17, 18, 19, 4, 12, 14, 8, 5, 6, 7, 13, 44, 48, 52, 56,
))  # fmt: skip
# Reliability, 12.2.9, in the order of firmware.meters.readings.QUALITIES
_RELIABILITIES = b"\x00\x07\x0c\x0c\x07\x07"
assert len(_RELIABILITIES) == len(QUALITIES)
_NAN = float("nan")
_WH_IN_KWH = const(1000)

APDU_MAX = const(1440)  # so that no datagram is cut into fragments, which not every port puts together again
APDU_TIMEOUT_MS = const(3000)
APDU_RETRIES = const(3)
SEGMENT_TIMEOUT_MS = const(3000)
_SEGMENTED_TRANSMIT = const(1)
_PROTOCOL_REVISION_14 = const(14)
_UNSPECIFIED = const(0xFF)


class Objects:
    """find() chooses an object; has(), write() and the rest are about the one that was found last.

    instance            of the Device
    services, revision  Protocol_Services_Supported (bits, as bytes) and Database_Revision
    name, description, location, model, serial, vendor_id: of the Device; texts are bytes
    increments          {point id: COV_Increment} that clients have written; of a Large Analog Value the same in Wh
    write_subscriptions(out) writes Active_COV_Subscriptions
    tables              of the objects of meters, for put_plain()
    type, point_id      of the object
    meter, i            of the object: its meter and the index of the point in its profile"""

    def __init__(self, meters: "Meters", readings: "Readings", clock: "Clock", section: dict):
        """`section`: "bacnet" of the configuration."""
        self._meters = meters
        self._readings = readings
        self._clock = clock
        self._has_large = section["energy_in_wh"]
        self.points = self._choose(section)
        self._index_of = self._indices()
        self._place_of = self._places()
        self.tables = self._place_of, self._index_of, meters.meters
        self.instance = 0
        self.services = b""
        self.revision = 0
        self.increments: "dict[int, float]" = {}
        self.write_subscriptions: "Any" = None
        self.name = self.description = self.location = self.model = self.serial = b""
        self.vendor_id = section["vendor_id"]
        self.type = DEVICE
        self.point_id = 0
        self.meter: "Any" = None
        self.i = 0
        self._value: "Any" = None
        self._quality = -1

    def _choose(self, section):
        """For each meter, bytes: the indices of the points that are shown. Meters of a kind share them."""
        listed = section["points"].encode()
        wanted = [int(number) for number in listed.split(b",")] if listed else _POINTS
        most = len(wanted) if listed else section["points_per_meter"]
        chosen = {}
        for meter in self._meters.meters:
            profile = meter.profile
            if profile not in chosen:
                found = [i for i in [profile.index_of(number) for number in wanted] if i >= 0]
                if not listed:
                    found += [i for i in range(len(profile)) if i not in found]
                chosen[profile] = bytes(sorted(found[:most]))
        return [chosen[meter.profile] for meter in self._meters.meters]

    def _indices(self):
        """For each meter, bytes: by the number of a point that is shown its index in the profile + 1. Meters of a kind
        share them."""
        found = {}
        for k in range(len(self.points)):
            profile = self._meters.meters[k].profile
            if profile not in found:
                indices = bytearray(max([profile.numbers[i] for i in self.points[k]] + [0]) + 1)
                for i in self.points[k]:
                    indices[profile.numbers[i]] = i + 1
                found[profile] = indices
        return [found[meter.profile] for meter in self._meters.meters]

    def _places(self):
        """By the slot of a meter, its place in the configuration + 1."""
        places = bytearray(SLOTS)
        for k in range(len(self.points)):
            places[self._meters.meters[k].slot] = k + 1
        return places

    # -- which objects there are

    def __len__(self) -> int:
        """How many objects there are."""
        count = 1
        for k in range(len(self.points)):
            count += len(self.points[k])
            if self._has_large:
                count += self._energies(k)
        return count

    def _energies(self, k):
        """How many points that count energy the meter at index `k` shows."""
        profile = self._meters.meters[k].profile
        count = 0
        for i in self.points[k]:
            count += profile.accumulates(i)
        return count

    def find(self, kind: int, instance: int) -> bool:
        """Chooses that object. False when there is none."""
        self._quality = -1
        if kind == DEVICE:
            self.type = DEVICE
            self.meter = None
            return instance == ANY_DEVICE or instance == self.instance  # no tuple: nothing is allocated here
        if kind != ANALOG_INPUT and not (kind == LARGE_ANALOG_VALUE and self._has_large):
            return False
        return self.find_point(kind, instance)

    def find_point(self, kind: int, instance: int) -> bool:
        """Chooses that object of a meter. False when there is none."""
        place = self._place_of[instance >> 8] if instance >> 8 < SLOTS else 0
        if not place:
            return False
        indices = self._index_of[place - 1]
        number = instance & 0xFF
        i = indices[number] - 1 if number < len(indices) else -1
        if i < 0:
            return False
        meter = self._meters.meters[place - 1]
        if kind != ANALOG_INPUT and not meter.profile.accumulates(i):
            return False
        self.type = kind
        self.meter = meter
        self.i = i
        self.point_id = instance
        self._quality = -1
        return True

    def _choose_point(self, kind, meter, i):
        self.type = kind
        self.meter = meter
        self.i = i
        self.point_id = meter.point_id(i)
        self._quality = -1

    def each(self) -> "Iterator[None]":
        """Chooses each object in turn, in the order of Object_List."""
        self.find(DEVICE, self.instance)
        yield None
        for kind in (ANALOG_INPUT, LARGE_ANALOG_VALUE) if self._has_large else (ANALOG_INPUT,):
            for k in range(len(self.points)):
                meter = self._meters.meters[k]
                for i in self.points[k]:
                    if kind == ANALOG_INPUT or meter.profile.accumulates(i):
                        self._choose_point(kind, meter, i)
                        yield None

    def find_name(self, name: bytes) -> bool:
        """Chooses the object of that name. False when there is none. Composes the names of one meter's objects only."""
        if name == self.name:
            return self.find(DEVICE, self.instance)
        for k in range(len(self.points)):
            self._choose_point(ANALOG_INPUT, self._meters.meters[k], 0)
            if name.startswith(self.meter.name.encode() + b"."):
                for i in self.points[k]:
                    for kind in (ANALOG_INPUT, LARGE_ANALOG_VALUE):
                        point_id = self._meters.meters[k].point_id(i)
                        if self.find(kind, point_id) and self.object_name() == name:
                            return True
        return False

    def object_instance(self) -> int:
        """Of the object."""
        return self.instance if self.type == DEVICE else self.point_id

    # -- which properties an object has

    def required(self) -> tuple:
        """The properties that the standard requires, without Property_List."""
        return _DEVICE_REQUIRED if self.type == DEVICE else _POINT_REQUIRED

    def optional(self) -> tuple:
        """The properties that the standard leaves open."""
        return _DEVICE_OPTIONAL if self.type == DEVICE else _POINT_OPTIONAL

    def error_of(self, number: int, index: int) -> int:
        """0 when the object has that property, or that item of it; else the error (bacnet.apdu)."""
        if number == PRESENT_VALUE and self.type != DEVICE:  # what nearly all requests ask for
            return 0 if index == NO_INDEX else NOT_AN_ARRAY
        if number == OBJECT_LIST and self.type == DEVICE:
            return INVALID_ARRAY_INDEX if index > len(self) else 0
        if number == PROPERTY_LIST:
            return INVALID_ARRAY_INDEX if index > self._listed_properties() else 0
        if number not in self.required() and number not in self.optional():
            return UNKNOWN_PROPERTY
        return 0 if index == NO_INDEX else NOT_AN_ARRAY

    # -- values

    def is_faulty(self) -> bool:
        """Whether the point has no value that is right and new."""
        return self._read() != 0

    def _read(self):
        """Reads the point once for all that is asked of the object. Returns its reliability."""
        if self._quality < 0:
            self._value, _, self._quality = self._readings.read(self.meter, self.i)
        return _RELIABILITIES[self._quality]

    def put_present_value(self, instance: int, buf: bytearray, at: int) -> bool:
        """Writes Present_Value of that Analog Input as REAL to buf[at:at + 4]. False when there is none. Allocates
        nothing for most values."""
        done = put_plain(self.tables, instance, buf, at)
        if done == NOT_PLAIN:
            self._quality = -1
            self.find_point(ANALOG_INPUT, instance)
            pack_into(">f", buf, at, self.real())
        return done >= 0

    def real(self) -> float:
        """Present_Value of an Analog Input; NaN when there is none."""
        self._read()
        value = self._value
        if value is None:
            return _NAN
        return value / _WH_IN_KWH if self.meter.profile.accumulates(self.i) else value

    def present_value(self) -> float:
        """As a number that may be compared with others: of a Large Analog Value an integer; NaN when there is none."""
        if self.type != LARGE_ANALOG_VALUE:
            return self.real()
        self._read()
        return _NAN if self._value is None else self._value

    def increment(self) -> float:
        """COV_Increment of the object."""
        default = _INCREMENTS[self.meter.profile.units[self.i]]
        increment = self.increments.get(self.point_id, default)
        return increment * _WH_IN_KWH if self.type == LARGE_ANALOG_VALUE else increment

    def object_name(self) -> bytes:
        """Of the object: a device's own, `<meter>.<point>`, and with `_wh` for the same energy in Wh."""
        if self.type == DEVICE:
            return self.name
        ending = b"_wh" if self.type == LARGE_ANALOG_VALUE else b""
        return b"%s.%s%s" % (self.meter.name.encode(), self._point_name(), ending)

    def _point_name(self):
        """As bytes: a text of a request's making would stay."""
        names = self.meter.profile.names
        begin = 0
        for _ in range(self.i):
            begin += 1 + names[begin]
        return names[begin + 1 : begin + 1 + names[begin]]

    def object_description(self) -> bytes:
        """Of the object; of a point what it is, and the title and unit id of its meter."""
        if self.type == DEVICE:
            return self.description
        point = self._point_name().replace(b"_", b" ")
        return b"%s, %s, unit %d" % (point, self.meter.profile.name.encode(), self.meter.unit)

    def write(self, out: "Writer", number: int, index: int) -> None:
        """Writes the value of a property that the object has (error_of)."""
        if number == PRESENT_VALUE:
            self.write_present_value(out)
        elif number == PROPERTY_LIST:
            self._write_property_list(out, index)
        elif number == _OBJECT_IDENTIFIER:
            out.object(OBJECT, self.type, self.object_instance())
        elif number == OBJECT_NAME:
            out.text(CHARACTERS, self.object_name())
        elif number == _OBJECT_TYPE:
            out.unsigned(ENUMERATED, self.type)
        elif number == DESCRIPTION:
            out.text(CHARACTERS, self.object_description())
        elif self.type == DEVICE:
            self._write_device(out, number, index)
        else:
            self._write_point(out, number)

    def _write_point(self, out, number):
        if number == STATUS_FLAGS:
            self.write_status_flags(out)
        elif number == _RELIABILITY:
            out.unsigned(ENUMERATED, self._read())
        elif number == _UNITS:
            out.unsigned(ENUMERATED, self._unit())
        elif number == COV_INCREMENT:
            if self.type == LARGE_ANALOG_VALUE:
                out.double(DOUBLE, int(self.increment()))
            else:
                out.real(REAL, self.increment())
        elif number == _EVENT_STATE:
            out.unsigned(ENUMERATED, 0)  # normal
        else:  # _OUT_OF_SERVICE
            out.mark(BOOLEAN | False)

    def write_present_value(self, out: "Writer") -> None:
        """Of a point: REAL, of a Large Analog Value Double."""
        if self.type == LARGE_ANALOG_VALUE:
            self._read()
            out.double(DOUBLE, self._value)
        else:
            out.real(REAL, self.real())

    def write_status_flags(self, out: "Writer") -> None:
        """In alarm, fault, overridden, out of service."""
        out.octets(BITS, b"\x04", b"\x40" if self.is_faulty() else b"\x00")

    def _unit(self):
        profile = self.meter.profile
        if _POWER_FACTOR_FIRST <= profile.numbers[self.i] <= _POWER_FACTOR_LAST:
            return _POWER_FACTOR
        return (_UNITS_OF_LARGE if self.type == LARGE_ANALOG_VALUE else _UNITS_OF_INPUT)[profile.units[self.i]]

    def _write_device(self, out, number, index):
        if number == OBJECT_LIST:
            self._write_object_list(out, index)
        elif number == _SYSTEM_STATUS:
            out.unsigned(ENUMERATED, 0)  # operational
        elif number == _VENDOR_NAME:
            out.text(CHARACTERS, b"meterport")
        elif number == _VENDOR_IDENTIFIER:
            out.unsigned(UNSIGNED, self.vendor_id)
        elif number == _MODEL_NAME:
            out.text(CHARACTERS, self.model)
        elif number in (_FIRMWARE_REVISION, _APPLICATION_SOFTWARE_VERSION):
            out.text(CHARACTERS, b"%d.%d.%d" % VERSION)
        elif number == _PROTOCOL_VERSION:
            out.unsigned(UNSIGNED, 1)
        elif number == _PROTOCOL_REVISION:
            out.unsigned(UNSIGNED, _PROTOCOL_REVISION_14)
        elif number == _SERVICES_SUPPORTED:
            out.octets(BITS, b"\x07", self.services)  # 41 bits
        elif number == _OBJECT_TYPES_SUPPORTED:
            # 55 bits, the first in the highest bit of the first byte: Analog Input, Device, Large Analog Value
            out.octets(BITS, b"\x01", b"\x80\x80\0\0\0\x02\0" if self._has_large else b"\x80\x80\0\0\0\0\0")
        elif number == _MAX_APDU_LENGTH_ACCEPTED:
            out.unsigned(UNSIGNED, APDU_MAX)
        elif number == _SEGMENTATION_SUPPORTED:
            out.unsigned(ENUMERATED, _SEGMENTED_TRANSMIT)
        elif number == _APDU_TIMEOUT:
            out.unsigned(UNSIGNED, APDU_TIMEOUT_MS)
        elif number == _APDU_SEGMENT_TIMEOUT:
            out.unsigned(UNSIGNED, SEGMENT_TIMEOUT_MS)
        elif number == _NUMBER_OF_APDU_RETRIES:
            out.unsigned(UNSIGNED, APDU_RETRIES)
        elif number == _MAX_SEGMENTS_ACCEPTED:
            out.unsigned(UNSIGNED, 1)
        elif number == _DATABASE_REVISION:
            out.unsigned(UNSIGNED, self.revision)
        elif number == LOCATION:
            out.text(CHARACTERS, self.location)
        elif number == ACTIVE_COV_SUBSCRIPTIONS:
            self.write_subscriptions(out)
        elif number == _SERIAL_NUMBER:
            out.text(CHARACTERS, self.serial)
        elif number == _UTC_OFFSET:
            out.unsigned(SIGNED, 0)  # local time is UTC here
        elif number == _DAYLIGHT_SAVINGS_STATUS:
            out.mark(BOOLEAN | False)
        elif number in (_LOCAL_DATE, _LOCAL_TIME):
            write_time(out, self._clock.unix_s(), number == _LOCAL_DATE)
        # _DEVICE_ADDRESS_BINDING: no addresses of others are kept, so the list is empty

    def _write_object_list(self, out, index):
        if index == 0:
            out.unsigned(UNSIGNED, len(self))
            return
        place = 0
        for _ in self.each():
            place += 1
            if index == NO_INDEX and not out.is_before(5) or index == place:
                out.object(OBJECT, self.type, self.object_instance())
        self.find(DEVICE, self.instance)

    def _listed_properties(self):
        """Object_Identifier, Object_Name and Object_Type, the first three of each table, are not listed (12.1.1)."""
        return len(self.required()) + len(self.optional()) - 3

    def _write_property_list(self, out, index):
        if index == 0:
            out.unsigned(UNSIGNED, self._listed_properties())
            return
        place = 0
        for table in (self.required(), self.optional()):
            for number in table:
                place += 1
                if place > 3 and index in (NO_INDEX, place - 3):
                    out.unsigned(ENUMERATED, number)


def write_time(out: "Writer", unix_s: int, is_date: bool) -> None:
    """Writes the date or the time of day, in UTC; 0: not known."""
    if not unix_s:
        out.four(DATE if is_date else TIME, _UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED)
        return
    text = iso8601.format(unix_s)
    if is_date:
        weekday = (unix_s // 86400 + 3) % 7 + 1  # 1970-01-01 was a Thursday
        out.four(DATE, int(text[:4]) - 1900, int(text[5:7]), int(text[8:10]), weekday)
    else:
        out.four(TIME, int(text[11:13]), int(text[14:16]), int(text[17:19]), 0)
