"""The keys of the configuration as the tests want them: tuples for keys, as tables of constants."""

from firmware.config import schema


def _constant(spec):
    if isinstance(spec, dict):
        return {key: _constant(inner) for key, inner in spec.items()}
    if isinstance(spec[0], dict):
        return [_constant(spec[0]), spec[1]]
    return tuple(tuple(part) if isinstance(part, list) and spec[0] == "choice" else part for part in spec)


SCHEMA = _constant(schema.load())
BUS = SCHEMA["buses"][0]
ROUTE = SCHEMA["routes"][0]
METER = SCHEMA["meters"][0]
