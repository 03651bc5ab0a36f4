"""A board on a serial port: flash an image, deploy the firmware, the prompt, the log, a copy of the data (make flash,
deploy, repl, logs, backup); a page that flashes (make web-installer).

In:  a port in any form that mpremote takes (/dev/ttyUSB0, rfc2217://host:port, socket://host:port, id:SERIAL), or
     none where one board only is found by its USB id; for flash an image with or without the firmware within, and the
     configuration that it is to have.
Out: commands of esptool 5 and mpremote, said before they run; with --dry-run said only.
Ends with 0, with 1 when a command failed, with 2 when an argument is wrong.
"""

import argparse
import os
import sys
from pathlib import Path

from tools import build, image
from tools.device import choice, configuration, console, esp32, port, rp2, web_installer
from tools.device.deploy import deploy
from tools.device.port import DeviceError, UsageError


def parse(arguments=None):
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(prog="tools.device", description=__doc__.partition("\n")[0])
    subparsers = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        (
            "flash",
            "write an image: to an RP2 by its drive or picotool, to an ESP32 by esptool, which erases all without "
            "a configuration; deploy where the firmware is not within",
        ),
        ("deploy", "build the firmware and make the board hold it"),
        ("repl", "open the board's prompt"),
        ("logs", "show the board's console, and send nothing"),
        ("backup", "copy the board's data, passwords included"),
        ("web-installer", "write a page that flashes an ESP32 from a browser"),
    ):
        sub = subparsers.add_parser(name, help=text, description=text)
        if name != "web-installer":
            sub.add_argument("--port", default="", help="serial device or any other port string of mpremote")
            sub.add_argument("--dry-run", action="store_true", help="print the commands and do nothing")
        if name in ("flash", "deploy"):
            sub.add_argument("--no-reset", dest="reset", action="store_false", help="do not reset the board at the end")
            sub.add_argument("--older", action="store_true", help="write an older version over a newer one")
        if name == "deploy":
            sub.add_argument("--source", action="store_true", help="copy .py files instead of .mpy")
        if name == "backup":
            sub.add_argument("--out", default="backup", metavar="DIR", help="a new folder; default %(default)s")
        if name == "web-installer":
            sub.add_argument("--image", dest="images", action="append", default=[], metavar="FILE",
                             help="an image of an ESP32 (make image); one for each chip")  # fmt: skip
            sub.add_argument("--out", default=str(build.OUT.with_name("web-installer")), metavar="DIR")
        if name == "flash":
            sub.add_argument("--image", "--micropython-bin", "--firmware", dest="image", metavar="FILE", default="",
                             help="a .bin with the bootloader, or a .uf2; with or without the firmware")  # fmt: skip
            sub.add_argument(
                "--board",
                default="",
                help="a board file (docs/reference/boards.md), for the configuration; without --image its image of "
                "build/images is taken, or an image's name as make image takes it",
            )
            sub.add_argument(
                "--wifi", default="", metavar="SSID", help="for the configuration; the password is asked for"
            )
            sub.add_argument("--config", default="", metavar="FILE", help="a configuration that the board is to have")
            sub.add_argument("--drive", action="append", default=[], metavar="DIR", help="of a board in BOOTSEL")
            sub.add_argument("--esptool", action="append", default=[], metavar="OPTION",
                             help="a further option of esptool, as in --esptool=--no-stub")  # fmt: skip
            sub.add_argument("--chip", choices=["auto", *esp32.OFFSETS], default="auto",
                             help="default: what the image says")  # fmt: skip
            sub.add_argument("--baud", type=int, default=460800, help="while writing; default %(default)s")
            sub.add_argument("--yes", action="store_true", help="ask nothing (nor does make without a terminal)")
    return parser.parse_args(arguments)


def _files(options, say):
    """The files that the options ask for, None when there is no configuration among them. Raises UsageError."""
    if not (options.board or options.wifi or options.config):
        return None
    if options.wifi:
        say(f"Wi-Fi network: {options.wifi!r}")  # what a shell may have made of it
    password = configuration.ask_password(options.wifi) if options.wifi and not options.dry_run else ""
    files = configuration.gather(options.config, options.board, options.wifi, password)
    link = configuration.link(files)
    if link == "ethernet":
        say("network: Ethernet (Wi-Fi: WIFI=ssid, or --config)")
    return files


def _flash(options, example, say):
    def is_agreed():
        is_make_alone = "MAKELEVEL" in os.environ and not sys.stdin.isatty()
        return options.yes or is_make_alone or port.confirmed()

    options.image, options.board = choice.choose(options.image, options.board, image.OUT, say)
    if rp2.is_uf2(options.image):
        if not options.port and not options.drive and not rp2.is_in_bootsel(options.image):
            options.port = port.find_port({port.RP2}, say)
        if options.port:
            port.check_port(options.port, example)
        drives = tuple(Path(drive) for drive in options.drive)
        rp2.flash_uf2(
            options.image, _files(options, say), options.port, drives, is_agreed, options.dry_run, options.older, say
        )
    else:
        esp32.check_image(options.image, options.chip)
        options.port = options.port or port.find_port({port.ESP32}, say)
        port.check_port(options.port, example)
        esp32.flash(
            options.port, options.image, _files(options, say), options.chip, options.baud, is_agreed, options.dry_run,
            options.reset, options.esptool, options.older, say,
        )  # fmt: skip


def main(arguments=None):
    """One action on a board; returns the exit code."""
    options = parse(arguments)

    def say(text):
        print(text, flush=True)

    try:
        of_flash = " IMAGE=meterport.bin" if options.action == "flash" else ""
        example = (
            f"make {options.action} PORT=/dev/ttyUSB0{of_flash}, or --port /dev/ttyACM0, or --port socket://host:7000"
        )
        if options.action == "web-installer":
            web_installer.write(options.images, options.out, say)
            return 0
        if options.action == "flash":
            _flash(options, example, say)
            return 0
        options.port = options.port or port.find_port({port.RP2, port.ESP32}, say)
        port.check_port(options.port, example)
        if options.action == "repl":
            console.repl(options.port, options.dry_run, say)
        elif options.action == "deploy":
            tree = build.OUT.with_name("device-source") if options.source else build.OUT
            deploy(options.port, tree, options.reset, options.dry_run, options.source, options.older, say)
        elif options.action == "logs":
            console.logs(options.port, dry_run=options.dry_run, say=say)
        else:
            console.backup(options.port, options.out, options.dry_run, say)
    except UsageError as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 2
    except (DeviceError, build.BuildError, OSError) as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.action}: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
