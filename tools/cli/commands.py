"""The commands of `meterport`; those that send firmware are in releases.py.

Exit codes: 0, everything was done; 1, a gateway could not; 2, the command line is wrong; 3, a comparison found
differences.
"""

import json
import socket
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from tools.cli import releases, search, show
from tools.cli.common import (
    EXIT_FAILED,
    LOOK_S,
    Tell,
    end,
    finish,
    for_gateways,
    place_of,
    print_failures,
    print_json,
    print_outcomes,
    search_network,
    search_options,
)
from tools.cli.fleet import Failure, Fleet, Gateway, read_fleet
from tools.cli.keys import at_key, differences, set_at_key
from tools.cli.log import Event, new_events
from tools.device_api import Device

EXIT_DIFFERS = 3
_REBOOT_WAIT_S = 90
_EXCEPTIONS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "server device failure",
    5: "acknowledge", 6: "server device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, version="0.1.0", prog_name="meterport")
def meterport() -> None:
    """Gateways of this project, one or many: found, read, configured.

    A password is asked for when a gateway wants one, or taken from the variable METERPORT_PASSWORD.
    """


meterport.add_command(releases.package)
meterport.add_command(releases.release_key)
meterport.add_command(releases.update)


# ---------------------------------------------------------------------------
# Finding


