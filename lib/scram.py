"""SCRAM-SHA-256, the server's side: a client proves a password without sending it. Bytes in, bytes out.

RFC 5802 (3, "SCRAM Algorithm Overview") with the hash of RFC 7677; HMAC is RFC 2104. The client computes PBKDF2. The
server keeps StoredKey and ServerKey, which neither reveal the password nor suffice to log in.

    SaltedPassword = PBKDF2-HMAC-SHA-256(password, salt, iterations)
    ClientKey = HMAC(SaltedPassword, "Client Key"),  StoredKey = SHA-256(ClientKey)
    ServerKey = HMAC(SaltedPassword, "Server Key")
    ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage),  ServerSignature = HMAC(ServerKey, AuthMessage)
"""

import hashlib

from micropython import const

KEY = const(32)  # bytes of every key, proof and signature
_BLOCK = const(64)  # of SHA-256, RFC 2104 2


def hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104): 32 bytes."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key + bytes(_BLOCK - len(key))
    inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in key]))
    inner.update(message)
    outer = hashlib.sha256(bytes([byte ^ 0x5C for byte in key]))
    outer.update(inner.digest())
    digest: bytes = outer.digest()
    return digest


def equal(one: bytes, other: bytes) -> bool:
    """Compares two byte strings in a time that does not depend on where they differ."""
    if len(one) != len(other):
        return False
    different = 0
    for k in range(len(one)):
        different |= one[k] ^ other[k]
    return not different


def proves(stored_key: bytes, message: bytes, proof: bytes) -> bool:
    """True when `proof` (of any length) is the ClientProof for AuthMessage `message`."""
    if len(proof) != KEY:
        return False
    mask = hmac(stored_key, message)
    return equal(hashlib.sha256(bytes([mask[k] ^ proof[k] for k in range(KEY)])).digest(), stored_key)


def signature(server_key: bytes, message: bytes) -> bytes:
    """ServerSignature: proves to the client that the server has the keys of the password."""
    return hmac(server_key, message)
