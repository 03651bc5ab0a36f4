"""The keys of the configuration, read one section at a time from schema.json, where the page reads them too.

A key is [kind, default, allowed...]: "bool"; "int", low, high; "text", shortest, longest; "choice", values; "pin": GPIO
number or null; "uart": number of a UART, or path of a serial device; "ip": dotted quad, or its default; "ips", default,
most: a list of them. A section is an object of keys; a list of sections is [section, most items].
"""

from firmware.config import json_file

PATH = __file__.rsplit("/", 1)[0] + "/schema.json" if "/" in __file__ else "firmware/config/schema.json"


def parts():
    """Yields (name, key or section or list of sections) of everything at the top."""
    with open(PATH, "rb") as f:
        for name, begin, end in json_file.members(f):
            yield name, json_file.value(f, begin, end)


def names():
    with open(PATH, "rb") as f:
        return [name for name, _, _ in json_file.members(f)]