@meterport.command()
@search_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of the gateways' documents.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write those that are found as a file for --fleet, which must be new.")  # fmt: skip
@click.option("-f", "--fleet", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Name the gateways of a file that are not found, and those found that it lacks.")  # fmt: skip
def find(
    to: tuple[str, ...], finder_port: int, wait_s: float, as_json: bool, save: Path | None, fleet: Path | None
) -> None:
    """Search the local network for gateways."""
    try:
        listed = read_fleet(fleet) if fleet else []
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from None
    found = search_network(to, finder_port, wait_s)
    conflicts = search.conflicts(found)
    if as_json:
        print_json([one.document | {"from": one.address, "conflicts": conflicts[one.document["serial"]]}
                     for one in found])  # fmt: skip
    elif found:
        rows = [_found_row(one, conflicts[one.document["serial"]]) for one in found]
        columns = ("name", "address", "model", "firmware", "http|", "modbus|", "bacnet|", "free sockets|", "up",
                   "serial", "conflicts")  # fmt: skip
        show.console().print(show.table(columns, rows))
    if not found:
        raise click.ClickException(f"no gateway has answered within {wait_s:g} s")
    if save:
        try:
            with open(save, "x", encoding="utf-8") as file:
                file.writelines(f"{place_of(one)}  # {show.cell(one.document['name']).plain}\n" for one in found)
        except OSError as error:
            raise click.ClickException(f"{save}: {error.strerror}") from None
    if fleet and not _agree(listed, found, fleet):
        raise SystemExit(EXIT_FAILED)


def _agree(listed: list[Gateway], found: list[search.Found], path: Path) -> bool:
    """Names the gateways that only the file has, or only the search. Names of hosts are resolved; a gateway may
    stand in the file several times, as in two groups."""
    complaints = []
    listed_places = set()
    places = {(one.address, one.port("http") or 80): one for one in found}
    for gateway in dict.fromkeys(listed):
        try:
            address = socket.gethostbyname(gateway.host)
        except OSError as error:
            complaints.append(f"{gateway}: {error.strerror or error}")
            continue
        listed_places.add((address, gateway.http_port))
        if (address, gateway.http_port) not in places:
            complaints.append(f"{gateway}: in {path}, and not found")
    complaints += [
        f"{place_of(one)}: found ({one.document['name']}), and not in {path}"
        for place, one in places.items() if place not in listed_places
    ]  # fmt: skip
    for text in complaints:
        show.console(stderr=True).print(show.cell(text, "red"))
    return not complaints


def _found_row(one: search.Found, conflicts: list[str]) -> list[Any]:
    document = one.document
    uptime_s = document.get("uptime_s")
    return [
        document["name"], one.address, document.get("model"), document.get("firmware"), one.port("http"),
        one.port("modbus"), one.port("bacnet"), f"{document.get('sockets_free')}/{document.get('sockets')}",
        show.duration(uptime_s if isinstance(uptime_s, int) else None), document["serial"],
        show.cell("; ".join(conflicts), "red"),
    ]  # fmt: skip


@meterport.command()
@click.argument("serial")
@search_options
def identify(serial: str, to: tuple[str, ...], finder_port: int, wait_s: float) -> None:
    """Blink the LED of the gateway with that SERIAL number for 20 s."""
    try:
        found = search.search(to, finder_port, wait_s, b"meterport identify " + serial.encode("ascii"))
    except UnicodeEncodeError:
        raise click.UsageError("a serial number is hexadecimal digits") from None
    except OSError as error:
        raise click.ClickException(f"the request could not be sent: {error.strerror or error}") from None
    if not found:
        raise click.ClickException(f"no gateway with the serial number {serial} has answered within {wait_s:g} s")
    for one in found:
        led = "blinks its LED for 20 s" if one.document.get("led") else "has no LED, and has logged the request"
        show.console().print(show.cell(f"{one.document['name']} at {one.address} {led}"))


# ---------------------------------------------------------------------------
# Looking


def _get(path: str) -> Callable[[Device, Gateway, Tell], Any]:
    return lambda device, gateway, tell: device.get(path)


@meterport.command()
@for_gateways
def status(fleet: Fleet, as_json: bool) -> None:
    """What runs on a gateway, its serial lines and its meters."""
    finish(fleet, fleet.run(_get("/api/status")), as_json, show.status)


@meterport.command()
@for_gateways
def sockets(fleet: Fleet, as_json: bool) -> None:
    """Who holds a gateway's sockets."""
    finish(fleet, fleet.run(_get("/api/sockets")), as_json, show.sockets)


@meterport.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C; with --json a line for each time.")
@click.option("--every", "every_s", type=click.FloatRange(0.5, 3600), default=2.0, show_default=True, metavar="S",
              help="With --watch: seconds from one to the next.")  # fmt: skip
@for_gateways
def readings(fleet: Fleet, as_json: bool, watch: bool, every_s: float) -> None:
    """The values of all meters."""
    if not watch:
        finish(fleet, fleet.run(_get("/api/readings")), as_json, show.readings)
        return
    console = show.console()
    try:
        while True:
            outcomes = fleet.run(_get("/api/readings"))
            if as_json:
                click.echo(json.dumps({str(one.gateway): one.document or {"error": one.error} for one in outcomes}))
            else:
                console.clear()
                print_outcomes(outcomes, False, show.readings)
            print_failures(fleet.errors, outcomes)
            time.sleep(every_s)
    except KeyboardInterrupt:
        return


# ---------------------------------------------------------------------------
# Modbus


@meterport.command()
@click.argument("unit", type=click.IntRange(0, 255))
@click.argument("function", metavar="FC", type=click.IntRange(1, 4))
@click.argument("address", type=click.IntRange(0, 65535))
@click.argument("count", type=click.IntRange(1, 2000), default=1)
@for_gateways
def read(fleet: Fleet, as_json: bool, unit: int, function: int, address: int, count: int) -> None:
    """Read by Modbus TCP: COUNT bits (FC 1 and 2) or registers (FC 3 and 4) from ADDRESS, which counts from 0.

    Unit 255 is the gateway itself.
    """
    if function > 2 and count > 125:
        raise click.UsageError("COUNT: at most 125 registers fit a reply")
    timeout_s = fleet.timeout_s

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        return _read(gateway, timeout_s, unit, function, address, count)

    finish(fleet, fleet.run(work), as_json, show.registers)


def _read(gateway: Gateway, timeout_s: float, unit: int, function: int, address: int, count: int) -> dict[str, Any]:
    with ModbusTcpClient(gateway.host, port=gateway.modbus_port, timeout=timeout_s, retries=0) as client:
        if not client.connected:
            raise Failure(f"no Modbus TCP connection to port {gateway.modbus_port}")
        names = ("read_coils", "read_discrete_inputs", "read_holding_registers", "read_input_registers")
        try:
            reply = getattr(client, names[function - 1])(address, count=count, device_id=unit)
        except ModbusException as error:
            raise Failure(f"no answer within {timeout_s:g} s ({error})") from None
    if reply.isError():
        code = reply.exception_code
        raise Failure(f"exception {code}, {_EXCEPTIONS.get(code, 'of no specification')}")
    if function < 3:
        return {"first": address, "bits": [int(bit) for bit in reply.bits[:count]]}
    return {"first": address, "registers": reply.registers}


# ---------------------------------------------------------------------------
# History


@meterport.command()
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, as the gateway writes it.")
@click.option(
    "--from",
    "first",
    metavar="TIME",
    help="The first time: 2026-11-26, 2026-11-26T03:51:07Z or unix seconds. Default: a day ago.",
)
@click.option("--before", metavar="TIME", help="The first time that is not wanted any more.")
@click.option("--meter", type=click.IntRange(0, 63), metavar="SLOT", help="Only this meter.")
@click.option("--every", type=click.Choice(["interval", "day"]), default="interval", show_default=True)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write FOLDER/GATEWAY.csv (or .json); needed for the CSV of several gateways.",
)
@for_gateways
def history(
    fleet: Fleet, as_json: bool, as_csv: bool, first: str | None, before: str | None, meter: int | None, every: str,
    into: Path | None,
) -> None:  # fmt: skip
    """The energies and powers that a gateway keeps on its flash."""
    asked = {"from": first, "to": before, "meter": meter, "every": every, "format": "csv" if as_csv else "json"}
    path = "/api/records?" + urllib.parse.urlencode({key: value for key, value in asked.items() if value is not None})
    if as_csv and into is None and (as_json or len(fleet.gateways) > 1):
        raise click.UsageError("--csv of several gateways needs --into FOLDER, and goes without --json")

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        data = device.fetch(path)
        if into is not None:
            return str(_keep(into, gateway, "csv" if as_csv else "json", data))
        return data.decode() if as_csv else json.loads(data)

    outcomes = fleet.run(work, "history")
    if as_csv and into is None:
        for outcome in outcomes:
            click.echo(outcome.document or "", nl=False)
        end(fleet, outcomes)
    else:
        finish(fleet, outcomes, as_json, show.lines if into else show.records)


