"""Reads lines of InfluxDB's line protocol, as its description says."""

import re


def read_line(line):
    """(measurement, tags, fields, time) of a line. An unescaped space ends a part, an unescaped comma a pair."""
    measurement_and_tags, fields, time = re.split(rb"(?<!\\) ", line)
    head, *tags = re.split(rb"(?<!\\),", measurement_and_tags)

    def plain(text):
        return re.sub(rb"\\([,= ])", rb"\1", text)

    def pairs(parts):
        return {plain(name): plain(value) for name, value in (re.split(rb"(?<!\\)=", part) for part in parts)}

    return plain(head), pairs(tags), pairs(re.split(rb"(?<!\\),", fields)), int(time)
