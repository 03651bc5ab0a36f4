"""`python -m tools.fleet --gateways 1000`: plays gateways that send their history to an MQTT broker, or with --database
to VictoriaMetrics, and says what became of it. Exit code 0 when every record arrived, 1 when one did not, 2 for wrong
arguments or when nobody answers.
"""

import argparse
import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent.parent
for _path in ("host_tests/shim", "lib", "."):
    if str(_ROOT / _path) not in sys.path:
        sys.path.insert(0, str(_ROOT / _path))

from rich import box  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from tools.fleet import run as fleet  # noqa: E402

PASSWORD = "MQTT_PASSWORD"
_GATEWAYS_MAX = 20_000
_MINUTES_MAX = 24 * 60
_METERS_MAX = 16
_SHOWN = 5


def parse(arguments: list[str] | None = None) -> fleet.Options:
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(
        prog="fleet",
        description="Plays gateways that send their history to an MQTT broker: the firmware's own service, cursor and "
        "records, in a time that jumps. The broker must keep what the subscriber has not taken yet; mosquitto: "
        "max_queued_messages 0.",
    )
    add = parser.add_argument
    add("--gateways", type=int, default=1000, metavar="N", help="default %(default)s")
    add("--minutes", type=float, default=10, metavar="N", help="of their life; default %(default)s")
    add("--broker", default="127.0.0.1:1883", metavar="HOST[,HOST...]:PORT", help="default %(default)s")
    add("--user", default="", metavar="NAME", help=f"at the broker; its password: the variable {PASSWORD}")
    add("--database", default="", metavar="http://HOST:PORT/write", help="post to VictoriaMetrics there, no MQTT")
    add("--meters", type=int, default=3, metavar="N", help="of each gateway; default %(default)s")
    add("--interval", type=int, default=60, choices=(60, 300, 600, 900, 1800, 3600), help="seconds between records")
    add("--values", type=int, default=30, metavar="S", help="seconds between values; default %(default)s")
    add("--outages", type=int, default=1, metavar="N", help="of the broker, for all; default %(default)s")
    add("--outage", type=float, default=90, metavar="S", help="how long each is; default %(default)s")
    add("--restarts", type=float, default=20, metavar="PERCENT", help="of the gateways; default %(default)s")
    add("--spread", type=float, default=2, metavar="S", help="their clocks are right within it; default %(default)s")
    add(
        "--pace", type=float, default=0, metavar="N", help="seconds of theirs in one of ours at most; default: no bound"
    )
    add("--seed", type=int, default=1, help="of everything that is random; default %(default)s")
    options = parser.parse_args(arguments)
    for name, least, most in (
        ("gateways", 1, _GATEWAYS_MAX), ("minutes", 1, _MINUTES_MAX), ("meters", 1, _METERS_MAX), ("values", 1, 3600),
        ("outages", 0, 100), ("outage", 1, 86400), ("restarts", 0, 100), ("spread", 0, 30), ("pace", 0, 1e6),
    ):  # fmt: skip
        value = getattr(options, name)
        if not least <= value <= most:
            parser.error(f"--{name} {value:g}: must be {least:g} to {most:g}")
    hosts, colon, port = options.broker.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536 or not all(hosts.split(",")):
        parser.error(f"--broker {options.broker}: must be HOST:PORT, or HOST,HOST:PORT, such as 127.0.0.1:1883")
    return fleet.Options(
        addresses=tuple((host, int(port)) for host in hosts.split(",")), gateways=options.gateways,
        minutes=options.minutes, meters=options.meters, interval_s=options.interval, values_s=options.values,
        outages=options.outages, outage_s=options.outage, restarts=options.restarts / 100, spread_s=options.spread,
        pace=options.pace, seed=options.seed, database=options.database, user=options.user,
        password=os.environ.get(PASSWORD, ""),
    )  # fmt: skip


def table(result: fleet.Result) -> Table:
    """What became of it, for rich's console."""
    found = Table(title=f"{result.gateways} gateways, {result.virtual_s / 60:.0f} minutes", box=box.SIMPLE_HEAD)
    found.add_column("")
    found.add_column("", justify="right")
    counts = result.counts
    messages = counts.history + counts.values
    rows = {
        "records made": result.made,
        "delivered": result.delivered,
        "lost": result.lost,
        "delivered twice or more": result.twice,
        "taken by power cuts before they were on flash": result.cut,
        "lines and values that nobody made": result.wrong,
        "restarts as planned, by power cuts": f"{result.restarts}, {result.cuts}",
        "connections": counts.connections,
        "messages of the history (posts, or QoS 1), again": f"{counts.history}, {counts.history_again}",
        "messages of values and states (QoS 0)": counts.values,
        "values that arrived, each checked": result.values,
        "bytes of all packets": counts.bytes,
        "messages per second of theirs": f"{messages / result.virtual_s:.1f}",
        "messages per second of ours": f"{messages / result.real_s:.1f}",
        "messages in the busiest second": result.busiest,
        "largest second's share of a minute's history": f"{100 * result.largest_share:.1f} %",
        "took": f"{result.real_s:.1f} s",
    }
    for name, value in rows.items():
        found.add_row(name, str(value))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Plays a fleet; gives the exit code."""
    options = parse(arguments)
    try:
        result = fleet.run(options)
    except fleet.FleetError as error:
        print(error, file=sys.stderr)
        return 2
    Console().print(table(result))
    if result.is_whole:
        return 0
    for number, begin_s in result.missing[:_SHOWN]:
        print(f"lost: gateway{number}, record of {begin_s}", file=sys.stderr)
    if result.first_wrong:
        print(f"nobody made: {result.first_wrong!r}", file=sys.stderr)
    if result.lost_by_firmware or result.waiting:
        print(f"the gateways count {result.lost_by_firmware} lost, {result.waiting} wait", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