def _keep(folder: Path, gateway: Gateway, ending: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{str(gateway).replace(':', '-')}.{ending}"
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------------------
# The configuration


@meterport.group()
def config() -> None:
    """A gateway's configuration: one JSON document (docs/reference/configuration.md)."""


@config.command("get")
@click.argument("key", required=False)
@for_gateways
def config_get(fleet: Fleet, as_json: bool, key: str | None) -> None:
    """Print the configuration, or what is at KEY: modbus.port, meters[0].name. Keys that have their default are not in
    it."""
    outcomes = fleet.run(lambda device, gateway, tell: at_key(device.config(), key) if key else device.config())
    finish(fleet, outcomes, as_json, show.documents)


@config.command("set")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY VALUE [KEY VALUE]...")
@for_gateways
def config_set(fleet: Fleet, as_json: bool, pairs: tuple[str, ...]) -> None:
    """Set KEY to VALUE, which is JSON or else a text. All keys of one command are saved at once, or none."""
    if len(pairs) % 2:
        raise click.UsageError(f"{pairs[-1]} has no value")
    changes = [(pairs[k], _value(pairs[k + 1])) for k in range(0, len(pairs), 2)]

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        changed = device.config()
        for key, value in changes:
            set_at_key(changed, key, value)
        return {"reboot_due": device.save(changed)}

    finish(fleet, fleet.run(work, "config set"), as_json, show.saved)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@config.command("backup")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@for_gateways
def config_backup(fleet: Fleet, as_json: bool, path: Path) -> None:
    """Keep the configuration in FILE; of several gateways in FILE/GATEWAY.json. It holds no passwords."""
    single = len(fleet.gateways) == 1 and not path.is_dir()

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        data = device.fetch("/api/config?download=1")
        if not single:
            return str(_keep(path, gateway, "json", data))
        path.write_bytes(data)
        return str(path)

    finish(fleet, fleet.run(work, "config backup"), as_json, show.lines)


def _backup_of(path: Path, gateway: Gateway) -> Path:
    return path / f"{str(gateway).replace(':', '-')}.json" if path.is_dir() else path


@config.command("restore")
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="FILE")
@for_gateways
def config_restore(fleet: Fleet, as_json: bool, path: Path) -> None:
    """Save the configuration of FILE, or of FILE/GATEWAY.json where FILE is a folder. Passwords stay as they are."""
    if len(fleet.gateways) > 1 and not path.is_dir():
        raise click.UsageError(f"{path} is one configuration: several gateways need a folder with one for each")
    finish(
        fleet,
        fleet.run(
            lambda device, gateway, tell: {"reboot_due": device.save(_backup_of(path, gateway).read_bytes())},
            "config restore",
        ),
        as_json,
        show.saved,
    )


