"""What the images of MicroPython for the emulated RP2040 differ in, as one value, and how a command line names it.

A variant may differ in numbers of lwIP, in the board's name, in what is frozen, in the RAM that it is linked for, and
in MicroPython's release; not in what is built in. So two variants of one release share a build directory: what the
compiler made of files that do not see the variant stays (board/EMULATED_PICO/mpconfigboard.cmake says which do).
"""

import argparse
from dataclasses import dataclass

from tools.sources import RELEASES as _RELEASES
from tools.sources import STABLE

STOCK_PCBS = 5  # MEMP_NUM_TCP_PCB of lwIP, which MicroPython's rp2 port leaves alone
OUR_PCBS = 24  # of tools/boards/lwip_for_16_sockets.h, which a unit test compares
_MOST_PCBS = 64
RAM_KIB = (264, 520)  # of an RP2040; as much as an RP2350 has
RELEASES = tuple(_RELEASES)


# ports/rp2, memmap_mp_rp2040.ld and memmap_mp_rp2350.ld
_REGIONS = [
    ("RAM(rwx) : ORIGIN =  0x20000000, LENGTH = 256k", "RAM(rwx) : ORIGIN =  0x20000000, LENGTH = 512k"),
    ("SCRATCH_X(rwx) : ORIGIN = 0x20040000, LENGTH = 4k", "SCRATCH_X(rwx) : ORIGIN = 0x20080000, LENGTH = 4k"),
    ("SCRATCH_Y(rwx) : ORIGIN = 0x20041000, LENGTH = 4k", "SCRATCH_Y(rwx) : ORIGIN = 0x20081000, LENGTH = 4k"),
]


@dataclass(frozen=True)
class Variant:
    """One image. Raises ValueError when there is no such image."""

    tcp_pcbs: int = OUR_PCBS  # 5: all of lwIP's options are MicroPython's own; more: those of tools/boards
    frozen: bool = False  # the firmware's modules are part of the image
    micropython: str = STABLE
    ram_kib: int = RAM_KIB[0]

    def __post_init__(self) -> None:
        if not STOCK_PCBS <= self.tcp_pcbs <= _MOST_PCBS:
            raise ValueError(f"tcp_pcbs {self.tcp_pcbs} is not one of {STOCK_PCBS}..{_MOST_PCBS}")
        if self.micropython not in RELEASES:
            raise ValueError(f"micropython {self.micropython} is not one of {', '.join(RELEASES)}")
        if self.ram_kib not in RAM_KIB:
            raise ValueError(f"ram_kib {self.ram_kib} is not one of {', '.join(map(str, RAM_KIB))}")

    @classmethod
    def of(cls, value: "Variant | int") -> "Variant":
        """A bare number is one of TCP connections."""
        return value if isinstance(value, cls) else cls(value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        frozen = ", the firmware within" if self.frozen else ""
        ram = "" if self.ram_kib == RAM_KIB[0] else f", {self.ram_kib} KiB of RAM"
        return f"MicroPython {self.micropython} with {self.tcp_pcbs} TCP connections{ram}{frozen}"

    @property
    def is_stock(self) -> bool:
        """All of lwIP's options are MicroPython's own."""
        return self.tcp_pcbs == STOCK_PCBS

    @property
    def header(self) -> str:
        """variant.h of the board definition."""
        lines = ["#pragma once"]
        ram = "" if self.ram_kib == RAM_KIB[0] else f" with {self.ram_kib} KiB"
        if self.is_stock:
            lines += [f'#define METERPORT_BOARD_NAME "Emulated Pico{ram}, stock"']
        else:
            lines += [f'#define METERPORT_BOARD_NAME "Emulated Pico{ram}, meterport"']
            lines += [f"#define MEMP_NUM_TCP_PCB ({self.tcp_pcbs})", '#include "lwip_for_16_sockets.h"']
        return "\n".join(lines) + "\n"

    @property
    def regions(self) -> list[tuple[str, str]]:
        """Lines of the port's linker script for the RP2040, and what replaces them."""
        return [] if self.ram_kib == RAM_KIB[0] else _REGIONS

    def linker_script(self, of_the_port: str) -> str:
        """memmap.ld of the board definition: the port's, with the variant's RAM. Raises ValueError when a line is not
        the port's."""
        script = of_the_port
        for before, after in self.regions:
            if script.count(before) != 1:
                raise ValueError(f"the port's linker script does not say: {before}")
            script = script.replace(before, after)
        return script


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that from_options() reads."""
    parser.add_argument(
        "--tcp-pcbs",
        type=int,
        default=OUR_PCBS,
        metavar="N",
        help=f"TCP connections of lwIP, default %(default)s as in tools/boards; {STOCK_PCBS}: lwIP as in stock builds",
    )
    parser.add_argument(
        "--files", action="store_true", help="an image without the firmware, whose modules and data are files"
    )
    parser.add_argument(
        "--micropython",
        choices=RELEASES,
        default=STABLE,
        metavar="RELEASE",
        help=f"default %(default)s, of Debian 13; {RELEASES[1]} comes from Debian's unstable release while that has it",
    )
    parser.add_argument(
        "--ram",
        type=int,
        choices=RAM_KIB,
        default=RAM_KIB[0],
        metavar="KIB",
        help=f"of the chip, default %(default)s; {RAM_KIB[1]}: as much as an RP2350 has",
    )


def from_options(options: argparse.Namespace) -> Variant:
    """The variant that was asked for. Raises ValueError when there is no such image."""
    return Variant(options.tcp_pcbs, not options.files, options.micropython, options.ram)
