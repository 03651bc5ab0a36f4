"""`make sim`: the firmware on this machine with virtual meters, without any hardware.

In:  options (see --help), and the configuration: the sim's default or STATE/data/config.json, then
     --config FILE merged over it, then the ports.
Out: exactly one line on stdout when both services answer,
         ready http=127.0.0.1:8080 modbus=127.0.0.1:1502
     and everything else (progress, the firmware's log) on stderr.
Ends with 0 after Ctrl-C, SIGTERM or SIGHUP, with 1 when the firmware ended by itself or did not become
ready, with 2 when an option is wrong. Whatever it started is ended, and its temporary files are gone.

A reboot of the firmware (exit code 42) is a new start on the same ports, after a factory reset too (tools/gateway.py).
"""

import argparse
import contextlib
import copy
import errno
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

if not __package__:  # run as a program: "tools" must be found, and tools/micropython.py must hide nothing
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools import gateway, program, virtual_meters
from tools.gateway import Gateway

HOST = "127.0.0.1"
UART = "bus0"  # a link in the state directory to the pty of the virtual meters
READY_TIMEOUT_S = 60

DEFAULT_CONFIG: dict[str, Any] = {
    "name": "meterport-sim",
    "http": {"port": 8080, "bind": HOST, "public_status": True},
    "modbus": {"port": 1502, "bind": HOST},
    "ntp": {"server": HOST, "port": 12399},  # a closed port: the sim gets no time
    "finder": {"bind": HOST},
    "buses": [{"uart": UART, "baud": 9600, "framing": "8N1"}],
    "meters": [
        {"slot": 0, "name": "main", "unit": 1, "profile": "eastron-sdm630", "interval_s": 1},
        {"slot": 1, "name": "feeder", "unit": 2, "profile": "elkor-wattson-mk2", "interval_s": 1},
        {"slot": 2, "name": "socket", "unit": 3, "profile": "pzem-004t-v3", "interval_s": 1},
    ],
}


class SimError(Exception):
    """An option, a file or a port that cannot be used; the text says which and what would do."""


def merge(base, over):
    """A new object: `over` over `base`, key by key in objects; anything else, lists too, is replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = {key: merge(base[key], over[key]) if key in over else copy.deepcopy(base[key]) for key in base}
        return merged | {key: copy.deepcopy(value) for key, value in over.items() if key not in base}
    return copy.deepcopy(over)


def read_json_object(path):
    """The JSON object in a file. Raises SimError."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SimError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SimError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise SimError(f"{path}: must be a JSON object")
    return data


def configuration(options, state_dir):
    """The configuration to run with. Ports that are 0 have become free ones. Raises SimError."""
    stored = Path(state_dir) / "data" / "config.json"
    config = read_json_object(stored) if stored.exists() else copy.deepcopy(DEFAULT_CONFIG)
    if options.config:
        config = merge(config, read_json_object(options.config))
    for section, port in (("http", options.http_port), ("modbus", options.modbus_port)):
        values = config.setdefault(section, {})
        if not isinstance(values, dict):
            raise SimError(f"configuration: {section}: must be an object")
        values.setdefault("bind", HOST)
        values.setdefault("port", DEFAULT_CONFIG[section]["port"])
        if port is not None:
            values["port"] = port
        if not isinstance(values["port"], int) or not 0 <= values["port"] <= 65535:
            raise SimError(f"configuration: {section}.port: {values['port']!r} is not one of 0..65535")
    _use_bus(config, options)
    for section, port in zip(("http", "modbus"), gateway.free_ports(2), strict=True):
        config[section]["port"] = config[section]["port"] or port
    if config["http"]["port"] == config["modbus"]["port"]:
        raise SimError(f"HTTP and Modbus cannot both have port {config['http']['port']}: change one of the two")
    return config


def _use_bus(config, options):
    buses = config.setdefault("buses", [])
    if not isinstance(buses, list) or not all(isinstance(bus, dict) for bus in buses):
        raise SimError("configuration: buses: must be a list of objects")
    if not buses:
        buses.append(dict(DEFAULT_CONFIG["buses"][0]))
    bus = buses[0]
    bus["uart"] = os.path.abspath(options.serial) if options.serial else UART
    if options.baud:
        bus["baud"] = options.baud
    bus.setdefault("baud", 9600)
    bus.setdefault("framing", "8N1")


def check_ports(config):
    """Raises SimError when a port cannot be had."""
    for section in ("http", "modbus"):
        port = config[section]["port"]
        error = gateway.port_error(port)
        if error:
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be had: {error}"
            raise SimError(f"port {port} {why}: give another one with --{section}-port N (0 picks a free one)")


