"""JSON without spaces: into a sink, without an object for the text; or as bytes, of what is small."""

import json

_COMPACT = (",", ":")


def write_json(out, value):
    """`value`: dict, list, text, number, bool or None. Keep it small: what is written stays in the sink until it fits
    into a block."""
    json.dump(value, out, separators=_COMPACT)  # type: ignore[call-overload]  # the stubs have it by its place only


def to_json(value):
    """`value` as bytes."""
    return json.dumps(value, separators=_COMPACT).encode()


def write_open(out, value):
    """The same for a dict whose object goes on: without the closing brace."""
    write_json(out, value)
    out.seek(-1, 1)


def write_items(out, items):
    """A generator: the list that `items` yields, with a piece for each."""
    before = "["
    for item in items:
        out.write(before)
        write_json(out, item)
        before = ","
        yield
    out.write("[]" if before == "[" else "]")
