"""The raw REPL of a board (MicroPython, shared/runtime/pyexec.c) on standard input and output, as far as mpremote needs
it: the unix port has none."""

import io
import sys


def serve() -> None:
    """Serves until the end of the input."""
    write = sys.stdout.buffer.write
    code = b""
    while True:
        byte = sys.stdin.buffer.read(1)
        if not byte:
            return
        if byte == b"\x01":
            code = b""
            write(b"raw REPL; CTRL-B to exit\r\n>")
        elif byte == b"\x02":
            write(b"\r\n>>> ")
        elif byte == b"\x03":
            code = b""
        elif byte == b"\x05":  # raw paste: not here
            sys.stdin.buffer.read(2)
            write(b"R\x00")
        elif byte == b"\x04":
            write(b"OK")
            error = io.BytesIO()
            try:
                exec(code.decode(), {})
            except Exception as problem:
                error.write(repr(problem).encode())
            code = b""
            write(b"\x04" + error.getvalue() + b"\x04>")
        else:
            code += byte
