"""What confirmed requests ask, and the content of the answers (ASHRAE 135-2012, clauses 13, 15 and 16)."""

from bacnet.apdu import (
    CHARACTER_SET_NOT_SUPPORTED,
    DEVICE_COMMUNICATION_CONTROL,
    DUPLICATE_NAME,
    INVALID_DATA_TYPE,
    LIFETIME_OUT_OF_RANGE,
    MISSING_REQUIRED_PARAMETER,
    NO_SPACE_TO_WRITE,
    PARAMETER_OUT_OF_RANGE,
    PASSWORD_FAILURE,
    READ_PROPERTY,
    READ_PROPERTY_MULTIPLE,
    REINITIALIZE_DEVICE,
    SERVICE_NOT_SUPPORTED,
    SUBSCRIBE_COV,
    UNDEFINED_ENUMERATION,
    UNKNOWN_OBJECT,
    UNRECOGNIZED_SERVICE,
    VALUE_OUT_OF_RANGE,
    WRITE_ACCESS_DENIED,
    WRITE_PROPERTY,
)  # fmt: skip
from bacnet.present_value import (
    REFERENCE_LENGTH,
    RESULT_LENGTH,
    RESULT_REAL_AT,
    begin_result,
)
from bacnet.tags import CHARACTERS, DOUBLE, END, REAL, Malformed, Reader
from micropython import const

from firmware.services.bacnet.objects import (
    ALL,
    ANALOG_INPUT,
    COV_INCREMENT,
    DESCRIPTION,
    DEVICE,
    LOCATION,
    NO_INDEX,
    OBJECT_NAME,
    OPTIONAL,
    REQUIRED,
)
from firmware.services.bacnet.plain_value import WRITTEN, put_plain

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from bacnet.apdu import Apdu
    from bacnet.tags import Writer

    from firmware.device import Device
    from firmware.events import Events
    from firmware.services.bacnet.kept import Kept
    from firmware.services.bacnet.objects import Objects
    from firmware.services.bacnet.subscriptions import Subscriptions

SIMPLE = const(-1)  # the answer is a SimpleACK

# Context tags n << 4 | CONTEXT, OPENING, CLOSING
_TAG_0 = const(0x08)
_TAG_1 = const(0x18)
_TAG_2 = const(0x28)
_TAG_3 = const(0x38)
_TAG_4 = const(0x48)
_OPENING_1 = const(0x1E)
_CLOSING_1 = const(0x1F)
_OPENING_3 = const(0x3E)
_CLOSING_3 = const(0x3F)
_OPENING_4 = const(0x4E)
_CLOSING_4 = const(0x4F)
_OPENING_5 = const(0x5E)
_CLOSING_5 = const(0x5F)


# Enable-disable of DeviceCommunicationControl, 16.1.1.1.2
_ENABLE = const(0)
DISABLE = const(1)
_DISABLE_INITIATION = const(2)
_WARM_START = const(1)  # the last state of ReinitializeDevice, 16.4.1.1.1, that is served; 0 is a cold start
_STATES = const(7)
_LIFETIME_MAX_S = const(31536000)
_INCREMENT_MAX = const(1000000000000)
_TEXT_MAX = const(64)  # bytes of what a client may write


