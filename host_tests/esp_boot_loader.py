"""An ESP32 that waits to be flashed, for esptool and ESP Web Tools: SLIP, the commands of the boot loader in its ROM,
those of the flasher stub that they load into its RAM, and a flash of bytes.

The ROM follows Espressif's "Serial Protocol" (esptool documentation). The stub's machine code is not run: when all of
it has come and its entry point lies within, it answers as espressif/esp-flasher-stub does (src/command_handler.c),
which esptool 5 loads. Bytes may get lost on the way, the line may be cut, and a write to the flash may fail.
"""

import hashlib
import struct
import zlib

from host_tests.pseudo_terminal import PseudoTerminal

_END, _ESC, _ESC_END, _ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
_FLASH_BEGIN, _FLASH_DATA, _FLASH_END = 0x02, 0x03, 0x04
_MEM_BEGIN, _MEM_END, _MEM_DATA = 0x05, 0x06, 0x07
_SYNC, _WRITE_REG, _READ_REG = 0x08, 0x09, 0x0A
_SPI_SET_PARAMS, _SPI_ATTACH, _CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0F
_DEFL_BEGIN, _DEFL_DATA, _DEFL_END, _MD5 = 0x10, 0x11, 0x12, 0x13
_ERASE_FLASH, _ERASE_REGION, _READ_FLASH = 0xD0, 0xD1, 0xD2  # of the stub
_BLOCKS = (_FLASH_DATA, _DEFL_DATA)
_DATA_HEAD = 16  # bytes before a block
_ERASED = 0xFF

# Of the ROM
_FAILED, _INVALID, _BAD_CHECKSUM = 0x01, 0x05, 0x07
_ROM_SYNC = 0x20120707
_MAGIC_REGISTER = 0x40001000
_MAGICS = {"esp32": 0x00F01D83, "esp32s2": 0x000007C6}
_CLKDIV = 0x3FF40014
_CLKDIV_40_MHZ = 347  # at 115200 baud
_SPI_CMD, _SPI_W0 = 0x3FF42000, 0x3FF42080
_SECTOR = 4096

# Of the stub (commands.h)
_BAD_DATA_LEN, _BAD_DATA_CHECKSUM, _INVALID_COMMAND, _FAILED_SPI_OP = 0xC0, 0xC1, 0xC3, 0xC4
_NOT_IN_FLASH_MODE, _INFLATE_ERROR, _TOO_MUCH_DATA = 0xC6, 0xC7, 0xC9
_STUB_GREETING = b"OHAI"
_SIZES = {
    _SYNC: 36, _READ_REG: 4, _FLASH_END: 4, _DEFL_END: 4, _MD5: 16, _READ_FLASH: 16, _ERASE_REGION: 8, _SPI_ATTACH: 4,
    _SPI_SET_PARAMS: 24, _CHANGE_BAUDRATE: 8,
}  # fmt: skip


class _Error(Exception):
    """A command is refused; the argument is the code of the answer."""


def _check(block, checksum, error):
    expected = 0xEF
    for byte in block:
        expected ^= byte
    if expected != checksum:
        raise _Error(error)


