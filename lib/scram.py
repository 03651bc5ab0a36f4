"""SCRAM-SHA-256: how a client proves that it knows a password without sending it. Bytes in, bytes out.

RFC 5802 (3, "SCRAM Algorithm Overview") with the hash of RFC 7677; HMAC is RFC 2104. PBKDF2 is the client's work: the
server keeps only StoredKey and ServerKey, from which the password cannot be had and nobody can log in.

    SaltedPassword = PBKDF2-HMAC-SHA-256(password, salt, iterations)
    ClientKey = HMAC(SaltedPassword, "Client Key"),  StoredKey = SHA-256(ClientKey)
    ServerKey = HMAC(SaltedPassword, "Server Key")
    ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage),  ServerSignature = HMAC(ServerKey, AuthMessage)
"""

import hashlib

from micropython import const

KEY = const(32)  # bytes of every key, proof and signature
_BLOCK = const(64)  # of SHA-256, RFC 2104 2


def hmac(key, message):
    """HMAC-SHA-256: 32 bytes."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key + bytes(_BLOCK - len(key))
    inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in key]))
    inner.update(message)
    outer = hashlib.sha256(bytes([byte ^ 0x5C for byte in key]))
    outer.update(inner.digest())
    return outer.digest()


def equal(one, other):
    """Whether two byte strings are the same, in a time that does not tell where they differ."""
    if len(one) != len(other):
        return False
    different = 0
    for k in range(len(one)):
        different |= one[k] ^ other[k]
    return not different


def proves(stored_key, message, proof):
    """Whether `proof` (bytes of any length) is the ClientProof for AuthMessage `message`."""
    if len(proof) != KEY:
        return False
    mask = hmac(stored_key, message)
    return equal(hashlib.sha256(bytes([mask[k] ^ proof[k] for k in range(KEY)])).digest(), stored_key)


def signature(server_key, message):
    """ServerSignature: with it the client knows that it talks to the server that was given the password."""
    return hmac(server_key, message)
