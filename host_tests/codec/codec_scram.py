"""scram: HMAC-SHA-256 with the vectors of RFC 4231, and the exchange of RFC 7677, 3."""

import hashlib
from binascii import a2b_base64, hexlify, unhexlify

import scram

# RFC 7677, 3: user "user", password "pencil"
SALT = a2b_base64("W22ZaJ0SNY7soEsUEjb6gQ==")
ITERATIONS = 4096
MESSAGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
PROOF = a2b_base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
SIGNATURE = a2b_base64("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def pbkdf2(password, salt, iterations):
    """RFC 8018 5.2, one block: what the client does."""
    u = scram.hmac(password, salt + b"\0\0\0\1")
    total = int.from_bytes(u, "big")
    for _ in range(iterations - 1):
        u = scram.hmac(password, u)
        total ^= int.from_bytes(u, "big")
    return total.to_bytes(32, "big")


def keys():
    # Of "pencil" with the salt above; pbkdf2() is tried with fewer rounds, which take a while on a small machine.
    salted = unhexlify("c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d")
    stored = hashlib.sha256(scram.hmac(salted, b"Client Key")).digest()
    return stored, scram.hmac(salted, b"Server Key")


def check_hmac(key, data, wanted):
    assert hexlify(scram.hmac(key, data)) == wanted


def test_rfc_4231_case_1():
    check_hmac(b"\x0b" * 20, b"Hi There", b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")


def test_rfc_4231_case_2_a_short_key():
    check_hmac(
        b"Jefe", b"what do ya want for nothing?",
        b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    )  # fmt: skip


def test_rfc_4231_case_3():
    check_hmac(b"\xaa" * 20, b"\xdd" * 50, b"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe")


def test_rfc_4231_case_4():
    check_hmac(bytes(range(1, 26)), b"\xcd" * 50, b"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b")


def test_rfc_4231_case_6_a_key_longer_than_a_block():
    check_hmac(
        b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
        b"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    )  # fmt: skip


def test_rfc_4231_case_7_key_and_data_longer_than_a_block():
    check_hmac(
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
        b"hashed before being used by the HMAC algorithm.",
        b"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    )


def test_a_key_of_exactly_one_block_is_used_as_it_is():
    key = bytes(range(64))
    inner = hashlib.sha256(bytes([b ^ 0x36 for b in key]) + b"x").digest()
    assert scram.hmac(key, b"x") == hashlib.sha256(bytes([b ^ 0x5C for b in key]) + inner).digest()


def test_pbkdf2_of_rfc_7914_vector():
    # RFC 7914, 11: PBKDF2-HMAC-SHA-256("passwd", "salt", 1), its first 32 bytes
    assert hexlify(pbkdf2(b"passwd", b"salt", 1)) == b"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"


def test_the_exchange_of_rfc_7677():
    stored, server = keys()
    assert scram.proves(stored, MESSAGE, PROOF)
    assert scram.signature(server, MESSAGE) == SIGNATURE


def test_every_other_proof_and_every_other_message_is_refused():
    stored, _ = keys()
    for k in range(32):
        wrong = bytearray(PROOF)
        wrong[k] ^= 1 << k % 8
        assert not scram.proves(stored, MESSAGE, bytes(wrong))
    assert not scram.proves(stored, MESSAGE + b" ", PROOF)
    assert not scram.proves(bytes(32), MESSAGE, PROOF)


def test_a_proof_of_another_length_is_refused():
    stored, _ = keys()
    for proof in (b"", PROOF[:31], PROOF + b"\0", b"x" * 1000):
        assert not scram.proves(stored, MESSAGE, proof)


def test_equal_compares_all_of_it():
    assert scram.equal(b"", b"")
    assert scram.equal(b"abc", bytearray(b"abc"))
    for other in (b"", b"ab", b"abd", b"bbc", b"abcd"):
        assert not scram.equal(b"abc", other)
