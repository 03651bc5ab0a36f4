"""What runs on the chip: our gateway, and the servers that it is compared with, each as a flash image and meters.

The others get a small program of tools/bench/programs; like the firmware, all modules are compiled ahead of time.
"""

import itertools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, NamedTuple

import microdot

from tools import build, page, past, sim, umodbus, virtual_meters
from tools.bench import chip
from tools.bench.meters import Ramp
from tools.emulator import __main__ as emulate
from tools.emulator import emulated, image

HERE = pathlib.Path(__file__).resolve().parent
OUT = build.ROOT / "build" / "bench"
CACHED_UNIT, PASSED_UNIT = 1, 9  # of the quiet gateway: polled once, never polled
READY = "ready"
PAGE = page.packed()  # as every server sends it
MOST_METERS = 32
RECORDED = past.Past(
    meters=MOST_METERS, days=10, end_s=1_800_000_000 // past.DAY_S * past.DAY_S, energy=past.TOTAL_ENERGY
)
BROKER, MQTT_INTERVAL_S = 1883, 10
NODE = "bench"
_QUIET = {"interval_s": 3600, "max_age_s": 3600}

Progress = Callable[[str], object]


GATEWAY, POLL_LOOP, UMODBUS, MICRODOT = "meterport", "poll loop", "umodbus 2.3.7", f"microdot {version('microdot')}"


class Server(NamedTuple):
    """`name` as in the tables; files of its flash; meters on its line; what it prints once it runs."""

    name: str
    files: dict[str, bytes]
    meters: list[Any]
    ready: str
    frozen: bool = False  # its modules lie in the image, not in `files`


def ramp_profile(registers: int, function: int = 4) -> bytes:
    """A profile whose points lie side by side in this many registers: one block for the poller. `function` reads them:
    4 input registers, 3 holding registers."""
    pairs = registers // 2
    rows = [[n + 1, f"p{n + 1}", function, 2 * n, "uint32", 1, "", "instantaneous"] for n in range(pairs)]
    if registers % 2:
        rows.append([pairs + 1, f"p{pairs + 1}", function, 2 * pairs, "uint16", 1, "", "instantaneous"])
    columns = ["number", "name", "function", "address", "type", "scale", "unit", "kind"]
    profile = {"name": "ramp", "confidence": 0, "max_registers": registers, "gap": 0, "word_order": "big"}
    return json.dumps(profile | {"columns": columns, "points": rows}).encode()


def quiet_gateway(progress: Progress) -> Server:
    """Our gateway with one meter that it polls once an hour: nothing happens but what is asked."""
    meter = {"slot": 0, "name": "ramp", "unit": CACHED_UNIT, "profile": "ramp", "timeout_ms": 1000}
    config = emulate.configuration({"meters": [meter | _QUIET]})
    files = emulated.device_files(config, progress, frozen=True) | {"data/meters/ramp.json": ramp_profile(125)}
    return Server(GATEWAY, files, [Ramp(CACHED_UNIT), Ramp(PASSED_UNIT)], "link: up", frozen=True)


def gateway(progress: Progress, quiet: bool) -> Server:
    """Our gateway as `make sim` has it: three meters, each polled every second, or once an hour; their values stand
    still."""
    over = {"meters": [meter | _QUIET for meter in sim.DEFAULT_CONFIG["meters"]]} if quiet else {}
    files = emulated.device_files(emulate.configuration(over), progress, frozen=True)
    return Server(GATEWAY, files, list(_still_meters().values()), "link: up", frozen=True)


def bacnet_gateway(progress: Progress) -> Server:
    """Our gateway with BACnet on and those three meters, each polled once an hour."""
    over = {
        "meters": [meter | _QUIET for meter in sim.DEFAULT_CONFIG["meters"]],
        "bacnet": {"enabled": True},
    }
    files = emulated.device_files(emulate.configuration(over), progress, frozen=True)
    return Server(GATEWAY, files, list(_still_meters().values()), "link: up", frozen=True)


def mqtt_gateway(progress: Progress, payload: str, is_moving: bool = False) -> Server:
    """Our gateway with this payload of MQTT and those three meters, each polled once an hour; or once an interval of
    MQTT, and all that moves has other values at each read."""
    polled = {"interval_s": MQTT_INTERVAL_S, "max_age_s": 3 * MQTT_INTERVAL_S} if is_moving else _QUIET
    over = {
        "name": NODE,
        "meters": [meter | polled for meter in sim.DEFAULT_CONFIG["meters"]],
        "ntp": {"port": chip.NTP},
        "mqtt": {
            "enabled": True, "host": chip.HOST, "port": BROKER, "interval_s": MQTT_INTERVAL_S, "keep_alive_s": 3600,
            "payload": payload,
        },
    }  # fmt: skip
    files = emulated.device_files(emulate.configuration(over), progress, frozen=True)
    meters = list(_still_meters().values())
    if is_moving:
        meters = [virtual_meters.VirtualMeter(one.unit, one.profile, clock=_minutes()) for one in meters]
    return Server(GATEWAY, files, meters, "link: up", frozen=True)


