"""ed25519: the vectors of RFC 8032, 7.1, and what must not verify."""

from binascii import unhexlify

import ed25519

# Public key, signature, message of tests 1 to 3.
VECTORS = [
    [unhexlify(part) for part in parts]
    for parts in (
        (
            b"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            b"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
            b"24655141438e7a100b",
            b"",
        ),
        (
            b"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            b"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
            b"eeb00d291612bb0c00",
            b"72",
        ),
        (
            b"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            b"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
            b"8dc027beceea1ec40a",
            b"af82",
        ),
    )
]
ORDER = 0x1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED
PRIME = (1 << 255) - 19


def verified(key, signature, message):
    """(the result, steps)."""
    generator = ed25519.verify(key, signature, message)
    steps = 0
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value, steps
        steps += 1


def test_rfc_8032_tests_1_to_3():
    for key, signature, message in VECTORS:
        assert verified(key, signature, message)[0] is True


def test_another_message_key_or_signature_is_refused():
    for key, signature, message in VECTORS:
        assert verified(key, signature, message + b"\0")[0] is False
        assert verified(VECTORS[0][0], VECTORS[1][1], message)[0] is False
        for at in (0, 31, 32, 40):
            changed = bytearray(signature)
            changed[at] ^= 1
            assert verified(key, bytes(changed), message)[0] is False


def test_the_second_form_of_a_signature_is_refused():
    # s + L gives the same point: RFC 8032, 5.1.7, wants s below L.
    key, signature, message = VECTORS[1]
    s = int.from_bytes(signature[32:], "little") + ORDER
    assert verified(key, signature[:32] + s.to_bytes(32, "little"), message) == (False, 0)


def test_what_is_no_point_is_no_key():
    _, signature, message = VECTORS[1]
    # y beyond the field; y without an x; x = 0 with a sign
    for y in (PRIME, PRIME + 1, 2, 1 | 1 << 255):
        assert verified(y.to_bytes(32, "little"), signature, message)[0] is False


def test_lengths_are_checked_first():
    key, signature, message = VECTORS[1]
    for wrong in ((key[1:], signature), (key + b"\0", signature), (key, signature[1:]), (key, b"")):
        assert verified(wrong[0], wrong[1], message) == (False, 0)


def test_it_goes_in_hundreds_of_steps():
    key, signature, message = VECTORS[2]
    assert 400 < verified(key, signature, message)[1] < 600
