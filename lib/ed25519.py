"""Ed25519 signatures, verified in steps of some milliseconds, so that a loop goes on between two (RFC 8032, 5.1).

Plain Python on integers: MicroPython has neither Ed25519 nor SHA-512. It verifies and never signs, so nothing in it is
secret and no step has to take the same time for every number.
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Generator

    Point = tuple[int, int, int, int]
    Steps = Generator[None, None, int]

KEY = const(32)  # bytes of a public key
SIGNATURE = const(64)
_SQUARINGS = const(4)  # of a step
_ROUNDS = const(4)  # of SHA-512, of a step
# RFC 8032, table 1: the field's prime, the curve's d, the order of the base point, the base point.
_P = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED
_D = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3
_L = 0x1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED
_X = 0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A
_Y = 0x6666666666666666666666666666666666666666666666666666666666666658
_ROOT_OF_MINUS_1 = 0x2B8324804FC1DF0B2B4D00993DFBD7A72F431806AD2FE478C4EE1B274A0EA0B0
_64_BITS = 0xFFFFFFFFFFFFFFFF


def verify(key: bytes, signature: bytes, message: bytes) -> "Generator[None, None, bool]":
    """A generator whose steps verify; what it returns is whether `signature` (64 bytes) is of `message` by the public
    key `key` (32 bytes)."""
    if len(key) != KEY or len(signature) != SIGNATURE:
        return False
    s = int.from_bytes(signature[KEY:], "little")
    if s >= _L:
        return False
    a = yield from _decoded(key)
    if a is None:
        return False
    k = (yield from _sha512(signature[:KEY] + key + message)) % _L
    # [s]B - [k]A, bit by bit of both numbers at once, must be R, the first half of the signature.
    base = _X, _Y, 1, _X * _Y % _P
    minus_a = _P - a[0], a[1], 1, _P - a[3]
    addends = base, minus_a, _sum(base, minus_a)
    point = 0, 1, 1, 0
    for bit in range(252, -1, -1):
        point = _doubled(point)
        which = s >> bit & 1 | (k >> bit & 1) << 1
        if which:
            point = _sum(point, addends[which - 1])
        yield
    inverse = yield from _power(point[2], _P - 2)
    x = point[0] * inverse % _P
    y = point[1] * inverse % _P
    encoded = (y | (x & 1) << 255).to_bytes(KEY, "little")
    return encoded == signature[:KEY]


# Points are (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z (RFC 8032, 5.1.4).


def _sum(one: "Point", other: "Point") -> "Point":
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * t1 * t2 % _P * _D % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _doubled(point: "Point") -> "Point":
    x, y, z, _ = point
    a = x * x % _P
    b = y * y % _P
    h = a + b
    e = h - (x + y) * (x + y) % _P
    g = a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _decoded(encoded: bytes) -> "Generator[None, None, Point | None]":
    """The point of 32 bytes, None when they are none (RFC 8032, 5.1.3)."""
    number = int.from_bytes(encoded, "little")
    y = number & (1 << 255) - 1
    if y >= _P:
        return None
    u = (y * y - 1) % _P
    v = (_D * y * y + 1) % _P
    v3 = v * v % _P * v % _P
    x = (yield from _power(u * v3 % _P * v3 % _P * v % _P, (_P - 5) // 8)) * u % _P * v3 % _P
    found = v * x % _P * x % _P
    if found == _P - u:
        x = x * _ROOT_OF_MINUS_1 % _P
    elif found != u:
        return None
    sign = number >> 255
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _power(base: int, exponent: int) -> "Steps":
    """base ** exponent mod p, in steps."""
    result = 1
    for bit in range(254, -1, -1):
        result = result * result % _P
        if exponent >> bit & 1:
            result = result * base % _P
        if bit % _SQUARINGS == 0:
            yield
    return result


def _sha512(message: bytes) -> "Steps":
    """SHA-512 (FIPS 180-4) of the message as an integer, its first byte the lowest, in steps."""
    # The first 64 bits of the fractional parts of the cube roots of 80 primes (4.2.3), and of square roots (5.3.5).
    constants = bytearray()
    state = []
    prime = 2
    while len(constants) < 8 * 80:
        constants += (_root(prime << 192, 3) & _64_BITS).to_bytes(8, "big")
        if len(state) < 8:
            state.append(_root(prime << 128, 2) & _64_BITS)
        yield
        prime += 1
        while any([prime % divisor == 0 for divisor in (2, 3, 5, 7, 11, 13, 17, 19) if divisor < prime]):
            prime += 1
    padded = message + b"\x80" + bytes(-(len(message) + 17) % 128) + (8 * len(message)).to_bytes(16, "big")
    for at in range(0, len(padded), 128):
        words = [int.from_bytes(padded[k : k + 8], "big") for k in range(at, at + 128, 8)]
        a, b, c, d, e, f, g, h = state
        for i in range(80):
            word = words[i % 16]
            if i >= 16:
                x, y = words[(i - 15) % 16], words[(i - 2) % 16]
                word += (_turned(x, 1) ^ _turned(x, 8) ^ x >> 7) + words[(i - 7) % 16]
                word = word + (_turned(y, 19) ^ _turned(y, 61) ^ y >> 6) & _64_BITS
                words[i % 16] = word
            one = h + (_turned(e, 14) ^ _turned(e, 18) ^ _turned(e, 41)) + (e & f ^ g & ~e)
            one += word + int.from_bytes(constants[8 * i : 8 * i + 8], "big")
            two = (_turned(a, 28) ^ _turned(a, 34) ^ _turned(a, 39)) + (a & b ^ a & c ^ b & c)
            a, b, c, d, e, f, g, h = one + two & _64_BITS, a, b, c, d + one & _64_BITS, e, f, g
            if i % _ROUNDS == 0:
                yield
        state = [old + new & _64_BITS for old, new in zip(state, (a, b, c, d, e, f, g, h))]
    return int.from_bytes(b"".join([word.to_bytes(8, "big") for word in state]), "little")


def _turned(word: int, bits: int) -> int:
    return (word >> bits | word << 64 - bits) & _64_BITS


def _root(number: int, degree: int) -> int:
    """The largest integer whose power is not more, by Newton's method from above. `number`: below 2 ** 204."""
    root = 1 << 69
    while True:
        better = ((degree - 1) * root + number // root ** (degree - 1)) // degree
        if better >= root:
            return root
        root = better
