"""The requests of the benchmarks, and what is a right answer to them.

A Question is bytes to send, a function that tells when its answer is whole, and one that looks at it and raises
WrongAnswer. Modbus TCP: MODBUS Messaging on TCP/IP Implementation Guide V1.0b. HTTP/1.1: RFC 9112. BACnet/IP: ASHRAE
135-2012.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tools.bench.tcp import Connection
from tools.past import INTERVAL_S, Past

CONNECT, PUBLISH = 1, 3  # kinds of MQTT's packets
CONNACK = b"\x20\x02\x00\x00"
MQTT_DIGITS = 4  # of a length
_REBIRTH = b"\x12\x1c\x0a\x14Node Control/Rebirth\x18\x01\x20\x0b\x70\x01"  # = true, a payload of Sparkplug B


class WrongAnswer(RuntimeError):
    """A server said what it should not."""


class Question(NamedTuple):
    """What is asked."""

    data: bytes
    whole: Callable[[Any], int]
    check: Callable[[bytes], None]


def read_adus(unit: int, function: int, first: int, values: Sequence[int]) -> tuple[bytes, bytes]:
    """A Modbus read of registers that hold these values, and the right answer to it."""
    count = len(values)
    data = struct.pack(">HHHBBHH", 0x4D50, 0, 6, unit, function, first, count)
    return data, struct.pack(f">HHHBBB{count}H", 0x4D50, 0, 3 + 2 * count, unit, function, 2 * count, *values)


def read(unit: int, function: int, first: int, values: Sequence[int]) -> Question:
    """A Modbus read of registers that hold these values."""
    data, right = read_adus(unit, function, first, values)

    def whole(connection: Connection) -> int:
        have = connection.received
        length = 6 + int.from_bytes(have[4:6], "big")
        return length if len(have) >= max(6, length) else 0

    def check(answer: bytes) -> None:
        if answer != right:
            raise WrongAnswer(f"Modbus: {data.hex()} was answered by {answer.hex()} instead of {right.hex()}")

    return Question(data, whole, check)


_BACNET_HEAD = bytes.fromhex("0104 0005 01")  # NPDU that expects a reply; confirmed request, 1476 bytes, invoke id 1
_PRESENT_VALUE = 85


def _bacnet(service: int, parameters: bytes, check_content: Callable[[bytes], None]) -> Question:
    """A confirmed request that is answered by a ComplexACK in one datagram."""
    body = _BACNET_HEAD + bytes([service]) + parameters
    head = bytes.fromhex("0100 3001") + bytes([service])

    def whole(sock: Any) -> int:
        return len(sock.received)

    def check(answer: bytes) -> None:
        if answer[:2] != b"\x81\x0a" or answer[2:4] != len(answer).to_bytes(2, "big") or answer[4:9] != head:
            raise WrongAnswer(f"BACnet: service {service} was answered by {answer.hex()}")
        check_content(answer[9:])

    return Question(b"\x81\x0a" + (4 + len(body)).to_bytes(2, "big") + body, whole, check)


def read_property(instance: int, value: float) -> Question:
    """BACnet's ReadProperty (15.5) of the Present_Value of an Analog Input."""
    asked = b"\x0c" + instance.to_bytes(4, "big") + bytes([0x19, _PRESENT_VALUE])
    return _bacnet(12, asked, _equals_real(asked + b"\x3e", value, b"\x3f"))


def read_properties(values: dict[int, float]) -> Question:
    """BACnet's ReadPropertyMultiple (15.7) of the Present_Value of each of these Analog Inputs: {instance: value}."""
    asked = [b"\x0c" + instance.to_bytes(4, "big") for instance in values]
    data = b"".join(one + bytes([0x1E, 0x09, _PRESENT_VALUE, 0x1F]) for one in asked)

    def check(content: bytes) -> None:
        size, rest = divmod(len(content), len(asked))
        if rest:
            raise WrongAnswer(f"BACnet: {content.hex()} has not one value for each of {len(asked)} objects")
        for k, (one, value) in enumerate(zip(asked, values.values(), strict=True)):
            begin = one + bytes([0x1E, 0x29, _PRESENT_VALUE, 0x4E])
            _equals_real(begin, value, b"\x4f\x1f")(content[k * size : (k + 1) * size])

    return _bacnet(14, data, check)


def object_list(found: list[int]) -> Question:
    """BACnet's ReadProperty of the Object_List: the instances of all Analog Inputs into `found`."""

    def check(content: bytes) -> None:
        items = struct.iter_unpack(">BI", content[content.index(b"\x3e") + 1 : -1])
        found.extend([identifier for _, identifier in items if identifier < 1 << 22])

    return _bacnet(12, bytes.fromhex("0c 023fffff 194c"), check)


def _equals_real(begin: bytes, value: float, end: bytes) -> Callable[[bytes], None]:
    """`begin`, a REAL near `value`, `end`."""

    def check(content: bytes) -> None:
        middle = content[len(begin) : len(begin) + 5]
        if content != begin + middle + end or middle[:1] != b"\x44":
            raise WrongAnswer(f"BACnet: {content.hex()} is no REAL between {begin.hex()} and {end.hex()}")
        if not math.isclose(struct.unpack(">f", middle[1:])[0], value, rel_tol=1e-5):
            raise WrongAnswer(f"BACnet: {content.hex()} instead of {value}")

    return check