class Requests:
    """Answers requests for `objects`. `config` is the section "bacnet"; `kept` is told of what clients have written."""

    def __init__(
        self, objects: "Objects", subscriptions: "Subscriptions", kept: "Kept", config: dict, device: "Device",
        uptime_s: "Any", events: "Events",
    ):  # fmt: skip
        self._objects = objects
        self._subscriptions = subscriptions
        self._kept = kept
        self._may_write = config["allow_writes"]
        self._password = config["password"].encode()
        self._device = device
        self._uptime_s = uptime_s
        self._events = events
        self._reader = Reader()
        self.communication = _ENABLE
        self._enabled_at_s: "int | None" = None

    def tick(self) -> None:
        """Once a second: what DeviceCommunicationControl has switched off for a time is on again after it."""
        if self._enabled_at_s is not None and self._uptime_s() >= self._enabled_at_s:
            self.communication = _ENABLE
            self._enabled_at_s = None

    def may_answer(self, service: int) -> bool:
        """Whether a request for that confirmed service is answered, 16.1; of unconfirmed ones with service -1."""
        return self.communication != DISABLE or service in (DEVICE_COMMUNICATION_CONTROL, REINITIALIZE_DEVICE)

    def may_initiate(self) -> bool:
        """Whether the device may send what nobody has asked for."""
        return self.communication == _ENABLE

    def serve(self, apdu: "Apdu", data: bytes, out: "Writer", peer: "Any", route: bytes) -> int:
        """Carries out the request whose header is `apdu` and whose parameters lie in `data`, of the client at `peer`
        and `route`. Returns SIMPLE; or 0, and the content of a ComplexACK is in `out`; or an error (bacnet.apdu).
        Raises Malformed, TooLong. What has a ComplexACK changes nothing, and may be served again for another window of
        `out`."""
        reader = self._reader
        reader.start(data, apdu.content_at)
        service = apdu.service
        if service == READ_PROPERTY:
            return self._read_property(reader, out)
        if service == READ_PROPERTY_MULTIPLE:
            return self._read_properties(reader, out)
        if service == SUBSCRIBE_COV:
            return self._subscribe(reader, peer, route)
        if service == WRITE_PROPERTY:
            return self._write_property(reader)
        if service == DEVICE_COMMUNICATION_CONTROL:
            return self._control_communication(reader)
        if service == REINITIALIZE_DEVICE:
            return self._reinitialize(reader)
        raise Malformed(UNRECOGNIZED_SERVICE)

    def _read_property(self, reader, out):
        """15.5."""
        objects = self._objects
        reader.take(_TAG_0)
        reader.object()
        reader.take(_TAG_1)
        number = reader.unsigned()
        index = reader.unsigned() if reader.skips(_TAG_2) else NO_INDEX
        reader.finish()
        if not objects.find(reader.type, reader.instance):
            return UNKNOWN_OBJECT
        error = objects.error_of(number, index)
        if error:
            return error
        out.object(_TAG_0, objects.type, objects.object_instance())
        out.unsigned(_TAG_1, number)
        if index != NO_INDEX:
            out.unsigned(_TAG_2, index)
        out.mark(_OPENING_3)
        objects.write(out, number, index)
        out.mark(_CLOSING_3)
        return 0

    def _read_properties(self, reader, out):
        """ReadPropertyMultiple, 15.7. What cannot be read has an error in its place."""
        objects = self._objects
        if reader.at == len(reader.data):
            raise Malformed(MISSING_REQUIRED_PARAMETER)
        while True:
            self._read_present_values(reader, out)
            tag = reader.next()
            if tag == END:
                return 0
            if tag != _TAG_0:
                raise Malformed(MISSING_REQUIRED_PARAMETER)
            reader.object()
            is_found = objects.find(reader.type, reader.instance)
            out.object(_TAG_0, reader.type, objects.instance if is_found and reader.type == DEVICE else reader.instance)
            reader.take(_OPENING_1)
            out.mark(_OPENING_1)
            reader.take(_TAG_0)  # at least one
            while True:
                number = reader.unsigned()
                index = reader.unsigned() if reader.skips(_TAG_1) else NO_INDEX
                self._add(out, number, index, is_found)
                if reader.skips(_CLOSING_1):
                    break
                reader.take(_TAG_0)
            out.mark(_CLOSING_1)

    def _read_present_values(self, reader, out):
        """Present_Value of Analog Inputs, as long as nothing else is wanted: a tenth of the work, and no allocation."""
        objects = self._objects
        data = reader.data
        at = reader.at
        buf = out.buf
        begin = end = out.next_at()
        last = begin + out.room() - RESULT_LENGTH
        tables = objects.tables
        while end <= last:
            instance = begin_result(buf, end, data, at)
            real_at = end + RESULT_REAL_AT
            # A method's call is a third of the whole: it is for what put_plain() cannot do.
            if put_plain(tables, instance, buf, real_at) != WRITTEN and not objects.put_present_value(
                instance, buf, real_at
            ):
                break
            at += REFERENCE_LENGTH
            end += RESULT_LENGTH
        reader.at = at
        out.written(end - begin)

    def _add(self, out, number, index, is_found):
        """Adds one of the results that a property reference of ReadPropertyMultiple asks for, or many."""
        objects = self._objects
        if not is_found:
            _add_error(out, number, index, UNKNOWN_OBJECT)
            return
        if number not in (ALL, REQUIRED, OPTIONAL):
            self._add_one(out, number, index)
            return
        if number != OPTIONAL:
            for each in objects.required():
                self._add_one(out, each, NO_INDEX)
        if number != REQUIRED:
            for each in objects.optional():
                self._add_one(out, each, NO_INDEX)

    def _add_one(self, out, number, index):
        error = self._objects.error_of(number, index)
        if error:
            _add_error(out, number, index, error)
            return
        _add_reference(out, number, index)
        out.mark(_OPENING_4)
        self._objects.write(out, number, index)
        out.mark(_CLOSING_4)

    def _subscribe(self, reader, peer, route):
        """SubscribeCOV, 13.14. Without the last two parameters it cancels."""
        objects = self._objects
        reader.take(_TAG_0)
        process_id = reader.unsigned()
        reader.take(_TAG_1)
        reader.object()
        is_cancelled = not reader.skips(_TAG_2)
        is_confirmed = not is_cancelled and reader.unsigned() != 0
        lifetime_s = None
        if reader.skips(_TAG_3):
            lifetime_s = reader.unsigned()
            if is_cancelled:
                raise Malformed(MISSING_REQUIRED_PARAMETER)
        reader.finish()
        if not objects.find(reader.type, reader.instance):
            return UNKNOWN_OBJECT
        if is_cancelled:
            self._subscriptions.cancel(peer, route, process_id)
            return SIMPLE
        if lifetime_s is not None and lifetime_s > _LIFETIME_MAX_S:
            return LIFETIME_OUT_OF_RANGE
        return self._subscriptions.subscribe(peer, route, process_id, is_confirmed, lifetime_s) or SIMPLE

    def _write_property(self, reader):
        """15.9. Texts of the Device and COV_Increment of points; a priority, which only commandable objects have, says
        nothing here."""
        objects = self._objects
        reader.take(_TAG_0)
        reader.object()
        reader.take(_TAG_1)
        number = reader.unsigned()
        index = reader.unsigned() if reader.skips(_TAG_2) else NO_INDEX
        reader.take(_OPENING_3)
        tag = reader.next()
        if not objects.find(reader.type, reader.instance):
            return UNKNOWN_OBJECT
        error = objects.error_of(number, index)
        if error:
            return error
        is_text = objects.type == DEVICE and number in (OBJECT_NAME, DESCRIPTION, LOCATION)
        if not self._may_write or not is_text and number != COV_INCREMENT:
            return WRITE_ACCESS_DENIED
        error = self._write_text(reader, tag, number) if is_text else self._write_increment(reader, tag)
        return error or SIMPLE

    def _write_text(self, reader, tag, number):
        objects = self._objects
        if tag != CHARACTERS:
            return INVALID_DATA_TYPE
        text = reader.text()
        _finish_value(reader)
        if text is None:
            return CHARACTER_SET_NOT_SUPPORTED
        if len(text) > _TEXT_MAX:
            return NO_SPACE_TO_WRITE
        if not is_utf8(text) or number == OBJECT_NAME and not text:
            return VALUE_OUT_OF_RANGE
        if number == DESCRIPTION:
            objects.description = text
        elif number == LOCATION:
            objects.location = text
        elif objects.find_name(text) and objects.type != DEVICE:
            return DUPLICATE_NAME
        elif objects.name != text:
            objects.name = text
            objects.revision += 1
        self._kept.changed()
        return 0

    def _write_increment(self, reader, tag):
        objects = self._objects
        if tag != (REAL if objects.type == ANALOG_INPUT else DOUBLE):
            return INVALID_DATA_TYPE
        increment = reader.number()
        _finish_value(reader)
        if not 0 <= increment < _INCREMENT_MAX:
            return VALUE_OUT_OF_RANGE
        objects.increments[objects.point_id] = increment if tag == REAL else increment / 1000
        self._kept.changed()
        return 0

    def _control_communication(self, reader):
        """DeviceCommunicationControl, 16.1."""
        minutes = reader.unsigned() if reader.skips(_TAG_0) else 0
        reader.take(_TAG_1)
        state = reader.unsigned()
        if not self._is_password(reader, _TAG_2):
            return PASSWORD_FAILURE
        if state > _DISABLE_INITIATION:
            raise Malformed(UNDEFINED_ENUMERATION)
        self.communication = state
        self._enabled_at_s = self._uptime_s() + 60 * minutes if minutes and state != _ENABLE else None
        switched = ("on", "off", "off but for answers")[state]
        self._events.add("bacnet", "a client has switched communication " + switched)
        return SIMPLE

    def _reinitialize(self, reader):
        """ReinitializeDevice, 16.4: restarts the device, cold or warm."""
        reader.take(_TAG_0)
        state = reader.unsigned()
        if not self._is_password(reader, _TAG_1):
            return PASSWORD_FAILURE
        if state > _STATES:
            raise Malformed(UNDEFINED_ENUMERATION)
        if state > _WARM_START:
            return SERVICE_NOT_SUPPORTED
        self._events.add("bacnet", "a client restarts the device")
        self._kept.close()
        self._device.reboot()
        return SIMPLE

    def _is_password(self, reader, tag):
        """Whether the parameter `tag`, the last, is the password of the configuration. An empty one never is."""
        given = reader.text() if reader.skips(tag) else b""
        reader.finish()
        return bool(self._password) and given == self._password


def _finish_value(reader):
    """Reads what follows the value of WriteProperty: the closing tag, and perhaps a priority of 1 to 16."""
    reader.take(_CLOSING_3)
    if reader.skips(_TAG_4) and not 1 <= reader.unsigned() <= 16:
        raise Malformed(PARAMETER_OUT_OF_RANGE)
    reader.finish()


def is_utf8(text: bytes) -> bool:
    """Whether that is UTF-8."""
    try:
        text.decode()
    except ValueError:
        return False
    return True


def _add_reference(out, number, index):
    out.unsigned(_TAG_2, number)
    if index != NO_INDEX:
        out.unsigned(_TAG_3, index)


def _add_error(out, number, index, error):
    _add_reference(out, number, index)
    out.mark(_OPENING_5)
    out.error(error)
    out.mark(_CLOSING_5)
