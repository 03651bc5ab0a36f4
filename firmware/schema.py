"""The keys of the configuration: type, default and bounds of each (docs/contracts.md).

A table and nothing else, so that it can be told to whoever wants to check as the device does (GET /api/schema).
"""

from firmware.points import SLOTS

# A key is (kind, default, allowed...): "bool"; "int", low, high; "text", shortest, longest; "choice", values;
# "pin": GPIO number or null; "uart": number of a UART, or path of a serial device; "ip": dotted quad, or its default;
# "ips", default, most: a list of them.
# A section is a dict; a list is [schema of an item, most items].
BUS = {
    "uart": ("uart", 1),
    "baud": ("choice", 9600, (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)),
    "framing": ("choice", "8N1", ("8N1", "8E1", "8O1", "8N2")),
    "tx": ("pin", None),
    "rx": ("pin", None),
    "direction": ("pin", None),
    "gap_ms": ("int", 0, 0, 1000),
    "echo": ("bool", False),
    "broadcast": ("bool", False),
    "turnaround_ms": ("int", 150, 0, 2000),
}
ROUTE = {
    "unit": ("int", None, 1, 247),
    "count": ("int", 1, 1, 247),
    "bus": ("int", 0, 0, 1),
    "address": ("int", 0, 0, 247),
    "closed": ("bool", False),
}
METER = {
    "slot": ("int", None, 0, SLOTS - 1),
    "name": ("text", None, 1, 32),
    "unit": ("int", None, 1, 247),
    "profile": ("text", None, 1, 40),
    "bus": ("int", 0, 0, 1),
    "interval_s": ("int", 5, 1, 3600),
    "max_age_s": ("int", 10, 0, 3600),
    "timeout_ms": ("int", 500, 20, 10000),
    "auto_timeout": ("bool", False),
    "retries": ("int", 1, 0, 5),
    "ct_primary": ("int", 1, 1, 1000000),
    "ct_secondary": ("int", 1, 1, 1000000),
    "pt_primary": ("int", 1, 1, 1000000),
    "pt_secondary": ("int", 1, 1, 1000000),
    "inverted": ("bool", False),
}
# What hardly any meter needs is not filled in: 64 meters would carry it through the heap and into the last good copy.
# profile_load knows the defaults as well.
SPARSE = ("ct_primary", "ct_secondary", "pt_primary", "pt_secondary", "inverted")
SCHEMA = {
    "version": ("int", 1, 1, 1),
    "name": ("text", "meterport", 1, 32),
    "network": {
        "link": ("choice", "wifi", ("wifi", "ethernet", "none")),
        "ssid": ("text", "", 0, 32),
        "password": ("text", "", 0, 63),
        "country": ("text", "", 0, 2),
        "hostname": ("text", "meterport", 1, 32),
        "dhcp": ("bool", True),
        "address": ("ip", ""),
        "netmask": ("ip", ""),
        "gateway": ("ip", ""),
        "dns": ("ip", ""),
    },
    "sockets": {
        "limit": ("int", 16, 4, 16),
    },
    "http": {
        "enabled": ("bool", True),
        "bind": ("ip", "0.0.0.0"),
        "port": ("int", 80, 1, 65535),
        "public_status": ("bool", False),
        "commissioning": ("bool", False),
        "max_connections": ("int", 4, 1, 8),
        "idle_timeout_s": ("int", 15, 2, 300),
    },
    "modbus": {
        "enabled": ("bool", True),
        "bind": ("ip", "0.0.0.0"),
        "port": ("int", 502, 1, 65535),
        "allow_writes": ("bool", False),
        "writers": ("ips", [], 8),
        "priority": ("ips", [], 8),
        "idle_timeout_s": ("int", 600, 10, 86400),
    },
    "bacnet": {"enabled": ("bool", True)},
    "finder": {"enabled": ("bool", True)},
    "ntp": {
        "enabled": ("bool", True),
        "server": ("text", "pool.ntp.org", 1, 64),
        "port": ("int", 123, 1, 65535),
        "interval_s": ("int", 3600, 64, 86400),
    },
    "posting": {"enabled": ("bool", True)},
    "system": {"watchdog_s": ("int", 8, 0, 60)},
    "buses": [BUS, 2],
    "routes": [ROUTE, 32],
    "meters": [METER, 64],
}
# (section, key) of what is never told to anybody, and kept when a new configuration does not name it.
SECRETS = (("network", "password"),)
