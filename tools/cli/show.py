"""Documents of gateways as tables. Texts of a gateway are printed as they are: no markup, no control characters."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.json import JSON
from rich.table import Table
from rich.text import Text

from tools.cli.fleet import Gateway

_WIDE = 240  # columns where no terminal says how many: a table in a file is not to be folded
_DELIVERING = ("posting", "mqtt")  # services that send readings or records by themselves
_STYLES = {
    "online": "green", "running": "green", "good": "green", "waiting": "green", "posting": "green",
    "connected": "green", "off": "dim", "reserved": "dim", "unknown": "dim",
}  # fmt: skip
Documents = list[tuple[Gateway, Any]]


def console(stderr: bool = False) -> Console:
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _WIDE
    return made


def cell(value: Any, style: str = "") -> Text:
    if value is None:
        text = "-"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = str(value)
    return Text("".join(letter if letter.isprintable() else "?" for letter in text), style)


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]], title: str | None = None) -> Table:
    """Columns that end in | are aligned to the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title and cell(title), title_justify="left")
    for column in columns:
        made.add_column(column.rstrip("|"), justify="right" if column.endswith("|") else "left", overflow="fold")
    for row in rows:
        made.add_row(*[value if isinstance(value, Text) else cell(value) for value in row])
    return made


def duration(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def state(text: str) -> Text:
    return cell(text, _STYLES.get(text, "red"))


def _of(gateway: Gateway, documents: Documents, what: str) -> str:
    return f"{gateway}: {what}" if len(documents) > 1 else what


def status(documents: Documents) -> Iterable[Table]:
    """Of one gateway what runs on it; of several a line each."""
    if len(documents) > 1:
        columns = (
            "gateway", "name", "version", "up", "meters online|", "delivery", "configuration", "reboot due",
            "heap free|",
        )  # fmt: skip
        yield table(columns, [_status_row(gateway, one) for gateway, one in documents])
        return
    for gateway, one in documents:
        network = one["network"]
        yield table(
            ("", ""),
            [
                ("name", one["name"]),
                ("firmware", f"{one['version']} on {one['board']}"),
                ("up", duration(one["uptime_s"])),
                ("address", f"{network['address'] or gateway.host} ({network['link']})"),
                ("configuration", "; ".join([one["config"]["source"], *_texts(one["config"]["errors"])])),
                ("reboot due", ", ".join(one["reboot_due"]) or "no"),
                ("heap", f"{one['heap']['free']} bytes free"),
                ("restarted tasks", one["task_restarts"]),
            ],
        )
        yield table(
            ("service", "state", "port|", "slots|"),
            [(each["name"], state(each["state"]), each["port"], each["slots"]) for each in one["services"]],
        )
        if delivering := [(name, one[name]) for name in _DELIVERING if one.get(name)]:
            yield table(
                ("delivery", "state", "records waiting|", "delivered|", "lost|", "error"),
                [
                    (name, state(each["state"]), each["waiting"], each["delivered"], each["lost"], each["error"])
                    for name, each in delivering
                ],
            )
        yield table(
            ("bus|", "line", "framing", "answered|", "time-outs|", "damaged|", "error"),
            [
                (bus["number"], bus["uart"], f"{bus['baud']} {bus['framing']}", bus["answered"], bus["timeouts"],
                 bus["crc"], bus["error"])
                for bus in one["buses"]
            ],
        )  # fmt: skip
        yield table(
            ("slot|", "meter", "unit|", "bus|", "profile", "state", "requests|", "time-outs|"),
            [
                (meter["slot"], meter["name"], meter["unit"], meter["bus"], meter["profile"], state(meter["state"]),
                 meter["requests"], meter["timeouts"])
                for meter in one["meters"]
            ],
        )  # fmt: skip


def _texts(errors: list[Any]) -> list[str]:
    return [error if isinstance(error, str) else f"{error.get('field')}: {error.get('text')}" for error in errors]


def _status_row(gateway: Gateway, one: dict[str, Any]) -> tuple[Any, ...]:
    meters = one["meters"]
    online = sum(meter["state"] == "online" for meter in meters)
    return (
        gateway, one["name"], one["version"], duration(one["uptime_s"]),
        cell(f"{online}/{len(meters)}", "green" if online == len(meters) else "red"), _delivery(one),
        one["config"]["source"], ", ".join(one["reboot_due"]) or "no", one["heap"]["free"],
    )  # fmt: skip


def _delivery(one: dict[str, Any]) -> Text:
    """How posting and MQTT of a gateway are: what they wait for, and how many records do."""
    found = []
    for name in _DELIVERING:
        if each := one.get(name):
            waiting = f" ({each['waiting']} wait)" if each["waiting"] else ""
            error = f": {each['error']}" if each["error"] else ""
            found.append(cell(f"{name} {each['state']}{waiting}{error}", _STYLES.get(each["state"], "red")))
    return Text(", ").join(found) if found else cell(None)


def sockets(documents: Documents) -> Iterable[Table]:
    """Of one gateway each socket; of several a line each."""
    if len(documents) > 1:
        columns = ("gateway", "in use|", "of|", "most|", "accepted|", "evicted|", "postponed|", "advice")
        each = [
            (gateway, one["in_use"], one["limit"], one["high_water"], one["accepted"], sum(one["evictions"].values()),
             one["postponed"], "; ".join(one["advice"]))
            for gateway, one in documents
        ]  # fmt: skip
        yield table(columns, each)
        return
    for _, one in documents:
        evicted = ", ".join(f"{count} {why}" for why, count in one["evictions"].items() if count) or "none"
        slots = [
            (slot["kind"], slot["role"], slot["open"], slot["peer"], slot["age_s"], slot["idle_s"], slot["requests"],
             slot["received"], slot["sent"])
            for slot in one["slots"]
        ]  # fmt: skip
        title = f"{one['in_use']} of {one['limit']} in use, at most {one['high_water']} so far; evicted: {evicted}"
        of_a_slot = ("service", "role", "open", "peer", "age s|", "idle s|", "requests|", "received|", "sent|")
        yield table(of_a_slot, slots, title)
        if one["advice"]:
            yield table(("advice",), [(text,) for text in one["advice"]])


def readings(documents: Documents) -> Iterable[Table]:
    for gateway, one in documents:
        rows = [
            (meter["name"], point["name"], point["value"], point["unit"], point["age_s"], state(point["quality"]))
            for meter in one["meters"]
            for point in meter["points"]
        ]
        title = _of(gateway, documents, f"{len(one['meters'])} meters") if len(documents) > 1 else None
        yield table(("meter", "point", "value|", "unit", "age s|", "quality"), rows, title)


def registers(documents: Documents) -> Iterable[Table]:
    """Documents {"first", and "registers" or "bits"}."""
    for gateway, one in documents:
        title = str(gateway) if len(documents) > 1 else None
        if "bits" in one:
            rows = [(one["first"] + k, int(bit)) for k, bit in enumerate(one["bits"])]
            yield table(("address|", "bit|"), rows, title)
        else:
            words = [(one["first"] + k, word, f"0x{word:04X}") for k, word in enumerate(one["registers"])]
            yield table(("address|", "value|", "hexadecimal|"), words, title)


def lines(documents: Documents) -> Iterable[Table]:
    """A text of each gateway."""
    yield table(("gateway", ""), documents)


def documents(documents: Documents) -> Iterable[JSON | Text]:
    """JSON as it is."""
    for gateway, one in documents:
        if len(documents) > 1:
            yield cell(f"{gateway}:")
        yield JSON.from_data(one)


def saved(documents: Documents) -> Iterable[Table]:
    """Documents {"reboot_due"}."""
    rows = [(gateway, ", ".join(one["reboot_due"]) or "nothing has changed") for gateway, one in documents]
    yield table(("gateway", "saved; a reboot is due for"), rows)


def differences(documents: Documents) -> Iterable[Table | Text]:
    for gateway, one in documents:
        if not one:
            yield cell(f"{gateway}: no difference")
            continue
        rows = [
            [each["key"], *[_json(each[side]) if side in each else cell("-", "dim") for side in ("gateway", "file")]]
            for each in one
        ]
        yield table(("key", "gateway", "file"), rows, str(gateway))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def scan(documents: Documents) -> Iterable[Table]:
    for gateway, one in documents:
        rows = [
            (each["unit"], f"{each['baud']} {each['framing']}", ", ".join(each["profiles"])) for each in one["found"]
        ]
        title = _of(gateway, documents, f"{len(one['found'])} meters at {one['done']} units")
        yield table(("unit|", "framing", "profiles that fit"), rows, title)


def records(documents: Documents) -> Iterable[Table]:
    for gateway, one in documents:
        columns = [f"{each['meter']} {each['point']} {each['unit']}|" for each in one["series"]]
        rows = [(_time(record), *record[2:]) for record in one["records"]]
        yield table(("time", *columns), rows, str(gateway) if len(documents) > 1 else None)


def _time(record: list[Any]) -> str:
    unix_s, uptime_s = record[:2]
    if unix_s is None:
        return f"{duration(uptime_s)} after a start"
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
