"""JSON into a sink, without an object for the text."""

import json

_COMPACT = (",", ":")


def write_json(out, value):
    """`value`: dict, list, text, number, bool or None. Keep it small: what is written stays in the sink until it fits
    into a block."""
    json.dump(value, out, separators=_COMPACT)


def write_items(out, items):
    """A generator: the list that `items` yields, with a piece for each."""
    before = "["
    for item in items:
        out.write(before)
        json.dump(item, out, separators=_COMPACT)
        before = ","
        yield
    out.write("[]" if before == "[" else "]")
