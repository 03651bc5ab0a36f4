"""What the commands share: options that name gateways, and how what was got, and what failed, is printed."""

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource
from rich.console import Console, RenderableType

from tools.cli import search, show
from tools.cli.fleet import Fleet, Gateway, Outcome, read_fleet

Tell = Callable[[int, int], None]
Tables = Callable[[show.Documents], Iterable[RenderableType]]
EXIT_FAILED = 1
LOOK_S = 0.5  # from one look at what a gateway is doing to the next


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a search; `command` gets `to`, `finder_port` and `wait_s`."""
    for option in (
        click.option("--wait", "wait_s", type=click.FloatRange(0.1, 60), default=2.0, show_default=True, metavar="S",
                     help="Seconds in which answers may come."),
        click.option("--finder-port", type=click.IntRange(1, 65535), default=search.PORT, show_default=True,
                     metavar="N"),
        click.option("--to", multiple=True, metavar="ADDRESS",
                     help="Search there instead of on all networks of this machine: an address, or a broadcast "
                     "address."),
    ):  # fmt: skip
        command = option(command)
    return command


def for_gateways(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name gateways; `command` gets a Fleet and whether to print JSON."""

    @functools.wraps(command)
    @click.pass_context
    def run(
        context: click.Context, gateway: tuple[str, ...], fleet: Path | None, group: tuple[str, ...], found: bool,
        to: tuple[str, ...],
        finder_port: int, wait_s: float, timeout: float, as_json: bool, **options: Any,
    ) -> None:  # fmt: skip
        errors = show.console(stderr=True)
        source = context.get_parameter_source("gateway")
        if (fleet or found) and source is ParameterSource.ENVIRONMENT:
            gateway = ()  # that of the variable is for a command line that names none
        try:
            gateways = [Gateway.parse(text) for text in gateway]
            if fleet is not None:
                gateways += read_fleet(fleet, group)
            elif group:
                raise ValueError("--group is one of a file: --fleet FILE")
        except (ValueError, OSError) as error:
            raise click.UsageError(str(error)) from None
        if found:
            gateways += [place_of(one) for one in search_network(to, finder_port, wait_s)]
        if not gateways:
            raise click.UsageError("which gateway? --gateway HOST, --fleet FILE or --found")
        with Fleet(gateways, timeout, errors) as chosen:
            command(chosen, as_json, **options)

    with_fleet: Callable[..., Any] = run

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON: an object with an entry for each gateway."),
        click.option("--timeout", type=click.FloatRange(0.1, 600), default=20.0, show_default=True, metavar="S",
                     help="Seconds for one answer."),
    ):  # fmt: skip
        with_fleet = option(with_fleet)
    with_fleet = search_options(with_fleet)
    for option in (
        click.option("--found", is_flag=True, help="All gateways that `find` finds."),
        click.option("-G", "--group", multiple=True, metavar="NAME",
                     help="Of the file only the gateways of this group; may be given several times."),
        click.option("-f", "--fleet", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
                     help="All gateways of a file: one in a line, # begins a comment, [NAME] a group."),
        click.option("-g", "--gateway", multiple=True, envvar="METERPORT_GATEWAY", show_envvar=True,
                     metavar="HOST[:HTTP[:MODBUS]]", help="Address or name, and ports if they are not 80 and 502; may "
                     "be given several times."),
    ):  # fmt: skip
        with_fleet = option(with_fleet)
    return with_fleet


def search_network(to: tuple[str, ...], port: int, wait_s: float) -> list[search.Found]:
    """As search.search(). Ends the program when nothing can be sent."""
    try:
        return search.search(to, port, wait_s)
    except OSError as error:
        raise click.ClickException(f"the search could not be sent: {error.strerror or error}") from None


def place_of(found: search.Found) -> Gateway:
    """Where a gateway that was found is."""
    return Gateway(found.address, found.port("http") or 80, found.port("modbus") or 502)


def print_json(document: Any) -> None:
    """Prints a document."""
    click.echo(json.dumps(document, indent=1))


def print_failures(errors: Console, outcomes: list[Outcome]) -> bool:
    """Prints them; True when there are any."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        errors.print(show.cell(f"{outcome.gateway}: {outcome.error}", "red"))
    if failed and len(outcomes) > 1:
        errors.print(f"{len(failed)} of {len(outcomes)} gateways failed")
    return bool(failed)


def print_outcomes(outcomes: list[Outcome], as_json: bool, tables: Tables) -> None:
    """Prints what was got: JSON with an entry for each gateway, or `tables` of those that did not fail."""
    if as_json:
        print_json(
            {
                str(outcome.gateway): outcome.document if outcome.error is None else {"error": outcome.error}
                for outcome in outcomes
            }
        )
        return
    console = show.console()
    for table in tables([(outcome.gateway, outcome.document) for outcome in outcomes if outcome.error is None]):
        console.print(table)


def finish(fleet: Fleet, outcomes: list[Outcome], as_json: bool, tables: Tables) -> None:
    """Prints what was got, then as end()."""
    print_outcomes(outcomes, as_json, tables)
    end(fleet, outcomes)


def end(fleet: Fleet, outcomes: list[Outcome]) -> None:
    """Prints what failed. Ends the program with 1 when anything did."""
    if print_failures(fleet.errors, outcomes):
        raise SystemExit(EXIT_FAILED)
