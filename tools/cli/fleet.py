"""Does one thing on one gateway or on many, in parallel, and says which of them failed.

A session is opened only where a gateway asks for one, is used again by the next run, and ended by close(): a gateway
keeps four of them, which browsers need too.
"""

import http.client
import json
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from tools.device_api import ApiError, Device

PASSWORD = "METERPORT_PASSWORD"
_AT_ONCE = 16
_NOT_BEGUN = "not begun"


class Gateway(NamedTuple):
    """Where one is."""

    host: str
    http_port: int = 80
    modbus_port: int = 502

    def __str__(self) -> str:
        """As parse() takes it."""
        if self.modbus_port != 502:
            return f"{self.host}:{self.http_port}:{self.modbus_port}"
        return self.host if self.http_port == 80 else f"{self.host}:{self.http_port}"

    @classmethod
    def parse(cls, text: str) -> "Gateway":
        """HOST, HOST:HTTP-PORT or HOST:HTTP-PORT:MODBUS-PORT. Raises ValueError."""
        host, *ports = text.split(":")
        if not host or len(ports) > 2 or not all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
            raise ValueError(f"{text!r} is not HOST, HOST:HTTP-PORT or HOST:HTTP-PORT:MODBUS-PORT")
        return cls(host, *map(int, ports))


def read_fleet(path: Path, groups: Collection[str] = ()) -> list[Gateway]:
    """The gateways of a file: one in a line, # begins a comment, [NAME] begins a group. With `groups` only those of
    these. Raises ValueError with the line or the groups that there are, OSError."""
    gateways: dict[str, list[Gateway]] = {}
    group = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text.startswith("[") and text.endswith("]"):
            group = text[1:-1].strip()
        elif text:
            try:
                gateways.setdefault(group, []).append(Gateway.parse(text))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    for wanted in groups:
        if wanted not in gateways:
            known = ", ".join(filter(None, gateways)) or "none"
            raise ValueError(f"{path} has no gateway in a group {wanted}; its groups are: {known}")
    if not gateways:
        raise ValueError(f"{path} names no gateway")
    return [one for name, ones in gateways.items() if not groups or name in groups for one in ones]


class Outcome(NamedTuple):
    """What one gateway gave: a document, or why there is none."""

    gateway: Gateway
    document: Any = None
    error: str | None = None


class Failure(Exception):
    """A gateway cannot do what was asked; the text is for the user."""


class _PasswordNeeded(Exception):
    pass


_ERRORS = (Failure, ApiError, OSError, ValueError, http.client.HTTPException)


# (device, gateway, say how far it is: (done, total)) -> document
Work = Callable[[Device, Gateway, Callable[[int, int], None]], Any]


