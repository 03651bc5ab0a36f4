"""The cryptography of the page, in the browser itself, by the test vectors of its standards."""

import hashlib
import hmac

import pytest

from tools.page import ROOT, SOURCES


@pytest.fixture(scope="module")
def page(browser):
    """A page with the scripts alone, and helpers that take and give hexadecimal digits."""
    page = browser.new_page()
    for name in ("texts.js", "sha256.js", "session.js"):
        page.add_script_tag(path=ROOT / SOURCES / name)
    yield page
    page.close()


def call(page, name, *arguments):
    """The result of a function of the page, in hexadecimal digits; bytes go in as such."""
    given = [value.hex() if isinstance(value, bytes) else value for value in arguments]
    script = "([name, given]) => hex(eval(name)(...given.map(one => typeof one === 'string' ? unhex(one) : one)))"
    return page.evaluate(script, [name, given])


@pytest.mark.parametrize("length", [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000])
def test_sha256_is_that_of_the_library_at_every_padding(page, length):
    data = bytes(k * 7 & 255 for k in range(length))

    assert call(page, "sha256", data) == hashlib.sha256(data).hexdigest()


def test_sha256_of_the_examples_of_fips_180(page):
    two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"

    assert call(page, "sha256", b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert call(page, "sha256", two_blocks) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"


RFC_4231 = (
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
        b"hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
)


@pytest.mark.parametrize(("key", "data", "digest"), RFC_4231)
def test_hmac_of_rfc_4231(page, key, data, digest):
    assert call(page, "hmac", key, data) == digest


# RFC 7914, 11, and the vectors that go with RFC 6070's passwords; the first 32 bytes of each.
PBKDF2 = (
    (b"passwd", b"salt", 1, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
    (b"password", b"salt", 2, "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43"),
    (b"password", b"salt", 4096, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"),
)


@pytest.mark.parametrize(("password", "salt", "iterations", "key"), PBKDF2)
def test_pbkdf2_of_the_published_vectors(page, password, salt, iterations, key):
    assert call(page, "pbkdf2", password, salt, iterations) == key


def test_pbkdf2_of_passwords_longer_than_a_block(page):
    password, salt = b"p" * 200, b"s" * 100

    assert call(page, "pbkdf2", password, salt, 3) == hashlib.pbkdf2_hmac("sha256", password, salt, 3).hex()


# RFC 7677, 3: user "user", password "pencil". Its authentication message is longer than ours; the rest is the same.
SALT = "5b6d99689d12358eeca04b141236fa81"
MESSAGE = (
    "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)


def test_scram_of_the_example_of_rfc_7677(page):
    proof, signature = page.evaluate(
        """([salt, message]) => {
          const keys = keysOf("pencil", salt, 4096);
          return [xor(keys.client, hmac(keys.stored, utf8(message))), hmac(keys.server, utf8(message))]
            .map(bytes => btoa(String.fromCharCode(...bytes)));
        }""",
        [SALT, MESSAGE],
    )

    assert proof == "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert signature == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_proof_is_over_both_nonces_and_never_the_same_twice(page):
    one, two = page.evaluate("[1, 2].map(() => proofOf(keysOf('pencil', '00ff', 4096), 'abcd'))")

    assert one["fields"]["client_nonce"] != two["fields"]["client_nonce"]
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"\x00\xff", 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    message = f"{one['fields']['client_nonce']},abcd".encode()
    mask = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    assert bytes.fromhex(one["fields"]["proof"]) == bytes(a ^ b for a, b in zip(client_key, mask, strict=True))
    assert one["signature"] == hmac.new(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256").hexdigest()


def test_a_password_is_the_same_however_its_letters_are_composed(page):
    stored = page.evaluate("['caf\\u00e9', 'cafe\\u0301', 'cafe'].map(text => hex(keysOf(text, '00', 4096).stored))")

    assert stored[0] == stored[1] != stored[2]


@pytest.mark.parametrize("iterations", [0, 1, 4095, 65537, 1e9, "null"])
def test_a_device_that_asks_for_a_cheap_or_an_endless_derivation_gets_nothing(page, iterations):
    said = page.evaluate(
        f"(() => {{ try {{ keysOf('pencil', '00', {iterations}); }} catch (error) {{ return error.message; }} }})()"
    )

    assert said is not None
    assert said.startswith("the device asks for")
