"""Application layer: headers of APDUs (ASHRAE 135-2012, 20.1), and the numbers of services, errors and reasons (21)."""

from micropython import const

# PDU types, in the upper half of the first byte
CONFIRMED_REQUEST = const(0x00)
UNCONFIRMED_REQUEST = const(0x10)
SIMPLE_ACK = const(0x20)
COMPLEX_ACK = const(0x30)
SEGMENT_ACK = const(0x40)
ERROR = const(0x50)
REJECT = const(0x60)
ABORT = const(0x70)

# Confirmed services
CONFIRMED_COV_NOTIFICATION = const(1)
SUBSCRIBE_COV = const(5)
READ_PROPERTY = const(12)
READ_PROPERTY_MULTIPLE = const(14)
WRITE_PROPERTY = const(15)
DEVICE_COMMUNICATION_CONTROL = const(17)
REINITIALIZE_DEVICE = const(20)
# Unconfirmed services
I_AM = const(0)
I_HAVE = const(1)
UNCONFIRMED_COV_NOTIFICATION = const(2)
TIME_SYNCHRONIZATION = const(6)
WHO_HAS = const(7)
WHO_IS = const(8)
UTC_TIME_SYNCHRONIZATION = const(9)

# Errors: class << 8 | code
UNKNOWN_OBJECT = const(0x011F)
NO_COV_FOR_OBJECT = const(0x012D)  # object, optional-functionality-not-supported
UNKNOWN_PROPERTY = const(0x0220)
INVALID_ARRAY_INDEX = const(0x022A)
NOT_AN_ARRAY = const(0x0232)
VALUE_OUT_OF_RANGE = const(0x0225)
INVALID_DATA_TYPE = const(0x0209)
WRITE_ACCESS_DENIED = const(0x0228)
CHARACTER_SET_NOT_SUPPORTED = const(0x0229)
DUPLICATE_NAME = const(0x0230)
NO_SPACE_FOR_SUBSCRIPTION = const(0x0313)  # resources, no-space-to-add-list-element
NO_SPACE_TO_WRITE = const(0x0314)
PASSWORD_FAILURE = const(0x041A)
LIFETIME_OUT_OF_RANGE = const(0x0525)  # services, value-out-of-range
SERVICE_NOT_SUPPORTED = const(0x052D)  # services, optional-functionality-not-supported

# Reasons of a reject, 18.9
INCONSISTENT_PARAMETERS = const(2)
INVALID_TAG = const(4)
MISSING_REQUIRED_PARAMETER = const(5)
PARAMETER_OUT_OF_RANGE = const(6)
TOO_MANY_ARGUMENTS = const(7)
UNDEFINED_ENUMERATION = const(8)
UNRECOGNIZED_SERVICE = const(9)

# Reasons of an abort, 18.10
OTHER = const(0)
BUFFER_OVERFLOW = const(1)
INVALID_APDU_IN_THIS_STATE = const(2)
SEGMENTATION_NOT_SUPPORTED = const(4)
OUT_OF_RESOURCES = const(9)

_SEGMENTED = const(8)
_MORE_FOLLOWS = const(4)
_SEGMENTS_ACCEPTED = const(2)
_NEGATIVE = const(2)
_FROM_SERVER = const(1)
_MAX_APDU = (50, 128, 206, 480, 1024, 1476)  # 20.1.2.5
_SEGMENTS_UNKNOWN = const(2)  # what a client that does not say takes for sure


class Apdu:
    """The header of the APDU that was read last.

    kind            of the PDU types above
    invoke_id       0 to 255, of all kinds but unconfirmed requests
    service         number of the service; of a reject or an abort its reason
    content_at      where the parameters of the service begin
    is_segmented    the request is a part of a longer one
    takes_segments  the client takes a segmented answer,
    max_segments    of this many segments
    max_apdu        bytes of the longest APDU that the client takes
    is_from_server  of an ABORT: it answers a request of ours
    is_negative     of a SEGMENT_ACK: segments behind `sequence` have been lost
    sequence        of a SEGMENT_ACK: the last segment that has come
    window          of a SEGMENT_ACK: how many segments may be on the way"""

    def __init__(self) -> None:
        self.kind = self.invoke_id = self.service = self.content_at = 0
        self.max_apdu = self.max_segments = self.sequence = self.window = 0
        self.is_segmented = self.takes_segments = self.is_negative = self.is_from_server = False

    def parse(self, data: bytes, at: int) -> bool:
        """Reads the header at data[at:]. False when it is no APDU for a server or is too short."""
        n = len(data) - at
        if n < 2:
            return False
        first = data[at]
        self.kind = kind = first & 0xF0
        if kind == UNCONFIRMED_REQUEST:
            self.service = data[at + 1]
            self.content_at = at + 2
            return True
        if kind == CONFIRMED_REQUEST:
            return self._parse_confirmed(data, at, n)
        if n < 3:
            return False
        self.invoke_id = data[at + 1]
        self.service = data[at + 2]
        self.is_from_server = bool(first & _FROM_SERVER)
        if kind == SEGMENT_ACK:
            if n < 4:
                return False
            self.is_negative = bool(first & _NEGATIVE)
            self.sequence = data[at + 2]
            self.window = data[at + 3]
            return not first & _FROM_SERVER
        return kind in (SIMPLE_ACK, ERROR, REJECT, ABORT)

    def _parse_confirmed(self, data: bytes, at: int, n: int) -> bool:
        first = data[at]
        self.is_segmented = bool(first & _SEGMENTED)
        if n < (6 if self.is_segmented else 4):
            return False
        self.takes_segments = bool(first & _SEGMENTS_ACCEPTED)
        sizes = data[at + 1]
        segments = sizes >> 4 & 7
        self.max_segments = 1 << segments if segments else _SEGMENTS_UNKNOWN
        self.max_apdu = _MAX_APDU[min(sizes & 0x0F, 5)]
        self.invoke_id = data[at + 2]
        self.content_at = at + (6 if self.is_segmented else 4)
        self.service = data[self.content_at - 1]
        return True


def write_confirmed(buf: bytearray, at: int, invoke_id: int, service: int) -> int:
    """Begins a confirmed request whose answer is short and not segmented. Returns where its parameters begin."""
    buf[at] = CONFIRMED_REQUEST
    buf[at + 1] = 0  # the answer may have 50 bytes, more than any simple ack or error
    buf[at + 2] = invoke_id
    buf[at + 3] = service
    return at + 4


def write_short(buf: bytearray, at: int, kind: int, invoke_id: int, service: int) -> int:
    """Writes what begins with three bytes: SIMPLE_ACK, COMPLEX_ACK or ERROR of a service, REJECT or ABORT with a
    reason. Returns where it ends, or where the content begins."""
    buf[at] = kind | (_FROM_SERVER if kind == ABORT else 0)
    buf[at + 1] = invoke_id
    buf[at + 2] = service
    return at + 3


def write_unconfirmed(buf: bytearray, at: int, service: int) -> int:
    """Begins an unconfirmed request. Returns where its parameters begin."""
    buf[at] = UNCONFIRMED_REQUEST
    buf[at + 1] = service
    return at + 2


def write_segment(
    buf: bytearray, at: int, invoke_id: int, service: int, sequence: int, window: int, is_last: bool
) -> int:
    """Begins a segment of a COMPLEX_ACK. Returns where its part of the content begins."""
    buf[at] = COMPLEX_ACK | _SEGMENTED | (0 if is_last else _MORE_FOLLOWS)
    buf[at + 1] = invoke_id
    buf[at + 2] = sequence & 0xFF
    buf[at + 3] = window
    buf[at + 4] = service
    return at + 5