class Fleet:
    """The gateways of a command. A context manager, which ends the sessions."""

    def __init__(self, gateways: Iterable[Gateway], timeout_s: float, errors: Console) -> None:
        self.gateways = list(dict.fromkeys(gateways))
        self.errors = errors
        self.timeout_s = timeout_s
        self._password = os.environ.get(PASSWORD) or None
        self._cookies: dict[Gateway, str] = {}
        self.stopping = threading.Event()  # set by Ctrl-C: long work in a thread looks at it

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *exc: object) -> None:
        def end(gateway: Gateway) -> None:
            with self._device(gateway) as device, suppress(ApiError, OSError, ValueError, http.client.HTTPException):
                device.logout()

        if self._cookies:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(end, self._cookies))
            self._cookies.clear()

    def ask_password(self, again: bool = False) -> str:
        """From the environment, or typed without being shown; once. Raises click.ClickException without a terminal."""
        if self._password is None:
            if not sys.stdin.isatty():
                raise click.ClickException(f"a password is needed: set {PASSWORD}, or run this in a terminal")
            self._password = click.prompt("Password", hide_input=True, err=True, confirmation_prompt=again)
        assert self._password is not None
        return self._password

    def run(self, work: Work, title: str = "", canaries: int = 0, most_failures: int | None = None) -> list[Outcome]:
        """work() on each gateway at the same time: outcomes in the order of the gateways. Where a password turns out
        to be needed it is asked for, and those gateways are tried again with it. With `canaries` that many are first,
        and the others begin when none of these has failed; none begins once more than `most_failures` have failed."""
        outcomes: dict[Gateway, Outcome] = {}
        for gateways, most in ((self.gateways[:canaries], 0), (self.gateways[canaries:], most_failures)):
            failed = _failed(outcomes)
            if failed:  # a canary has
                outcomes |= {gateway: _not_begun(gateway, failed) for gateway in gateways}
                continue
            failures: list[Gateway] = []
            found, locked = self._round(gateways, work, title, most, failures)
            if locked:
                self.ask_password()
                found |= self._round(locked, work, title, most, failures)[0]
            not_begun = {one: _not_begun(one, len(failures)) for one in gateways if one not in found}
            outcomes |= found | not_begun
        return [outcomes[gateway] for gateway in self.gateways]

    def _round(
        self, gateways: list[Gateway], work: Work, title: str, most_failures: int | None, failed: list[Gateway]
    ) -> tuple[dict[Gateway, Outcome], list[Gateway]]:
        """(outcomes of those that were begun, those that want a password). Those that fail are added to `failed`."""

        def attempt(gateway: Gateway) -> Any:
            if most_failures is not None and len(failed) > most_failures:
                raise CancelledError
            try:
                return self._one(gateway, work, progress)
            except _ERRORS:
                failed.append(gateway)
                raise

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        outcomes: dict[Gateway, Outcome] = {}
        locked = []
        with (
            Progress(*columns, console=self.errors, transient=True, disable=not self.errors.is_terminal) as progress,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            if len(gateways) > 1:
                all_of_them = progress.add_task(title or "gateways", total=len(gateways))
            waiting = {pool.submit(attempt, gateway): gateway for gateway in gateways}
            for future in self._completed(waiting):
                gateway = waiting[future]
                try:
                    outcomes[gateway] = Outcome(gateway, future.result())
                except _PasswordNeeded:
                    locked.append(gateway)
                except CancelledError:
                    pass  # not begun
                except _ERRORS as error:
                    outcomes[gateway] = Outcome(gateway, None, _text(error, self.timeout_s))
                if len(gateways) > 1:
                    progress.advance(all_of_them)
        return outcomes, locked

    def _completed(self, waiting: Iterable["Future[Any]"]) -> "Iterator[Future[Any]]":
        try:
            yield from as_completed(waiting)
        except KeyboardInterrupt:
            self.stopping.set()
            for future in waiting:
                future.cancel()  # those that have not begun
            raise

    def _one(self, gateway: Gateway, work: Work, progress: Progress) -> Any:
        task: list[TaskID] = []

        def tell(done: int, total: int) -> None:
            if not task:
                task.append(progress.add_task(str(gateway)))
            progress.update(task[0], completed=done, total=total)

        with self._device(gateway) as device:
            try:
                return work(device, gateway, tell)
            except ApiError as error:
                if error.status != 403:
                    raise
                if device.session()["setup"]:
                    raise Failure("no password is set yet: meterport set-password sets one") from None
                if self._password is None:
                    raise _PasswordNeeded from None
            device.login(self._password)
            assert device.cookie is not None
            self._cookies[gateway] = device.cookie
            return work(device, gateway, tell)

    def _device(self, gateway: Gateway) -> Device:
        device = Device(gateway.host, gateway.http_port, self.timeout_s)
        device.cookie = self._cookies.get(gateway)
        return device


def _failed(outcomes: dict[Gateway, Outcome]) -> int:
    return sum(one.error is not None and not one.error.startswith(_NOT_BEGUN) for one in outcomes.values())


def _not_begun(gateway: Gateway, failed: int) -> Outcome:
    return Outcome(gateway, None, f"{_NOT_BEGUN}: {failed} failed before")


def _text(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s" if not error.args or error.errno is None else str(error.strerror)
    if isinstance(error, json.JSONDecodeError):
        return "answers, but not as a gateway of this kind"
    if isinstance(error, http.client.HTTPException):
        return f"the connection ended early ({type(error).__name__})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