def get(path: str, keep_alive: bool, check_body: Callable[[bytes], None]) -> Question:
    """A GET. Without keep_alive the server's end of the connection may be that of the answer."""
    lines = [f"GET {path} HTTP/1.1", "Host: 10.0.2.15", "User-Agent: bench", "Accept-Encoding: gzip"]
    lines += [] if keep_alive else ["Connection: close"]

    def whole(connection: Connection) -> int:
        return http_length(connection.received, connection.ended)

    def check(answer: bytes) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ")[1:2]
        if status != [b"200"]:
            raise WrongAnswer(f"GET {path}: {head[:80]!r}")
        check_body(unchunked(body) if _chunked(head) else body)

    return Question("".join(line + "\r\n" for line in [*lines, ""]).encode(), whole, check)


def _chunked(head: bytes) -> bool:
    return b"transfer-encoding: chunked" in head.lower()


def http_length(have: bytes | bytearray, ended: bool) -> int:
    """Length of the response at the front, 0 as long as it is not whole."""
    head_end = have.find(b"\r\n\r\n") + 4
    if head_end < 4:
        return 0
    for line in bytes(have[:head_end]).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = head_end + int(line.partition(b":")[2])
            return length if len(have) >= length else 0
    if _chunked(bytes(have[:head_end])):
        at = head_end
        while True:
            line_end = have.find(b"\r\n", at)
            if line_end < 0:
                return 0
            size = int(have[at:line_end], 16)
            at = line_end + 2 + size + 2
            if at > len(have):
                return 0
            if not size:
                return at
    return len(have) if ended else 0


def unchunked(body: bytes) -> bytes:
    """The content of a whole chunked body."""
    content = b""
    while True:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return content
        content, body = content + body[:size], body[size + 2 :]


def equals(right: bytes) -> Callable[[bytes], None]:
    """A body that must be this."""

    def check(body: bytes) -> None:
        if body != right:
            raise WrongAnswer(f"{len(body)} bytes that are not the {len(right)} of the page: {body[:60]!r}")

    return check


def rebirth(node: str) -> bytes:
    """A PUBLISH that asks a node of Sparkplug for its births."""
    topic = f"spBv1.0/meterport/NCMD/{node}".encode()
    return bytes((0x30, 2 + len(topic) + len(_REBIRTH), 0, len(topic))) + topic + _REBIRTH


def mqtt_packets(data: bytes | bytearray, kind: int) -> int:
    """How many packets of this kind (MQTT 3.1.1, 2.2.1) are there, whole. Raises WrongAnswer for what is none."""
    at = found = 0
    while at + 2 <= len(data):
        size, digits = 0, 1
        while data[at + digits] & 0x80:
            size |= (data[at + digits] & 0x7F) << 7 * (digits - 1)
            digits += 1
            if at + digits == len(data):
                return found
            if digits > MQTT_DIGITS:
                raise WrongAnswer(f"no packet of MQTT: {bytes(data[at : at + 8])!r}")
        size |= data[at + digits] << 7 * (digits - 1)
        if at + 1 + digits + size > len(data):
            break
        found += data[at] >> 4 == kind
        at += 1 + digits + size
    return found


def records(begin_s: int, end_s: int, past: Past) -> Question:
    """Records of begin_s <= time < end_s as CSV, of a device with that past."""
    right = "".join(line + "\r\n" for line in past.csv(begin_s, end_s)).encode()

    def check(body: bytes) -> None:
        found = body.partition(b"\r\n")[2]
        if found != right:
            raise WrongAnswer(f"records: {len(found)} bytes instead of {len(right)}: {found[:120]!r}")

    asked = get(f"/api/records?from={begin_s}&to={end_s}&format=csv", True, check)
    # Megabytes, which are not looked through from the front each time.
    return asked._replace(whole=lambda connection: _ended_length(connection.received))


def steps(begin_s: int, past: Past, slot: int, step_s: int) -> Question:
    """Records of one meter from begin_s on, one for each step, as the page asks for them."""
    right = []
    for end_s in range(begin_s + step_s, past.end_s + 1, step_s):
        powers = [past.power_w(slot, unix_s) for unix_s in range(end_s - step_s + INTERVAL_S, end_s + 1, INTERVAL_S)]
        mean = (2 * sum(powers) + len(powers)) // (2 * len(powers))
        right.append([end_s, None, past.energy_wh(slot, end_s), mean])

    def check(body: bytes) -> None:
        found = json.loads(body)["records"]
        if found != right:
            raise WrongAnswer(f"steps: {len(found)} instead of {len(right)}: {found[:2]}")

    return get(f"/api/records?meter={slot}&from={begin_s + 1}&every={step_s}", True, check)


def _ended_length(have: bytes | bytearray) -> int:
    return len(have) if have.endswith(b"\r\n0\r\n\r\n") else 0


def readings(meters: int) -> Callable[[bytes], None]:
    """A document of readings of this many meters, all of them good."""

    def check(body: bytes) -> None:
        try:
            found = json.loads(body)["meters"]
            qualities = {point["quality"] for meter in found for point in meter["points"]}
        except (ValueError, KeyError, TypeError) as error:
            raise WrongAnswer(f"readings: {error!r}: {body[:80]!r}") from error
        if len(found) != meters or qualities != {"good"}:
            raise WrongAnswer(f"readings: {len(found)} meters instead of {meters}, qualities {sorted(qualities)}")

    return check
