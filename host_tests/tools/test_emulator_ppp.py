"""The far end of the emulated chip's PPP link: framing against RFC 1662, negotiation against RFC 1661 and RFC 1332."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.emulator import ppp

OWN, OTHER = "10.0.2.2", "10.0.2.15"


class FarEnd:
    """A Peer with everything that it sends, unpacked."""

    def __init__(self):
        self.packets = []
        self._line = bytearray()
        self.peer = ppp.Peer(OWN, OTHER, self._line.extend, self.packets.append)
        self._deframer = ppp.Deframer()

    def tell(self, protocol, code, identifier, data=b""):
        """Sends one control packet and returns the answers as (protocol, code, identifier, data)."""
        self.peer.feed(ppp.frame(protocol, struct.pack(">BBH", code, identifier, 4 + len(data)) + data))
        return self.said()

    def said(self):
        found = []
        for protocol, payload in self._deframer.feed(bytes(self._line)):
            code, identifier, length = struct.unpack(">BBH", payload[:4])
            assert length == len(payload)
            found.append((protocol, code, identifier, payload[4:]))
        self._line.clear()
        return found

    def open_lcp(self):
        asked = bytes.fromhex("0206000000000506deadbeef")  # no escapes, a magic number
        answers = self.tell(ppp.LCP, ppp.CONFIGURE_REQUEST, 1, asked)
        assert answers[0] == (ppp.LCP, ppp.CONFIGURE_ACK, 1, asked)
        assert answers[1][:2] == (ppp.LCP, ppp.CONFIGURE_REQUEST)
        assert self.tell(ppp.LCP, ppp.CONFIGURE_ACK, answers[1][2], answers[1][3]) == []

    def open_ipcp(self):
        address = b"\x03\x06" + socket.inet_aton(OTHER)
        answers = self.tell(ppp.IPCP, ppp.CONFIGURE_REQUEST, 2, address)
        assert answers[0] == (ppp.IPCP, ppp.CONFIGURE_ACK, 2, address)
        assert answers[1] == (ppp.IPCP, ppp.CONFIGURE_REQUEST, 1, b"\x03\x06" + socket.inet_aton(OWN))
        assert not self.peer.up
        assert self.tell(ppp.IPCP, ppp.CONFIGURE_ACK, 1, answers[1][3]) == []


@pytest.fixture
def end():
    return FarEnd()


def test_the_fcs_is_that_of_the_check_string():
    # CRC-16/X-25 of "123456789", as every catalogue of CRCs gives it
    assert ppp.fcs16(b"123456789") ^ 0xFFFF == 0x906E


def test_a_frame_looks_as_in_rfc_1662():
    assert ppp.frame(ppp.IPV4, b"\x7e\x41") == b"\x7e\xff\x7d\x23\x7d\x20\x21\x7d\x5e\x41" + _escaped_fcs(
        b"\xff\x03\x00\x21\x7e\x41"
    )


def _escaped_fcs(body):
    fcs = 0xFFFF
    for byte in body:  # RFC 1662, appendix C, bit by bit
        fcs ^= byte
        for _ in range(8):
            fcs = (fcs >> 1) ^ 0x8408 if fcs & 1 else fcs >> 1
    raw = struct.pack("<H", fcs ^ 0xFFFF)
    return b"".join(bytes((0x7D, b ^ 0x20)) if b < 0x20 or b in (0x7D, 0x7E) else bytes((b,)) for b in raw) + b"\x7e"


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 60))
def test_packets_come_out_as_they_went_in_however_the_line_cuts_them(packets, piece):
    line = b"".join(ppp.frame(ppp.IPV4, packet) for packet in packets)
    deframer = ppp.Deframer()
    found = [packet for at in range(0, len(line), piece) for packet in deframer.feed(line[at : at + piece])]
    assert found == [(ppp.IPV4, packet) for packet in packets]
    assert deframer.bad == 0


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_flipped_bit_is_never_taken_for_a_packet(payload, data):
    line = bytearray(ppp.frame(ppp.IPV4, payload))
    at = data.draw(st.integers(1, len(line) - 2))
    line[at] ^= 1 << data.draw(st.integers(0, 7))
    assert (ppp.IPV4, payload) not in list(ppp.Deframer().feed(bytes(line)))


def test_noise_before_a_frame_costs_that_noise_only():
    deframer = ppp.Deframer()
    assert list(deframer.feed(b"\x00garbage" + ppp.frame(ppp.IPV4, b"x"))) == [(ppp.IPV4, b"x")]
    assert deframer.bad == 1


def test_a_line_without_flags_does_not_fill_the_memory():
    deframer = ppp.Deframer()
    for _ in range(100):
        assert list(deframer.feed(b"x" * 1000)) == []
    assert deframer.bad >= 20
    assert [*deframer.feed(b"\x7e"), *deframer.feed(ppp.frame(ppp.IPV4, b"y"))] == [(ppp.IPV4, b"y")]


def test_compressed_headers_are_understood():
    body = b"\x21" + b"packet"  # neither address and control, nor the protocol's high byte
    body += struct.pack("<H", ppp.fcs16(body) ^ 0xFFFF)
    assert list(ppp.Deframer().feed(b"\x7e" + body.replace(b"\x7e", b"\x7d\x5e") + b"\x7e")) == [(0x21, b"packet")]


def test_the_link_comes_up_and_carries_packets_both_ways(end):
    assert not end.peer.packet(b"too early")
    end.open_lcp()
    end.open_ipcp()
    assert end.peer.up
    assert end.peer.ups == 1
    end.peer.feed(ppp.frame(ppp.IPV4, b"from the chip"))
    assert end.packets == [b"from the chip"]
    assert end.peer.packet(b"to the chip")


def test_the_other_end_is_told_its_address(end):
    end.open_lcp()
    answers = end.tell(ppp.IPCP, ppp.CONFIGURE_REQUEST, 7, b"\x03\x06\0\0\0\0")
    assert answers[0] == (ppp.IPCP, ppp.CONFIGURE_NAK, 7, b"\x03\x06" + socket.inet_aton(OTHER))
    assert not end.peer.up


def test_what_is_not_spoken_is_refused(end):
    authentication = b"\x03\x04\xc0\x23"
    answers = end.tell(ppp.LCP, ppp.CONFIGURE_REQUEST, 3, b"\x02\x06\0\0\0\0" + authentication)
    assert answers == [(ppp.LCP, ppp.CONFIGURE_REJECT, 3, authentication)]
    end.open_lcp()
    dns = b"\x81\x06\0\0\0\0"
    assert end.tell(ppp.IPCP, ppp.CONFIGURE_REQUEST, 4, dns) == [(ppp.IPCP, ppp.CONFIGURE_REJECT, 4, dns)]
    ((protocol, code, _, data),) = end.tell(0x8057, ppp.CONFIGURE_REQUEST, 1)  # IPv6
    assert (protocol, code, data[:2]) == (ppp.LCP, ppp.PROTOCOL_REJECT, b"\x80\x57")


def test_ipcp_waits_for_lcp(end):
    assert end.tell(ppp.IPCP, ppp.CONFIGURE_REQUEST, 1, b"\x03\x06" + socket.inet_aton(OTHER)) == []


def test_a_chip_that_was_reset_negotiates_anew(end):
    for times in (1, 2, 3):
        end.open_lcp()
        assert not end.peer.up
        end.open_ipcp()
        assert end.peer.ups == times


def test_a_terminated_link_is_down(end):
    end.open_lcp()
    end.open_ipcp()
    assert end.tell(ppp.LCP, ppp.TERMINATE_REQUEST, 9) == [(ppp.LCP, ppp.TERMINATE_ACK, 9, b"")]
    assert not end.peer.up


def test_echo_requests_are_answered_with_our_own_magic_number(end):
    end.open_lcp()
    answers = end.tell(ppp.LCP, ppp.ECHO_REQUEST, 5, b"\xde\xad\xbe\xefdata")
    assert answers == [(ppp.LCP, ppp.ECHO_REPLY, 5, b"\0\0\0\0data")]


@given(st.binary(max_size=64))
def test_no_control_packet_breaks_the_peer(payload):
    end = FarEnd()
    for protocol in (ppp.LCP, ppp.IPCP, 0xC023):
        end.peer.feed(ppp.frame(protocol, payload))
    assert not end.peer.up
    end.said()
    end.open_lcp()