@config.command("diff")
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="FILE")
@for_gateways
def config_diff(fleet: Fleet, as_json: bool, path: Path) -> None:
    """Compare the configuration with that of FILE, or of FILE/GATEWAY.json where FILE is a folder. Ends with 3 when
    they differ."""

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        wanted = json.loads(_backup_of(path, gateway).read_text(encoding="utf-8"))
        return differences(device.config(), wanted)

    outcomes = fleet.run(work, "config diff")
    finish(fleet, outcomes, as_json, show.differences)
    if any(outcome.document for outcome in outcomes):
        raise SystemExit(EXIT_DIFFERS)


# ---------------------------------------------------------------------------
# Doing


@meterport.command("set-password")
@for_gateways
def set_password(fleet: Fleet, as_json: bool) -> None:
    """Set the first password of a gateway that has none, from its own network."""
    password = fleet.ask_password(again=True)
    outcomes = fleet.run(lambda device, gateway, tell: device.set_password(password) and None or "the password is set")
    finish(fleet, outcomes, as_json, show.lines)


@meterport.command()
@click.option("--bus", type=click.IntRange(0, 1), default=0, show_default=True)
@click.option("--baud", metavar="N[,N...]", help="Default: the bus's own.")
@click.option("--framing", metavar="8N1[,8E1...]", help="Default: the bus's own.")
@click.option("--first", type=click.IntRange(1, 247), default=1, show_default=True, metavar="UNIT")
@click.option("--last", type=click.IntRange(1, 247), default=247, show_default=True, metavar="UNIT")
@for_gateways
def scan(fleet: Fleet, as_json: bool, bus: int, baud: str | None, framing: str | None, first: int, last: int) -> None:
    """Search a serial line for meters. Polling of that line pauses meanwhile; Ctrl-C stops the search."""
    asked = {"bus": bus, "baud": baud, "framing": framing, "first": first, "last": last}
    path = "/api/scan?" + urllib.parse.urlencode({key: value for key, value in asked.items() if value is not None})

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        state = device.call("POST", path)  # without a body, as the API has it
        try:
            while state["running"]:
                if fleet.stopping.wait(LOOK_S):
                    raise Failure("the search was stopped")
                state = device.get("/api/scan")
                tell(state["done"], state["total"])
        except BaseException:
            device.call("DELETE", "/api/scan")
            raise
        if state["error"]:
            raise Failure(state["error"])
        return state

    finish(fleet, fleet.run(work, "scan"), as_json, show.scan)


@meterport.command()
@click.option("--no-wait", is_flag=True, help="Do not wait until it is back.")
@click.option("--yes", is_flag=True, help="Do not ask before several gateways are restarted.")
@for_gateways
def reboot(fleet: Fleet, as_json: bool, no_wait: bool, yes: bool) -> None:
    """Restart a gateway, and wait until it is back."""
    count = len(fleet.gateways)
    if count > 1 and not yes and not click.confirm(f"Restart {count} gateways?", err=True):
        raise click.Abort

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        device.reboot(0 if no_wait else _REBOOT_WAIT_S)
        return "restarts" if no_wait else "is back"

    finish(fleet, fleet.run(work, "reboot"), as_json, show.lines)


@meterport.command()
@click.option("--follow", is_flag=True, help="Print what comes, until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    metavar="S",
    help="With --follow: seconds from one look to the next.",
)
@for_gateways
def log(fleet: Fleet, as_json: bool, follow: bool, every_s: float) -> None:
    """The last 24 lines of a gateway's log."""
    seen: dict[Gateway, list[Event]] = {}
    try:
        while True:
            outcomes = fleet.run(lambda device, gateway, tell: device.get("/api/status")["events"])
            for outcome in outcomes:
                if outcome.error is None:
                    events = [Event(**event) for event in outcome.document]
                    for event in new_events(seen.get(outcome.gateway, []), events):
                        _print_event(fleet, outcome.gateway, event, as_json)
                    seen[outcome.gateway] = events
            failed = print_failures(fleet.errors, outcomes)
            if not follow:
                break
            time.sleep(every_s)
    except KeyboardInterrupt:
        return
    if failed:
        raise SystemExit(EXIT_FAILED)


def _print_event(fleet: Fleet, gateway: Gateway, event: Event, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"gateway": str(gateway)} | event._asdict()))
    else:
        name = f"{gateway} " if len(fleet.gateways) > 1 else ""
        times = f" ({event.times} times)" if event.times > 1 else ""
        click.echo(show.cell(f"{name}[{event.uptime_s}] {event.source}: {event.text}{times}").plain)
