"""The keys of the configuration. They stand in schema.json, where the page reads them too.

A key is [kind, default, allowed...]: "bool"; "int", low, high; "text", shortest, longest; "choice", values; "pin": GPIO
number or null; "uart": number of a UART, or path of a serial device; "ip": dotted quad, or its default; "ips", default,
most: a list of them. A section is an object of keys; a list of sections is [section, most items].
"""

import strict_json

from firmware import resources

NAME = "config/schema.json"  # of firmware.resources


def load():
    """{name: key or section or list of sections} of everything at the top, in the order of the file. Some kilobytes:
    it is read for each use, and nothing is shared with the one before."""
    return strict_json.loads(resources.read(NAME))
