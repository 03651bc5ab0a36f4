"""Reads a gateway's health and the points of its meters from unit 255, by Modbus TCP and without any package.

    python examples/read_unit255.py 192.168.1.50
    python examples/read_unit255.py 127.0.0.1 --port 1502 --slot 0 --slot 1

docs/reference/modbus.md has the registers, docs/reference/points.md the numbers of points: the register of a point is
4 x (slot x 256 + number).
"""

import argparse
import socket
import struct

UNIT = 255
QUALITIES = {0: "good", 1: "stale", 2: "failed", 3: "never", 4: "no_value", 255: "not of this meter"}
POINTS = {1: "voltage_l1 V", 9: "current_l1 A", 15: "frequency Hz", 16: "active_power W", 40: "energy_total Wh"}


class ModbusTcp:
    """One connection to a Modbus TCP server."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=10)
        self._stream = self._socket.makefile("rb")
        self._transaction = 0

    def __enter__(self) -> "ModbusTcp":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def read(self, function: int, first: int, count: int) -> bytes:
        """The bytes of `count` registers. ValueError with the exception code; OSError when the connection ends."""
        self._transaction = (self._transaction + 1) & 0xFFFF
        request = struct.pack(">HHHBBHH", self._transaction, 0, 6, UNIT, function, first, count)
        self._socket.sendall(request)
        transaction, _, length = struct.unpack(">HHH", self._take(6))
        reply = self._take(length)
        if transaction != self._transaction:
            raise OSError(f"reply {transaction} to request {self._transaction}")
        if reply[1] & 0x80:
            raise ValueError(f"exception {reply[2]:02X}")
        return reply[3:]

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise OSError("the gateway has closed the connection")
        return data


def main() -> None:
    """Print health, sockets and some points."""
    parser = argparse.ArgumentParser(description="Reads a gateway's own registers.")
    parser.add_argument("host")
    parser.add_argument("--port", type=int, default=502)
    parser.add_argument("--slot", type=int, action="append", help="of a meter, repeatable; default: 0")
    options = parser.parse_args()
    with ModbusTcp(options.host, options.port) as gateway:
        words = struct.unpack(">14H", gateway.read(3, 0, 14))
        print(f"version {words[2] >> 8}.{words[2] & 255}.{words[3]}, up for {words[4] << 16 | words[5]} s")
        print(f"{words[12]} of {words[10]} meters online, {words[11]} points")
        limit, services, general, in_use, high_water = struct.unpack(">5H", gateway.read(3, 100, 5))
        print(f"{limit} sockets, {services} for services, {in_use} of {general} connections, most so far {high_water}")
        for slot in options.slot or [0]:
            for number, name in POINTS.items():
                value, age_s, quality = struct.unpack(">fHH", gateway.read(4, 4 * (256 * slot + number), 4))
                print(f"slot {slot} {name}: {value:.6g}, {age_s} s old, {QUALITIES[quality]}")


if __name__ == "__main__":
    main()
