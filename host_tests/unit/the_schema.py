"""The keys of the configuration as the tests want them: sections as dicts of (kind, default, ...), lists as [section,
most], as GET /api/schema has them."""

from firmware.config import schema


def _keys(rows):
    return {row[0]: _spec(*row[1:]) for row in rows}


def _spec(kind, *more):
    if kind == "section":
        return _keys(more[0])
    if kind == "list":
        return [_keys(more[0]), more[1]]
    return (kind, list(more[0]), *more[1:]) if kind in ("ips", "names") else (kind, *more)


SCHEMA = _keys(schema.KEYS)
BUS = SCHEMA["buses"][0]
ROUTE = SCHEMA["routes"][0]
METER = SCHEMA["meters"][0]
