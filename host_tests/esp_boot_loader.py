"""The boot loader in an ESP32's ROM, for esptool and ESP Web Tools: SLIP, its commands, and a flash of bytes.

Follows Espressif's "Serial Protocol" (esptool documentation). A stub that is loaded into RAM is not run: its greeting
is sent, and its form of the answers is used from then on. Bytes may get lost on the way, and the line may be cut.
"""

import hashlib
import struct
import zlib

from host_tests.pseudo_terminal import PseudoTerminal

_END, _ESC, _ESC_END, _ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
_FLASH_BEGIN, _FLASH_DATA, _FLASH_END = 0x02, 0x03, 0x04
_MEM_BEGIN, _MEM_END, _MEM_DATA = 0x05, 0x06, 0x07
_ERASE_FLASH = 0xD0  # of the stub
_STUB_GREETING = b"OHAI"
_SYNC, _WRITE_REG, _READ_REG = 0x08, 0x09, 0x0A
_SPI_SET_PARAMS, _SPI_ATTACH, _CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0F
_DEFL_BEGIN, _DEFL_DATA, _DEFL_END, _MD5 = 0x10, 0x11, 0x12, 0x13
_FAILED, _INVALID, _BAD_CHECKSUM = 0x01, 0x05, 0x07
_MAGIC_REGISTER = 0x40001000
_MAGICS = {"esp32": 0x00F01D83, "esp32s2": 0x000007C6}
_CLKDIV = 0x3FF40014
_CLKDIV_40_MHZ = 347  # at 115200 baud
_SPI_CMD, _SPI_W0 = 0x3FF42000, 0x3FF42080
_SECTOR = 4096


class BootRom:
    """The chip. `flash` is what has been written. receive() takes bytes of the line, `send` is called with answers."""

    def __init__(self, send, chip="esp32", size=4 * 1024 * 1024, lose=(), cut_after=None):
        """`lose`: numbers of blocks of data of which a byte is lost, once each. `cut_after`: this many blocks of data
        the line is dead."""
        self._send = send
        self.flash = bytearray(b"\x5a" * size)  # not erased: somebody's firmware
        self.blocks = 0
        self.refused = 0
        self._size_id = size.bit_length() - 1
        self._magic = _MAGICS[chip]
        self._lose = set(lose)
        self._cut_after = cut_after
        self._registers = {_MAGIC_REGISTER: self._magic, _CLKDIV: _CLKDIV_40_MHZ}
        self._at = self._end = 0
        self._inflate = None
        self._packet, self._is_inside, self._is_escape = bytearray(), False, False
        self._is_stub = False
        self.erased_whole = 0

    def reset(self):
        """The ROM runs again, instead of the stub."""
        self._is_stub = False
        self._packet.clear()
        self._is_inside = False

    def receive(self, data):
        """Bytes from the line."""
        for byte in data:
            if byte == _END:
                if self._is_inside and self._packet:
                    self._handle(bytes(self._packet))
                    self._is_inside = False
                else:
                    self._is_inside = True
                self._packet.clear()
                self._is_escape = False
            elif self._is_escape:
                self._packet.append(_END if byte == _ESC_END else _ESC)
                self._is_escape = False
            elif byte == _ESC:
                self._is_escape = True
            elif self._is_inside:
                self._packet.append(byte)

    def _answer(self, command, value=0, data=b"", error=0):
        body = (
            struct.pack("<BBHI", 1, command, len(data) + (2 if self._is_stub else 4), value)
            + data
            + bytes((bool(error), error))
        )
        self._send_packet(body if self._is_stub else body + bytes(2))

    def _send_packet(self, body):
        escaped = body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        self._send(b"\xc0" + escaped + b"\xc0")

    def _handle(self, packet):
        if len(packet) < 8:
            return
        _, command, length, checksum = struct.unpack_from("<BBHI", packet)
        data = packet[8:]
        if self._cut_after is not None and self.blocks >= self._cut_after:
            return
        if command in (_FLASH_DATA, _DEFL_DATA) and self.blocks in self._lose:
            self._lose.discard(self.blocks)
            data = data[:-1]  # a byte that the UART has lost
        if len(data) != length:
            self.refused += 1
            self._answer(command, error=_INVALID)
        elif command == _SYNC:
            for _ in range(8):
                self._answer(command, 0 if self._is_stub else 0x20120707)
        elif command == _READ_REG:
            [address] = struct.unpack_from("<I", data)
            self._answer(command, self._registers.get(address, 0))
        elif command == _WRITE_REG:
            address, value = struct.unpack_from("<II", data)
            if address == _SPI_CMD:
                self._registers[_SPI_W0] = 0x40C8 | self._size_id << 16  # every command is "read identification"
            elif address != _SPI_W0:
                self._registers[address] = value
            self._answer(command)
        elif command in (_SPI_ATTACH, _SPI_SET_PARAMS, _CHANGE_BAUDRATE, _FLASH_END, _DEFL_END, _MEM_BEGIN, _MEM_DATA):
            self._answer(command)
        elif command == _MEM_END:
            self._answer(command)
            self._is_stub = True
            self._send_packet(_STUB_GREETING)
        elif command == _ERASE_FLASH and self._is_stub:
            self.flash[:] = b"\xff" * len(self.flash)
            self.erased_whole += 1
            self._answer(command)
        elif command in (_FLASH_BEGIN, _DEFL_BEGIN):
            size, _, _, self._at = struct.unpack_from("<IIII", data)
            self._inflate = zlib.decompressobj() if command == _DEFL_BEGIN else None
            begin = self._at - self._at % _SECTOR
            self._end = -(-(self._at + size) // _SECTOR) * _SECTOR
            if self._end > len(self.flash):
                self._answer(command, error=_FAILED)
                return
            self.flash[begin : self._end] = b"\xff" * (self._end - begin)
            self._answer(command)
        elif command in (_FLASH_DATA, _DEFL_DATA):
            block = data[16:]
            expected = 0xEF
            for byte in block:
                expected ^= byte
            if expected != checksum:
                self.refused += 1
                self._answer(command, error=_BAD_CHECKSUM)
                return
            self.blocks += 1
            written = block if self._inflate is None else self._inflate.decompress(block)
            self.flash[self._at : self._at + len(written)] = written
            self._at += len(written)
            self._answer(command)
        elif command == _MD5:
            address, size = struct.unpack_from("<II", data)
            digest = hashlib.md5(self.flash[address : address + size], usedforsecurity=False).hexdigest()
            self._answer(command, data=bytes.fromhex(digest) if self._is_stub else digest.encode())
        else:
            self._answer(command, error=_INVALID)


class BootLoader(BootRom):
    """A chip behind a pseudo-terminal. A context manager; `path` is the port."""

    def __init__(self, *arguments, **options):
        self._port = PseudoTerminal(self.receive)
        self.path = self._port.path
        super().__init__(self._port.write, *arguments, **options)

    def __enter__(self):
        self._port.__enter__()
        return self

    def __exit__(self, *exc):
        self._port.__exit__(*exc)
