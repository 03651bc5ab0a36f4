"""Keys of a configuration as the gateway names them: modbus.port, meters[0].name."""

import re
from typing import Any

_STEP = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)|\[(\d+)\]")
_MISSING = object()


def steps(key: str) -> list[str | int]:
    """modbus.port -> ["modbus", "port"]. Raises ValueError."""
    found: list[str | int] = []
    at = 0
    while at < len(key):
        dot = bool(found) and key[at] == "."
        step = _STEP.match(key, at + dot)
        if step is None or (step[1] and found and not dot) or (step[2] and (dot or not found)):
            break
        found.append(step[1] or int(step[2]))
        at = step.end()
    if not found or at < len(key):
        raise ValueError(f"{key!r} is no key: modbus.port, meters[0].name")
    return found


def at_key(config: Any, key: str) -> Any:
    """What is there. Raises ValueError where nothing is."""
    for step in steps(key):
        try:
            config = config[step]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"{key} is not in the configuration, so it has its default") from None
    return config


def set_at_key(config: Any, key: str, value: Any) -> None:
    """Sets it; sections that are missing are added, and one more item at the end of a list. Raises ValueError."""
    path = steps(key)
    for step, following in zip(path, path[1:], strict=False):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, str) and isinstance(config, dict):
            config = config.setdefault(step, empty)
        elif isinstance(step, int) and isinstance(config, list) and step <= len(config):
            if step == len(config):
                config.append(empty)
            config = config[step]
        else:
            raise ValueError(f"{key}: the configuration has no such place")
    last = path[-1]
    if isinstance(last, str) and isinstance(config, dict):
        config[last] = value
    elif isinstance(last, int) and isinstance(config, list) and last <= len(config):
        config[last : last + 1] = [value]
    else:
        raise ValueError(f"{key}: the configuration has no such place")


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """{key: value} of everything that is no section and no list of sections."""
    if isinstance(value, dict):
        parts = [(f"{key}.{name}" if key else name, inner) for name, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        parts = [(f"{key}[{k}]", inner) for k, inner in enumerate(value)]
    else:
        return {key: value}
    return {name: leaf for part, inner in parts for name, leaf in flat(inner, part).items()}


def differences(one: Any, other: Any) -> list[dict[str, Any]]:
    """[{"key", "gateway", "file"}] of all that differs, without "gateway" or "file" where that has no such key."""
    ours, theirs = flat(one), flat(other)
    found = []
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key, _MISSING) != theirs.get(key, _MISSING):
            entry = {"key": key}
            if key in ours:
                entry["gateway"] = ours[key]
            if key in theirs:
                entry["file"] = theirs[key]
            found.append(entry)
    return found