def _minutes() -> Callable[[], float]:
    """A clock on which a minute passes with each look."""
    return itertools.count(0.0, 60.0).__next__


def bacnet_value(instance: int) -> float:
    """Present_Value of the Analog Input of that instance: energy in kWh."""
    slot, number = instance >> 8, instance & 0xFF
    unit = next(one["unit"] for one in sim.DEFAULT_CONFIG["meters"] if one["slot"] == slot)
    meter = _still_meters()[unit]
    value = float(meter.expected(number))
    return value / 1000 if meter.profile.point(number).unit.endswith("h") else value


def recorder(progress: Progress) -> Server:
    """Our gateway with the most meters, polled once an hour, and with records of days gone by on flash."""
    kind = "pzem-004t-v3"
    meters = [
        {"slot": k, "name": f"meter {k + 1}", "unit": k + 1, "profile": kind} | _QUIET for k in range(RECORDED.meters)
    ]
    config = emulate.configuration({"meters": meters, "history": {"flash": True}, "ntp": {"enabled": False}})
    files = emulated.device_files(config, progress, frozen=True) | RECORDED.files()
    line = [virtual_meters.VirtualMeter(one["unit"], kind, clock=lambda: 0.0) for one in meters]
    return Server(GATEWAY, files, line, "link: up", frozen=True)


def polling_gateway(progress: Progress, quiet: bool) -> Server:
    """Our gateway with the most meters, three-phase ones, on one line at 9600 baud: each due every second, more than
    the line carries, or once an hour."""
    kind = "eastron-sdm630"
    over = _QUIET if quiet else {"interval_s": 1}
    meters = [{"slot": k, "name": f"meter {k + 1}", "unit": k + 1, "profile": kind} | over for k in range(MOST_METERS)]
    config = emulate.configuration({"meters": meters, "buses": [emulate.UART | {"baud": 9600}]})
    files = emulated.device_files(config, progress, frozen=True)
    line = [virtual_meters.VirtualMeter(one["unit"], kind, clock=lambda: 0.0) for one in meters]
    return Server(GATEWAY, files, line, "link: up", frozen=True)


def _still_meters() -> dict[int, virtual_meters.VirtualMeter]:
    """The meters of the sim by their unit, whose values never move."""
    return {
        one["unit"]: virtual_meters.VirtualMeter(one["unit"], one["profile"], clock=lambda: 0.0)
        for one in sim.DEFAULT_CONFIG["meters"]
    }


def readings() -> bytes:
    """A document like /api/readings of those meters."""
    found = []
    for one in sim.DEFAULT_CONFIG["meters"]:
        meter = _still_meters()[one["unit"]]
        points = [
            {
                "id": one["slot"] << 8 | point.number,
                "name": point.name,
                "value": float(f"{meter.expected(point.number):.7g}"),
                "unit": point.unit,
                "age_s": 1,
                "quality": "good",
            }
            for point in meter.profile.points
        ]
        head = {"slot": one["slot"], "name": one["name"], "unit": one["unit"], "profile": one["profile"]}
        found.append(head | {"state": "online", "points": points})
    return json.dumps({"uptime_s": 60, "meters": found}).encode()


def program_tree(name: str, place: str, packages: Iterable[pathlib.Path]) -> pathlib.Path:
    """A program of tools/bench/programs with these packages, built for a place: "chip" or "host"."""
    source = OUT / place / name / "source"
    shutil.rmtree(source, ignore_errors=True)
    (source / "lib").mkdir(parents=True)
    (source / "firmware").mkdir()
    for starter in build.STARTERS:
        (source / starter).write_text(f"import {name}\n" if starter == "main.py" else "", encoding="utf-8")
    for module, target in ((f"place_{place}", "bench_place"), (name, name)):
        shutil.copyfile(HERE / "programs" / f"{module}.py", source / "lib" / f"{target}.py")
    for package in packages:
        shutil.copytree(package, source / "lib" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    out = source.parent / "device"
    build.build(out, progress=lambda text: None, with_umodbus=True, root=source)
    return out


def _other(name: str, program: str, packages: list[pathlib.Path], data: dict[str, bytes]) -> Server:
    """A server of tools/bench/programs with these packages and data files."""
    return Server(name, image.tree_files(program_tree(program, "chip", packages)) | data, [], READY)


def poll_loop(progress: Progress) -> Server:
    """The floor."""
    return _other(POLL_LOOP, "poll_loop", [], {"page.html": PAGE})


def umodbus_server(progress: Progress) -> Server:
    """micropython-modbus. Raises umodbus.FetchError."""
    return _other(UMODBUS, "umodbus_server", [umodbus.ensure(progress)], {})


def microdot_package() -> pathlib.Path:
    """The two modules of microdot that a server needs, in a package of their own."""
    package = OUT / "microdot"
    package.mkdir(parents=True, exist_ok=True)
    for name in ("__init__.py", "microdot.py"):
        shutil.copyfile(pathlib.Path(microdot.__file__).with_name(name), package / name)
    return package


def microdot_server(progress: Progress) -> Server:
    """microdot."""
    data = {"page.html": PAGE, "readings.json": readings()}
    return _other(MICRODOT, "microdot_server", [microdot_package()], data)
