"""`make emulate`: the firmware on an emulated Pico with real MicroPython and real lwIP, and virtual meters on its line.

In:  options (see --help), and the configuration: that of the sim with the chip's ports and UART, --config FILE merged
     over it.
Out: exactly one line on stdout when both services answer,
         ready http=127.0.0.1:8080 modbus=127.0.0.1:1502
     and everything else (progress, what the chip prints) on stderr.
Ends with 0 after Ctrl-C, SIGTERM or SIGHUP, with 1 when the emulator ended by itself or the firmware did not become
ready, with 2 when an option is wrong. Whatever it started is ended, and its temporary files are gone.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from tools import program, sim, virtual_meters
from tools.emulator import build, emulated, image, slirp, variant

READY_TIMEOUT_S = 120
UART = {"uart": emulated.METER_UART, "baud": emulated.BAUD, "framing": "8N1"}


def configuration(over=None):
    """The sim's configuration on the chip: its own ports, its UART, no clock to ask; `over` merged over it."""
    on_chip = {
        "name": "meterport-emulated",
        "http": {"port": emulated.PORTS["http"], "bind": "0.0.0.0"},
        "modbus": {"port": emulated.PORTS["modbus"], "bind": "0.0.0.0"},
        "ntp": {"server": slirp.GATEWAY},  # this machine, at a closed port
        "finder": {"bind": "0.0.0.0"},
        "buses": [UART],
    }
    config = sim.merge(sim.merge(sim.DEFAULT_CONFIG, on_chip), over or {})
    for name, port in emulated.PORTS.items():
        if config[name]["port"] != port:
            raise sim.SimError(f"configuration: {name}.port: {config[name]['port']} is not {port}, which is forwarded")
    return config


def run(options):
    """Runs until a signal (returns 0) or the end of the emulator (returns 1)."""
    chosen = variant.from_options(options)
    with contextlib.ExitStack() as stack:
        folder = options.state
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="meterport-emulator-"))
        config = configuration(sim.read_json_object(options.config) if options.config else None)
        wanted = {"http": options.http_port, "modbus": options.modbus_port}
        sim.check_ports({name: {"port": port} for name, port in wanted.items()})
        bus = config["buses"][0]
        echo = program.Echo()
        stack.callback(echo.close)

        def progress(text):
            program.say(f"emulate: {text}")

        chip = emulated.Emulator(
            folder,
            firmware=build.ensure_firmware(chosen, progress),
            files=emulated.device_files(config, progress, chosen.frozen),
            meters=virtual_meters.default_meters(),
            baud=bus.get("baud", emulated.BAUD),
            framing=bus.get("framing", "8N1"),
            ports=wanted,
            repl_port=options.repl_port,
            on_line=echo,
            progress=progress,
        )
        stack.enter_context(chip)
        program.say(f"emulate: flash in {chip.flash}; REPL: mpremote connect socket://{emulated.HOST}:{chip.repl_port}")
        chip.wait_ready(READY_TIMEOUT_S)
        http, modbus = chip.ports["http"], chip.ports["modbus"]
        print(f"ready http={emulated.HOST}:{http} modbus={emulated.HOST}:{modbus}", flush=True)
        if program.wait_while(lambda: chip.alive and all(part and part.alive for part in (chip.network, chip.line))):
            return 0
        program.say(f"emulate: the emulator has ended; its last lines:\n{chip.tail()}")
        return 1


def parse(arguments=None):
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(
        prog="emulate",
        description="Runs the firmware on an emulated Raspberry Pi Pico with real MicroPython and lwIP, with the "
        "virtual meters of the sim on its UART 1. Prints one line 'ready http=... modbus=...' when both answer. The "
        "first run builds MicroPython from Debian's source packages (some minutes).",
    )
    for name, port in (("http", 8080), ("modbus", 1502)):
        parser.add_argument(
            f"--{name}-port", type=int, default=port, metavar="N", help="default %(default)s; 0 picks a free one"
        )
    parser.add_argument("--repl-port", type=int, default=0, metavar="N", help="of the REPL; default: a free one")
    variant.add_options(parser)
    parser.add_argument("--state", metavar="DIR", type=Path, help="keeps flash.bin; default: a temporary directory")
    parser.add_argument("--config", metavar="FILE", help="JSON merged over the configuration of a new flash")
    options = parser.parse_args(arguments)
    for name in ("http_port", "modbus_port", "repl_port"):
        value = getattr(options, name)
        if not 0 <= value <= 65535:
            parser.error(f"--{name.replace('_', '-')} {value}: must be 0..65535")
    if options.http_port and options.http_port == options.modbus_port:
        parser.error(f"HTTP and Modbus cannot both have port {options.http_port}")
    try:
        variant.from_options(options)
    except ValueError as error:
        parser.error(str(error))
    if options.state and options.state.exists() and not options.state.is_dir():
        parser.error(f"--state {options.state}: is not a directory")
    return options


def main(arguments=None):
    """Runs the emulator; returns the exit code."""
    options = parse(arguments)
    usage = (sim.SimError, image.ImageError, ValueError)
    # of the build, of Node.js, of packages, of the emulator
    return program.run("emulate", lambda: run(options), usage, (RuntimeError, OSError))


if __name__ == "__main__":
    sys.exit(main())