class BootRom:
    """The chip. `flash` is what has been written. receive() takes bytes of the line, `send` is called with answers."""

    def __init__(self, send, chip="esp32", size=4 * 1024 * 1024, lose=(), cut_after=None, fail=()):
        """`lose`: numbers of blocks of data of which a byte is lost, once each. `cut_after`: this many blocks of data
        the line is dead. `fail`: numbers of blocks that the flash does not take, once each."""
        self._send = send
        self.flash = bytearray(b"\x5a" * size)  # not erased: somebody's firmware
        self.ram = {}  # what was loaded, by its address
        self.blocks = 0
        self.refused = 0  # blocks of data
        self.largest = 0  # bytes of a block
        self._size_id = size.bit_length() - 1
        self._lose = set(lose)
        self._fail = set(fail)
        self.cut_after = cut_after
        self._registers = {_MAGIC_REGISTER: _MAGICS[chip], _CLKDIV: _CLKDIV_40_MHZ}
        self._at = self._end = 0
        self._inflate = None
        self._load = (0, 0, 0)  # of what is loaded: address, bytes, bytes of a block
        self._packet, self._is_inside, self._is_escape = bytearray(), False, False
        self._stub = None
        self.erased_whole = 0

    @property
    def is_stub(self):
        """The stub runs, and not the ROM."""
        return self._stub is not None

    def reset(self):
        """The ROM runs again, instead of the stub."""
        self._stub = None
        self.ram = {}
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

    def send(self, body):
        """One SLIP frame."""
        escaped = body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        self._send(b"\xc0" + escaped + b"\xc0")

    def answer(self, command, value=0, data=b"", status=bytes(4)):
        """The answer to a command; `status` has four bytes from the ROM, two from the stub."""
        self.send(struct.pack("<BBHI", 1, command, len(data) + len(status), value) + data + status)

    def _handle(self, packet):
        if self.cut_after is not None and self.blocks >= self.cut_after:
            return
        if self._stub is not None and len(packet) < 8:
            self._stub.acknowledged(packet)
        if len(packet) < 8:
            return
        _, command, length, checksum = struct.unpack_from("<BBHI", packet)
        data = packet[8:]
        if command in _BLOCKS and self.blocks in self._lose:
            self._lose.discard(self.blocks)
            data = data[:-1]  # a byte that the UART has lost
        if self._stub is not None:
            self._stub.handle(command, data, length, checksum)
            return
        try:
            if len(data) != length:
                raise _Error(_INVALID)
            self._of_rom(command, data, checksum)
        except _Error as error:
            self.refused += command in _BLOCKS
            self.answer(command, status=bytes((1, error.args[0], 0, 0)))

    def register(self, command, data):
        """Reads or writes registers, as ROM and stub do; the value that is answered."""
        (address,) = struct.unpack_from("<I", data)
        if command == _READ_REG:
            return self._registers.get(address, 0)
        (value,) = struct.unpack_from("<I", data, 4)
        if address == _SPI_CMD:
            self._registers[_SPI_W0] = 0x40C8 | self._size_id << 16  # every command is "read identification"
        elif address != _SPI_W0:
            self._registers[address] = value
        return 0

    def _of_rom(self, command, data, checksum):
        value, answer = 0, b""
        if command == _SYNC:
            for _ in range(7):
                self.answer(command, _ROM_SYNC)
            value = _ROM_SYNC
        elif command in (_READ_REG, _WRITE_REG):
            value = self.register(command, data)
        elif command in (_SPI_ATTACH, _SPI_SET_PARAMS, _CHANGE_BAUDRATE, _FLASH_END, _DEFL_END):
            pass
        elif command == _MEM_BEGIN:
            size, _, block, at = struct.unpack("<IIII", data)
            self._load = at, size, block
            self.ram[at] = bytearray()
        elif command == _MEM_DATA:
            at, size, block_size = self._load
            length, number = struct.unpack_from("<II", data)
            block = data[_DATA_HEAD:]
            if len(block) != length or len(self.ram[at]) != number * block_size or len(self.ram[at]) + length > size:
                raise _Error(_INVALID)
            _check(block, checksum, _BAD_CHECKSUM)
            self.ram[at] += block
        elif command == _MEM_END:
            self.answer(command)
            _, entry = struct.unpack("<II", data)
            at, size, _ = self._load
            # Else the processor has nothing to run, and nobody answers.
            if len(self.ram[at]) == size and any(at <= entry < at + len(code) for at, code in self.ram.items()):
                self._stub = Stub(self)
                self.send(_STUB_GREETING)
            return
        elif command in (_FLASH_BEGIN, _DEFL_BEGIN):
            size, _, _, self._at = struct.unpack("<IIII", data)
            self._inflate = zlib.decompressobj() if command == _DEFL_BEGIN else None
            begin = self._at - self._at % _SECTOR
            self._end = -(-(self._at + size) // _SECTOR) * _SECTOR
            if self._end > len(self.flash):
                raise _Error(_FAILED)
            self.erase(begin, self._end)
        elif command in _BLOCKS:
            block = data[_DATA_HEAD:]
            _check(block, checksum, _BAD_CHECKSUM)
            self.count(block)
            written = block if self._inflate is None else self._inflate.decompress(block)
            if not self.program(self._at, written):
                raise _Error(_FAILED)
            self._at += len(written)
        elif command == _MD5:
            answer = self.md5(data).hexdigest().encode()
        else:
            raise _Error(_INVALID)
        self.answer(command, value, answer)

    def count(self, block):
        """Counts a block that has come whole."""
        self.blocks += 1
        self.largest = max(self.largest, len(block))

    def erase(self, begin, end):
        """Erases what lies from `begin` to `end`, whole sectors."""
        self.flash[begin:end] = bytes((_ERASED,)) * (end - begin)

    def program(self, at, data):
        """Writes, which clears bits only. False when the flash does not take it."""
        if self.blocks - 1 in self._fail:
            self._fail.discard(self.blocks - 1)
            return False
        there = int.from_bytes(self.flash[at : at + len(data)], "big") & int.from_bytes(data, "big")
        self.flash[at : at + len(data)] = there.to_bytes(len(data), "big")
        return True

    def md5(self, data):
        """The MD5 of the range that the command names."""
        at, size = struct.unpack_from("<II", data)
        return hashlib.md5(self.flash[at : at + size], usedforsecurity=False)


class Stub:
    """The flasher stub on that chip. It answers a block before it writes it: what goes wrong then is the answer to the
    next command, which is not carried out."""

    def __init__(self, chip):
        self._chip = chip
        self._at = self._left = self._erased = self._erase_end = 0
        self._inflate = None
        self._is_in_flash_mode = False
        self._late_error = 0
        self._reading = self._digest = b""  # what is still to be sent
        self._read_size = 0

    def handle(self, command, data, length, checksum):
        """Carries a command out and answers."""
        late, self._late_error = self._late_error, 0
        try:
            if len(data) != length:
                raise _Error(_BAD_DATA_LEN)
            if late:
                raise _Error(late)
            if len(data) != _SIZES.get(command, len(data)):
                raise _Error(_BAD_DATA_LEN)
            value, answer, then = self._carry_out(command, data, checksum)
        except _Error as error:
            self._chip.refused += command in _BLOCKS
            self._chip.answer(command, status=bytes((error.args[0], 0)))
            return
        self._chip.answer(command, value, answer, bytes(2))
        if then is not None:
            try:
                then()
            except _Error as error:
                self._late_error = error.args[0]

    def _carry_out(self, command, data, checksum):
        """(value, data of the answer, what is done after it or None)."""
        chip = self._chip
        value, answer, then = 0, b"", None
        if command == _SYNC:
            for _ in range(7):
                chip.answer(command, 0, status=bytes(2))
        elif command in (_READ_REG, _WRITE_REG):
            value = chip.register(command, data)
        elif command in (_SPI_ATTACH, _SPI_SET_PARAMS, _CHANGE_BAUDRATE):
            pass
        elif command in (_FLASH_BEGIN, _DEFL_BEGIN):
            self._begin(data, command == _DEFL_BEGIN)
        elif command in _BLOCKS:
            then = self._block(command, data, checksum)
        elif command in (_FLASH_END, _DEFL_END):
            if not self._is_in_flash_mode:
                raise _Error(_NOT_IN_FLASH_MODE)
            if self._left:
                raise _Error(_BAD_DATA_LEN)
            self._is_in_flash_mode = False
        elif command == _MD5:
            answer = chip.md5(data).digest()
        elif command == _ERASE_FLASH:
            chip.erase(0, len(chip.flash))
            chip.erased_whole += 1
        elif command == _ERASE_REGION:
            at, size = struct.unpack("<II", data)
            if at % _SECTOR or size % _SECTOR:
                raise _Error(_BAD_DATA_LEN)
            chip.erase(at, at + size)
        elif command == _READ_FLASH:
            at, size, self._read_size, _ = struct.unpack("<IIII", data)
            self._reading = bytes(chip.flash[at : at + size])
            self._digest = hashlib.md5(self._reading, usedforsecurity=False).digest()
            then = self._send_piece
        else:
            raise _Error(_INVALID_COMMAND)
        return value, answer, then

    def _begin(self, data, is_compressed):
        if len(data) not in (16, 20):
            raise _Error(_BAD_DATA_LEN)
        self._left, _, _, self._at = struct.unpack_from("<IIII", data)
        self._erased = self._at - self._at % _SECTOR
        self._erase_end = -(-(self._at + self._left) // _SECTOR) * _SECTOR
        if self._erase_end > len(self._chip.flash):
            raise _Error(_FAILED_SPI_OP)
        self._inflate = zlib.decompressobj() if is_compressed else None
        self._is_in_flash_mode = True

    def _block(self, command, data, checksum):
        """What writes the block, once it is answered."""
        if not self._is_in_flash_mode:
            raise _Error(_NOT_IN_FLASH_MODE)
        if command == _DEFL_DATA and not self._left:
            raise _Error(_TOO_MUCH_DATA)
        (length,) = struct.unpack_from("<I", data)
        block = data[_DATA_HEAD:]
        if len(block) != length:
            raise _Error(_TOO_MUCH_DATA)
        _check(block, checksum, _BAD_DATA_CHECKSUM)
        self._chip.count(block)

        def write():
            try:
                content = self._inflate.decompress(block) if self._inflate else block[: self._left]
            except zlib.error:
                raise _Error(_INFLATE_ERROR) from None
            end = min(-(-(self._at + len(content)) // _SECTOR) * _SECTOR, self._erase_end)
            if end > self._erased:  # it erases as it writes
                self._chip.erase(self._erased, end)
                self._erased = end
            if not self._chip.program(self._at, content):
                raise _Error(_FAILED_SPI_OP)
            self._at += len(content)
            self._left -= len(content)

        return write

    def _send_piece(self):
        piece, self._reading = self._reading[: self._read_size], self._reading[self._read_size :]
        self._chip.send(piece)

    def acknowledged(self, packet):
        """A frame with how many bytes the reader has."""
        if len(packet) == 4:
            if self._reading:
                self._send_piece()
            else:
                self._chip.send(self._digest)


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
