"""The commands that make firmware into a package, sign it, and send it to gateways."""

import http.client
import time
from pathlib import Path
from typing import Any

import rich_click as click

from tools import build
from tools import update as packages
from tools.cli import show
from tools.cli.common import LOOK_S, Tell, finish, for_gateways
from tools.cli.fleet import Failure, Fleet, Gateway
from tools.device_api import ApiError, Device

_TRIAL_WAIT_S = 300


def _of_firmware(command: Any) -> Any:
    """What names the firmware of a package: an argument and two options."""
    for wrap in (
        click.option(
            "--image",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="An image of an ESP32 in place of TREE: the .app-bin that make image writes.",
        ),
        click.option("--version", "version", metavar="N.N.N", help="Refuse firmware of another version than this."),
        click.argument("tree", type=click.Path(exists=True, path_type=Path), required=False),
    ):
        command = wrap(command)
    return command


def _make_package(tree: Path | None, version: str | None, image: Path | None) -> packages.Package:
    try:
        made = _read_package(tree, image)
    except (OSError, ValueError, build.BuildError) as error:
        raise click.ClickException(str(error)) from None
    if version not in (None, made.version):
        raise click.ClickException(f"the firmware is {made.version} (firmware/__init__.py), not {version}")
    return made


def _read_package(tree: Path | None, image: Path | None) -> packages.Package:
    if image is not None:
        return packages.Package.of_image(image)
    if tree is not None and tree.is_file():
        return packages.Package.of_file(tree)
    if tree is None:
        tree = build.OUT
        build.build(tree, False, lambda text: None)
    return packages.Package.of_tree(tree)


@click.command()
@_of_firmware
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Default: meterport-VERSION.package")
@click.option(
    "--sign",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEY",
    help="Sign it with the key in this file (meterport release-key).",
)
def package(tree: Path | None, version: str | None, image: Path | None, out: Path | None, sign: Path | None) -> None:
    """Write the firmware in TREE (default: that of these sources), or an image, as a file that the System page and
    meterport update take."""
    made = _make_package(tree, version, image)
    if sign:
        made.sign(_release_key(sign))
    out = out or Path(f"meterport-{made.version}.package")
    made.write(out)
    click.echo(f"{out}: {made.kind} of meterport {made.version}, {out.stat().st_size:,} bytes")


def _release_key(path: Path) -> Any:
    try:
        return packages.release_key(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def release_key(file: Path) -> None:
    """Print the public key, for system.release_key, of the private key in FILE; make one where there is none.

    Gateways with that key take only packages that are signed with FILE: keep it, and keep it secret."""
    click.echo(_release_key(file).public_key().public_bytes_raw().hex())


@click.command()
@_of_firmware
@click.option("--older", is_flag=True, help="Also when it is not newer than what the gateway has.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end of the trial, but for canaries'.")
@click.option(
    "--canary",
    "canaries",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Of several gateways so many are first; the others follow when all of them run well.",
)
@click.option(
    "--max-failures",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="When more gateways have failed, no further ones are begun.",
)
@for_gateways
def update(
    fleet: Fleet,
    as_json: bool,
    tree: Path | None,
    version: str | None,
    image: Path | None,
    older: bool,
    no_wait: bool,
    canaries: int,
    max_failures: int,
) -> None:
    """Send the firmware in TREE (default: that of these sources) to gateways that run from files, or an image to
    ESP32s with two slots. TREE may be a file of meterport package.

    It runs on trial for a minute, and comes back to the one before by itself when a service does not run."""
    made = _make_package(tree, version, image)
    first = fleet.gateways[:canaries] if len(fleet.gateways) > 1 else []

    def work(device: Device, gateway: Gateway, tell: Tell) -> Any:
        before = device.get("/api/update")
        password = fleet.ask_password()
        packages.send(device, made, packages.device_key(password, device.session()), older, tell)
        if no_wait and gateway not in first:
            return f"{before['version']} -> {made.version}, on trial"
        _wait_for_end_of_trial(device, password, made, before, fleet)
        return f"{before['version']} -> {made.version}"

    outcomes = fleet.run(work, "update", len(first), max_failures)
    finish(fleet, outcomes, as_json, show.lines)


def _wait_for_end_of_trial(
    device: Device, password: str, made: packages.Package, before: dict[str, Any], fleet: Fleet
) -> None:
    """Returns when the update is kept. `before`: /api/update before it. Raises Failure when the gateway has gone back,
    or does not answer."""
    device.close()
    device.cookie = None
    deadline = time.monotonic() + _TRIAL_WAIT_S
    found: dict[str, Any] = {"on_trial": True}
    while found["on_trial"] and not fleet.stopping.wait(LOOK_S):
        if time.monotonic() > deadline:
            raise Failure(f"the trial has not ended within {_TRIAL_WAIT_S} s")
        try:
            if device.cookie is None:
                device.login(password)
            found = device.get("/api/update")
        except (OSError, http.client.HTTPException):
            device.close()
        except ApiError as error:
            if error.status != 403:
                raise
            device.cookie = None
    why = found.get("failed")  # earlier firmware does not say it
    if made.kind == "image":  # it is in no tree
        is_kept = found["version"] == made.version and not why
    else:
        is_kept = found["tree"] != before["tree"]
    if not is_kept:
        raise Failure(f"{made.version} did not run well: it is {found['version']} again" + (f" ({why})" if why else ""))
