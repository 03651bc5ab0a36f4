"""improv: packets among other bytes, and Ctrl-C among packets (Improv Wi-Fi, Serial)."""

import improv
from expect import prefixes, raises

# The state "ready"
READY = b"IMPROV\x01\x01\x01\x02" + bytes([(sum(b"IMPROV") + 5) & 0xFF]) + b"\n"


def fed(data, receiver=None):
    """[(event, kind, data)] of what is no NOTHING."""
    receiver = receiver or improv.Receiver()
    found = []
    for byte in data:
        event = receiver.feed(byte)
        if event != improv.NOTHING:
            found.append((event, receiver.kind, receiver.data))
    return found


def rpc(data):
    return improv.packet(improv.RPC, data)


def test_a_packet_is_what_the_specification_says():
    assert improv.packet(improv.STATE, b"\x02") == READY
    assert fed(READY) == [(improv.PACKET, 1, b"\x02")]


def test_an_rpc_packet_holds_no_ctrl_c():
    packet = rpc(b"\x03\x00")  # get the information: both bytes 3 are none
    assert packet.count(b"\x03") == 2
    assert fed(packet) == [(improv.PACKET, 3, b"\x03\x00")]


def test_a_ctrl_c_outside_a_packet_is_one():
    assert fed(b"\r\x03") == [(improv.CTRL_C, 0, b"")]
    assert [event for event, _, _ in fed(b"IMPR\x03" + READY + b"\x03\x03")] == [
        improv.CTRL_C, improv.PACKET, improv.CTRL_C, improv.CTRL_C,
    ]  # fmt: skip


def test_packets_are_found_in_any_pieces_and_among_other_bytes():
    noise = b"[12] link: up IMPRO IIMPROV"  # ends in a second beginning
    assert fed(noise[:-6] + READY)[-1:] == [(improv.PACKET, 1, b"\x02")]
    assert fed(b"I" + READY) == [(improv.PACKET, 1, b"\x02")]
    for before in prefixes(READY[:-2]):
        assert fed(before) == []


def test_a_wrong_sum_is_told_and_the_next_packet_is_taken():
    broken = bytearray(READY)
    broken[-2] ^= 1
    assert [event for event, _, _ in fed(bytes(broken) + READY)] == [improv.BROKEN, improv.PACKET]


def test_the_rest_of_a_packet_that_does_not_come_can_be_dropped():
    receiver = improv.Receiver()
    fed(rpc(b"\x02\x00")[:9], receiver)
    assert receiver.is_within()
    receiver.drop()
    assert not receiver.is_within()
    assert fed(b"\x03", receiver) == [(improv.CTRL_C, 0, b"")]


def test_a_packet_of_any_length_is_taken_and_none_is_longer():
    for n in (0, 1, 254, 255):
        assert fed(rpc(b"\x03" * n)) == [(improv.PACKET, 3, b"\x03" * n)]
    raises(ValueError, rpc, bytes(256))
    raises(ValueError, improv.result, 1, ("x" * 253,))
    raises(ValueError, improv.result, 1, ("x" * 256,))


def test_credentials_are_those_of_the_document():
    data = b"\x01\x1e\x0cMyWirelessAP\x10mysecurepassword"
    assert improv.command(data) == (improv.WIFI, data[2:])
    assert improv.credentials(data[2:]) == (b"MyWirelessAP", b"mysecurepassword")
    assert improv.credentials(b"\x01a\x00") == (b"a", b"")
    for cut in prefixes(data[2:]):
        raises(ValueError, improv.credentials, cut)
    for cut in prefixes(data):
        raises(ValueError, improv.command, cut)


def test_a_result_lists_texts():
    assert fed(improv.result(4, ("plant", "-61", b"YES"))) == [
        (improv.PACKET, 4, b"\x04\x0e\x05plant\x03-61\x03YES")
    ]  # fmt: skip
    assert fed(improv.result(4, ())) == [(improv.PACKET, 4, b"\x04\x00")]
