"""Sessions of OpenSSL on CPython, as tls_micropython.py has those of Mbed TLS. For host tests; never on a device."""

import errno
import ssl
from collections.abc import Callable
from typing import Any

from firmware.net import seam

_REASONS = {  # openssl/x509_vfy.h
    9: "certificate is not valid yet",
    10: "certificate has expired",
    18: "certificate is not from a trusted authority",
    19: "certificate is not from a trusted authority",
    20: "certificate is not from a trusted authority",
    62: "certificate is for another name",
    64: "certificate is for another name",
}


class _Refused(OSError):
    """The certificate is not the pinned one."""


class Session:
    """As that of tls_micropython.py."""

    def __init__(
        self, stream: Any, host: str, authorities: list[bytes], accept: "Callable[[bytes], bool] | None"
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = accept is None and bool(authorities)
        context.verify_mode = ssl.CERT_REQUIRED if context.check_hostname else ssl.CERT_NONE
        if context.check_hostname:
            try:
                context.load_verify_locations(cadata=b"".join(authorities))
            except ssl.SSLError as error:
                raise ValueError("invalid cert") from error
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._stream = stream
        self._accept = accept
        self._unsent = b""
        self._taken = 0  # bytes that write() will say have been taken once `_unsent` is out
        self.interest = seam.READ
        self.closed = False

    def step(self) -> bool:
        """Goes on with the handshake; True when it is over."""
        if self._fill() == 0:
            raise OSError(errno.ECONNRESET, "closed")
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.interest = seam.READ if self._flush() else seam.WRITE
            return False
        finally:
            self._flush()  # also the alert that tells the server why
        if self._accept is not None and not self._accept(self._tls.getpeercert(True) or b""):
            raise _Refused
        return True

    def _flush(self) -> bool:
        """True when everything is out."""
        self._unsent += self._out.read()
        while self._unsent:
            n = self._stream.write(self._unsent)
            if n is None:
                return False
            self._unsent = self._unsent[n:]
        return True

    def _fill(self) -> "int | None":
        buf = bytearray(4096)
        n = self._stream.readinto(buf)
        if n:
            self._in.write(memoryview(buf)[:n])
        return n

    def readinto(self, buf: "bytearray | memoryview") -> "int | None":
        """Bytes that were read, 0 at the end, None when none have come."""
        self._flush()
        while True:
            try:
                return self._tls.read(len(buf), buf)  # type: ignore[return-value]
            except ssl.SSLWantReadError:
                n = self._fill()
                if not n:
                    return n
            except ssl.SSLZeroReturnError:
                return 0

    def write(self, buf: "bytes | bytearray | memoryview") -> "int | None":
        """Bytes that were taken; None: none, and the same must be written again."""
        if not self._taken:
            self._taken = self._tls.write(buf)
        if not self._flush():
            return None
        taken, self._taken = self._taken, 0
        return taken

    def close(self) -> None:
        """The socket stays."""
        self.closed = True


def reason(error: Exception) -> str:
    """What ended a handshake, in a text of our own."""
    if isinstance(error, _Refused):
        return "certificate has changed"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _REASONS.get(error.verify_code, "TLS error")
    if isinstance(error, (ConnectionError, ssl.SSLEOFError)):
        return "closed by the server"
    return "TLS error"
