"""InfluxDB's line protocol, as InfluxDB 1 and 2 and VictoriaMetrics take it. Codec only.

A line is  measurement,tag=value,... field=value,... time  with the time in whole seconds (precision=s), a whole number
with the suffix i. Source: docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol.
"""


def escape(text: bytes) -> bytes:
    """`text` as a measurement's name, a tag or the name of a field. A backslash becomes a slash: at the end of a tag it
    would take the meaning of what follows, and it cannot itself be escaped everywhere."""
    for mark, escaped in ((b"\\", b"/"), (b",", b"\\,"), (b" ", b"\\ "), (b"=", b"\\=")):
        text = text.replace(mark, escaped)
    return text


def head(measurement: bytes, tags: "list[tuple[bytes, bytes]]") -> bytes:
    """The beginning of a line, up to its first field. Tags with an empty value, which no server takes, are left out."""
    parts = [escape(measurement)]
    for name, value in tags:
        if value:
            parts.append(escape(name) + b"=" + escape(value))
    return b",".join(parts)


def field(name: bytes, value: bytes, is_whole: bool) -> bytes:
    """One field: `value` is a number as text; whole numbers and others are of two types, which a server does not
    mix."""
    return escape(name) + b"=" + value + (b"i" if is_whole else b"")


def end(unix_s: int) -> bytes:
    """The end of a line."""
    return b" %d\n" % unix_s
