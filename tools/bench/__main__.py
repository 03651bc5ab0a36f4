"""`make bench`: our gateway beside the servers that it is compared with, on this machine's 32-bit MicroPython.

In:  options (see --help). Out: tables on stdout, progress on stderr, with --json everything as one object, with
     --into the tables of docs/benchmarks.md. All of it runs on one core in turns, several rounds; every byte of
     every answer is compared. Ends with 1 when a server gives a wrong answer or none, never because of a time.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable

if not __package__:  # run as a program: "tools" must be found, and tools/micropython.py must hide nothing
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent.parent)

from tools import build, gateway, micropython, umodbus
from tools.bench import document, host_stages, host_tables, load, probe, processes, questions

_FAILURES = (
    build.BuildError,
    document.DocumentError,
    gateway.GatewayError,
    micropython.NoMicroPython,
    umodbus.FetchError,
    subprocess.SubprocessError,
    TimeoutError,
    OSError,
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measures our gateway, a bare poll loop, an asyncio echo, umodbus and microdot on the same 32-bit "
        "MicroPython, and pymodbus on CPython: in turns, on one core, every answer compared "
        "byte for byte. Absolute rates depend on the machine, ratios hardly do.",
    )
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures there as well")
    document.add_option(parser)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="of each load in a round; default %(default)s"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=host_stages.STAGES,
        metavar="STAGE",
        help=f"some stages only, repeatable: {', '.join(host_stages.STAGES)}",
    )
    add_where(parser)
    options = parser.parse_args(arguments)
    check_where(parser, options)
    return options


def add_where(parser: argparse.ArgumentParser) -> None:
    """Options that scaling.py has as well: what is measured, and where."""
    parser.add_argument(
        "--tree",
        type=pathlib.Path,
        default=build.ROOT,
        metavar="DIR",
        help="take the firmware of another checkout; default: this one's",
    )
    parser.add_argument("--core", type=int, metavar="N", help="the core to use; default: the first there is")
    parser.add_argument(
        "--nice",
        type=int,
        default=0,
        metavar="N",
        help="of all of it, -20 to 19: below 0 (as root) other programs disturb less",
    )


def check_where(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the program with 2 when one of them, or of --rounds and --seconds, is wrong."""
    if not -20 <= options.nice <= 19:
        parser.error(f"--nice {options.nice}: must be -20 to 19")
    if not 1 <= options.rounds <= 1000:
        parser.error(f"--rounds {options.rounds}: must be 1 to 1000")
    if not 0.05 <= options.seconds <= 600:
        parser.error(f"--seconds {options.seconds}: must be 0.05 to 600")
    if not (options.tree / "firmware" / "app.py").is_file():
        parser.error(f"--tree {options.tree}: there is no firmware/app.py")
    cores = os.sched_getaffinity(0)
    if options.core is None:
        options.core = min(cores)
    if options.core not in cores:
        parser.error(f"--core {options.core}: is not one of {sorted(cores)}")


def progress(text: str) -> None:
    """One line on stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def on_one_core(options: argparse.Namespace, run: Callable[[], object]) -> int:
    """Runs it and what it starts on one core; returns the exit code."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends then, too
    cores, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    try:
        load.compile_generator()
        os.sched_setaffinity(0, {options.core})
        os.setpriority(os.PRIO_PROCESS, 0, nice + options.nice)
        run()
    except KeyboardInterrupt:
        progress("stopped")
        return 130
    except (questions.WrongAnswer, load.LoadError, probe.ProbeError) as error:
        progress(str(error))
        return 1
    except _FAILURES as error:
        progress(f"cannot be run: {error}")
        return 1
    finally:
        os.sched_setaffinity(0, cores)
        if options.nice < 0:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        signal.signal(signal.SIGTERM, before)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    options = parse(arguments)

    def run() -> None:
        if options.into:
            document.commit(options.tree)  # raises before half an hour is spent
        _write(_run(options), options)

    return on_one_core(options, run)


def _write(results: host_stages.Results, options: argparse.Namespace) -> None:
    host_tables.show(results)
    if options.json:
        options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    if options.into:
        document.put(options.into, host_tables.documented(results), document.commit(options.tree))


def _run(options: argparse.Namespace) -> host_stages.Results:
    with tempfile.TemporaryDirectory(prefix="meterport-bench-") as name:
        results = host_stages.Results(options.rounds, options.seconds, progress)
        for stage in options.only or host_stages.STAGES:
            folder = pathlib.Path(name) / stage
            folder.mkdir()
            with processes.Bench(options.tree, folder, progress) as bench:
                host_stages.STAGES[stage](bench, results)
        return results


if __name__ == "__main__":
    sys.exit(main())
