"""What the images of MicroPython for the emulated RP2040 differ in, as one value, and how a command line names it.

A variant may differ in numbers of lwIP, in the board's name, in what is frozen, and in MicroPython's release; not in
what is built in. So two variants of one release share a build directory: what the compiler made of files that do not
see the variant stays (board/EMULATED_PICO/mpconfigboard.cmake says which do).
"""

import argparse
from dataclasses import dataclass

from tools.sources import RELEASES as _RELEASES
from tools.sources import STABLE

STOCK_PCBS = 5  # MEMP_NUM_TCP_PCB of lwIP, which MicroPython's rp2 port leaves alone
OUR_PCBS = 24  # of tools/boards/lwip_for_16_sockets.h, which a unit test compares
_MOST_PCBS = 64
RELEASES = tuple(_RELEASES)


@dataclass(frozen=True)
class Variant:
    """One image. Raises ValueError when there is no such image."""

    tcp_pcbs: int = OUR_PCBS  # 5: all of lwIP's options are MicroPython's own; more: those of tools/boards
    frozen: bool = False  # the firmware's modules are part of the image
    micropython: str = STABLE

    def __post_init__(self) -> None:
        if not STOCK_PCBS <= self.tcp_pcbs <= _MOST_PCBS:
            raise ValueError(f"tcp_pcbs {self.tcp_pcbs} is not one of {STOCK_PCBS}..{_MOST_PCBS}")
        if self.micropython not in RELEASES:
            raise ValueError(f"micropython {self.micropython} is not one of {', '.join(RELEASES)}")

    @classmethod
    def of(cls, value: "Variant | int") -> "Variant":
        """A bare number is one of TCP connections."""
        return value if isinstance(value, cls) else cls(value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        frozen = ", the firmware within" if self.frozen else ""
        return f"MicroPython {self.micropython} with {self.tcp_pcbs} TCP connections{frozen}"

    @property
    def header(self) -> str:
        """variant.h of the board definition."""
        lines = ["#pragma once"]
        if self.tcp_pcbs == STOCK_PCBS:
            lines += ['#define METERPORT_BOARD_NAME "Emulated Pico, stock"']
        else:
            lines += ['#define METERPORT_BOARD_NAME "Emulated Pico, meterport"']
            lines += [f"#define MEMP_NUM_TCP_PCB ({self.tcp_pcbs})", '#include "lwip_for_16_sockets.h"']
        return "\n".join(lines) + "\n"


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


def from_options(options: argparse.Namespace) -> Variant:
    """The variant that was asked for. Raises ValueError when there is no such image."""
    return Variant(options.tcp_pcbs, not options.files, options.micropython)
