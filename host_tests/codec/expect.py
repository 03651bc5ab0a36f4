"""Helpers for codec tests, for CPython and MicroPython alike: no pytest, nothing but the language."""


def raises(exception, function, *args):
    """The `exception` that function(*args) raises. Anything else passes through; returning is a failure."""
    try:
        result = function(*args)
    except exception as e:
        return e
    raise AssertionError(f"{exception.__name__} not raised, returned {result!r}")


def feed_bytewise(ready, data, size=None):
    """Feeds `data` byte by byte to ready(buf, n), in a buffer of `size` bytes (by default as long as data).

    Gives (first result that is not -1, number of bytes fed by then), (-1, len(data)) when it never was ready.

    What lies behind n in the buffer is 0xA5, so that a codec reading beyond n gives itself away.
    """
    buf = bytearray(b"\xa5" * (len(data) if size is None else size))
    for n in range(len(data) + 1):
        if n:
            buf[n - 1] = data[n - 1]
        result = ready(buf, n)
        if result != -1:
            return result, n
    return -1, len(data)


def prefixes(data):
    """Every strict prefix of `data`, shortest first."""
    for n in range(len(data)):
        yield data[:n]


def passes_or_raises(exception, function, *args):
    """True when function(*args) returned, False when it raised `exception`; anything else passes through."""
    try:
        function(*args)
    except exception:
        return False
    return True