def run(options):
    """Runs until a signal (returns 0) or the end of the firmware (returns 1). Raises SimError."""
    with contextlib.ExitStack() as stack:
        state_dir = options.state
        if state_dir is None:
            state_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="meterport-sim-"))
        config = configuration(options, state_dir)
        check_ports(config)
        stored = Path(state_dir) / "data" / "config.json"
        if not stored.exists() or read_json_object(stored) != config:
            gateway.write_config(state_dir, config)

        echo = program.Echo()
        stack.callback(echo.close)
        process = Gateway(
            state_dir,
            runtime=options.runtime,
            heap=options.heap,
            source=options.source,
            frozen=options.frozen,
            on_line=echo,
            progress=lambda text: program.say(f"sim: {text}"),
            argv=options.argv,
            place=gateway.place_of(config),
        )
        line = None
        if options.serial:
            program.say(f"sim: serial line {options.serial}, {config['buses'][0]['baud']} baud")
        else:
            line = stack.enter_context(_virtual_line(config["buses"][0], state_dir))
            units = ", ".join(f"{meter.unit} {meter.profile.name}" for meter in line.meters)
            program.say(f"sim: virtual meters on {line.path}: {units}")
        stack.callback(process.stop)
        process.start()
        frozen = ", frozen" if options.frozen else ""
        program.say(f"sim: firmware on {options.runtime}{frozen}, process {process.pid}, state in {state_dir}")
        process.wait_ready(READY_TIMEOUT_S)
        http, modbus = process.ports()
        print(f"ready http={HOST}:{http} modbus={HOST}:{modbus}", flush=True)
        if not any((Path(state_dir) / "data").glob("password.?")):
            program.say(
                f"sim: no password is set yet, and none is needed to look: http://{HOST}:{http}/ sets one, or "
                f".venv/bin/meterport set-password -g {HOST}:{http}"
            )
        if program.wait_while(lambda: process.alive and (line is None or line.alive)):
            return 0
        if process.alive:
            raise RuntimeError("the virtual meters have died")
        code = process.wait_exit()
        program.say(f"sim: the firmware ended with code {code}; its last lines:\n{process.tail()}")
        return 1


def _virtual_line(bus, state_dir):
    try:
        meters = virtual_meters.default_meters()
        return virtual_meters.VirtualLine(meters, bus["baud"], bus["framing"], Path(state_dir) / UART)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise SimError(f"configuration: buses[0]: {error}") from None


def parse(arguments=None):
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(
        prog="sim.py",
        description="Runs the firmware on this machine, with virtual meters on a pty: unit 1 Eastron SDM630, "
        "2 WattsOn-Mark II, 3 PZEM-004T v3. Prints one line 'ready http=... modbus=...' when both answer.",
    )
    parser.add_argument("--http-port", type=int, metavar="N", help="default 8080; 0 picks a free one")
    parser.add_argument("--modbus-port", type=int, metavar="N", help="default 1502; 0 picks a free one")
    parser.add_argument("--runtime", choices=gateway.RUNTIMES, default="micropython", help="default %(default)s")
    parser.add_argument("--heap", help=f"of MicroPython, default {gateway.HEAP}; with --frozen {gateway.FROZEN_HEAP}")
    parser.add_argument(
        "--frozen", action="store_true", help="a 32-bit MicroPython with the firmware within, as in our images"
    )
    parser.add_argument("--source", action="store_true", help="MicroPython runs .py files instead of .mpy")
    parser.add_argument("--state", metavar="DIR", help="the device's file system; default: a temporary one")
    parser.add_argument("--config", metavar="FILE", help="JSON merged over the configuration")
    parser.add_argument("--serial", metavar="PATH", help="use this serial device instead of virtual meters")
    parser.add_argument("--baud", type=int, metavar="N", help="of the serial line, default 9600")
    options = parser.parse_args(arguments)
    options.argv = None  # another command than the firmware, for the tests of this file
    if options.frozen and (options.source or options.runtime != "micropython"):
        parser.error("--frozen: the firmware lies within MicroPython: no --source, no other --runtime")
    for name in ("http_port", "modbus_port"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 65535:
            parser.error(f"--{name.replace('_', '-')} {value}: must be 0..65535")
    if options.baud is not None and not 300 <= options.baud <= 921600:
        parser.error(f"--baud {options.baud}: must be 300..921600")
    if options.serial and not os.path.exists(options.serial):
        parser.error(f"--serial {options.serial}: there is no such device")
    if options.state and os.path.exists(options.state) and not os.path.isdir(options.state):
        parser.error(f"--state {options.state}: is not a directory")
    return options


def main(arguments=None, argv=None):
    """Runs the sim; returns the exit code. argv: a command to run in place of the firmware (tests)."""
    options = parse(arguments)
    options.argv = argv
    # GatewayError is a RuntimeError
    return program.run("sim", lambda: run(options), (SimError, ValueError), (RuntimeError, OSError))


if __name__ == "__main__":
    sys.exit(main())
