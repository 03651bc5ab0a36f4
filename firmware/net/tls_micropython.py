"""Sessions of Mbed TLS on MicroPython (see tls.py).

The socket is given to Mbed TLS by way of an object of our own, which lets one record through for each step of a
handshake: what has to be computed for it (certificates; two signatures and keys) does not hold the loop up in one
piece. Mbed TLS asks for exactly the five bytes of a record's header and then for its body (ssl_msg.c,
mbedtls_ssl_fetch_input), so nothing is copied for that.

MicroPython has no function that says when a handshake is over; it shows in the records that pass (RFC 5246, 7.3 and
RFC 8446, 2). Should it be taken for over too early, the rest follows within the first write, checks included.
"""

import errno
import io

import tls
from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

_CHANGE_CIPHER_SPEC = const(20)  # types of records: RFC 5246, 6.2.1
_HANDSHAKE = const(22)
_APPLICATION_DATA = const(23)
_HEADER = const(5)
_REFUSED = const(-0x3000)  # MBEDTLS_ERR_X509_FATAL_ERROR: what a callback gives that does not accept a certificate
_CONN_EOF = const(-0x7280)  # MBEDTLS_ERR_SSL_CONN_EOF
# Texts of x509_crt.c and error.c within the exceptions, and what they mean. The first that is found counts.
_REASONS = (
    ("expired", "certificate has expired"),
    ("future", "certificate is not valid yet"),
    ("CN", "certificate is for another name"),
    ("not correctly signed", "certificate is not from a trusted authority"),
    ("ALLOC_FAILED", "no memory for TLS"),
)


class _Wire(io.IOBase):
    """A socket, from which each step of a handshake may read one record."""

    def __init__(self, stream: "Any") -> None:
        self._stream = stream
        self._header = bytearray(_HEADER)
        self._have = 0  # bytes of the header
        self._left = 0  # bytes of the record's body that have not been read
        self._kind = 0  # of the last record
        self._writes = 0
        self._spec_changed = False
        self.records = 0  # that may still be read
        self.is_over = False  # the handshake
        self.interest = seam.READ

    def readinto(self, buf: "memoryview") -> "int | None":
        """Called by Mbed TLS; a negative number of an error for one."""
        if not self.is_over and not self.records:
            return None
        try:
            n = self._stream.readinto(buf)
        except OSError as error:
            return -error.errno
        if n and not self.is_over:
            self._note(buf, n)
        return n

    def _note(self, buf, n):
        """Follows the records; `n` bytes have been read."""
        if self._have < _HEADER:
            self._header[self._have : self._have + n] = buf[:n]
            self._have += n
            if self._have == _HEADER:
                self._left = self._header[3] << 8 | self._header[4]
            return
        self._left -= n
        if self._left:
            return
        self._have = 0
        self.records -= 1
        self._kind = self._header[0]
        if self._kind == _CHANGE_CIPHER_SPEC:
            self._spec_changed = self._writes > 1  # not the one after a HelloRetryRequest
        elif self._kind == _HANDSHAKE and self._spec_changed:
            self.is_over = True  # TLS 1.2: the server's Finished

    def write(self, buf: "memoryview") -> "int | None":
        """Called by Mbed TLS; a negative number of an error for one."""
        if not self.is_over and self._kind == _APPLICATION_DATA:
            self.is_over = True  # TLS 1.3: our Finished, which follows the server's
        self._writes += 1
        try:
            n = self._stream.write(buf)
        except OSError as error:
            return -error.errno
        if n is None:
            self.interest = seam.WRITE
        return n

    def ioctl(self, request: int, argument: int) -> int:
        """Called by MicroPython; the socket is the TcpClient's to close."""
        return 0


class Session:
    """A session with `host` over the socket `stream`. `authorities`: certificates (DER) of which one must have signed
    the server's; or `accept(der)` says whether the server's certificate is the right one; with neither none is looked
    at. Raises OSError, ValueError for certificates that cannot be read."""

    def __init__(self, stream: "Any", host: str, authorities: "list[bytes]", accept: "Callable | None") -> None:
        context: "Any" = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)  # verify_mode and the callback are not in the stubs
        if accept is not None:
            # "Optional": it is given to the callback, which alone decides.
            context.verify_mode = tls.CERT_OPTIONAL
            context.verify_callback = lambda der, depth: 0 if depth or accept(der) else _REFUSED
        elif authorities:
            context.verify_mode = tls.CERT_REQUIRED
            for der in authorities:
                context.load_verify_locations(der)
        else:
            context.verify_mode = tls.CERT_NONE
        self._wire = _Wire(stream)
        self._tls = context.wrap_socket(self._wire, server_hostname=host, do_handshake_on_connect=False)
        self._byte = bytearray(1)
        self.closed = False

    @property
    def interest(self) -> int:
        """What the next step waits for: READ or WRITE of the socket."""
        return self._wire.interest

    def step(self) -> bool:
        """Goes on with the handshake by one record; True when it is over. Raises OSError and ValueError: reason()."""
        wire = self._wire
        wire.records = 1
        wire.interest = seam.READ
        if self._tls.readinto(self._byte) is not None:
            raise OSError(errno.ECONNRESET)  # the end of the stream, or data that nobody asked for
        return wire.is_over and wire.interest == seam.READ

    def readinto(self, buf: "bytearray | memoryview") -> "int | None":
        """Bytes that were read, 0 at the end, None when none have come."""
        return self._tls.readinto(buf)

    def write(self, buf: "bytes | bytearray | memoryview") -> "int | None":
        """Bytes that were taken; None: none, and the same must be written again."""
        return self._tls.write(buf)

    def close(self) -> None:
        """Gives the memory back. The socket stays."""
        if not self.closed:
            self.closed = True
            self._tls.close()
            self._tls = self._wire = None


def reason(error: Exception) -> str:
    """What ended a handshake, in a text of our own."""
    text = str(error)
    for part, meaning in _REASONS:
        if part in text:
            return meaning
    number = error.errno if isinstance(error, OSError) else None
    if number == _REFUSED:
        return "certificate has changed"
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return "no memory for TLS"
    if number == errno.ECONNRESET or number == _CONN_EOF:
        return "closed by the server"
    return "TLS error" if number is None else "TLS error %d" % number
