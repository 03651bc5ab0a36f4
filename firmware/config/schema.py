"""The keys of the configuration: the one table that the check, the page (GET /api/schema) and tests read.

A row is (name, kind, default, ...) for a key, by kind:

    "bool"     default
    "int"      default, lowest, highest
    "text"     default, shortest, longest (characters)
    "lines"    the same of a text that may have line breaks
    "choice"   default, (values)
    "pin"      default: GPIO number or None
    "uart"     default: number of a UART, name of a line of the board file, or path of a serial device
    "ip"       default: dotted quad; a default of "" is allowed too
    "ips"      default, most: a list of dotted quads
    "names"    default, most: a list of host names
    "pins"     default, most: a list of GPIO numbers (board_files.py)
    "drawing"  default, most, longest: a list of texts, a line each (board_files.py)

"int" and "text" with a default of None must be given. (name, "section", (rows)) is an object of keys;
(name, "list", (rows), most) a list of such objects.

Constants all through: in an image they lie in flash.
"""

from micropython import const

BUSES_MAX = const(2)
METERS_MAX = const(64)
SERVED_MAX = const(8)

# fmt: off
KEYS = (
    ("version", "int", 1, 1, 1),
    ("name", "text", "meterport", 1, 32),
    ("board", "text", "", 0, 32),
    ("network", "section", (
        ("link", "choice", "wifi", ("wifi", "ethernet", "none")),
        ("ssid", "text", "", 0, 32),
        ("password", "text", "", 0, 63),
        ("ssid_2", "text", "", 0, 32),
        ("password_2", "text", "", 0, 63),
        ("ssid_3", "text", "", 0, 32),
        ("password_3", "text", "", 0, 63),
        ("country", "text", "", 0, 2),
        ("hostname", "text", "meterport", 1, 32),
        ("dhcp", "bool", True),
        ("address", "ip", ""),
        ("netmask", "ip", ""),
        ("gateway", "ip", ""),
        ("dns", "ip", ""),
        ("ethernet", "choice", "wt32-eth01",
         ("wt32-eth01", "olimex-gateway", "olimex-poe", "olimex-poe-wrover", "w5500")),
        ("spi_sck", "pin", None),
        ("spi_mosi", "pin", None),
        ("spi_miso", "pin", None),
        ("spi_cs", "pin", None),
        ("spi_int", "pin", None),
    )),
    ("sockets", "section", (
        ("limit", "int", 16, 4, 16),
    )),
    ("http", "section", (
        ("enabled", "bool", True),
        ("bind", "ip", "0.0.0.0"),
        ("port", "int", 80, 1, 65535),
        ("public_status", "bool", False),
        ("commissioning", "bool", False),
        ("names", "names", (), 4),
        ("max_connections", "int", 4, 1, 8),
        ("idle_timeout_s", "int", 15, 2, 300),
    )),
    ("modbus", "section", (
        ("enabled", "bool", True),
        ("bind", "ip", "0.0.0.0"),
        ("port", "int", 502, 1, 65535),
        ("rtu_over_tcp", "int", 0, 0, 65535),
        ("allow_writes", "bool", False),
        ("writers", "ips", (), 8),
        ("priority", "ips", (), 8),
        ("idle_timeout_s", "int", 600, 10, 86400),
    )),
    ("bacnet", "section", (
        ("enabled", "bool", False),
        ("port", "int", 47808, 1, 65535),
        ("instance", "int", 4194303, 0, 4194303),
        ("vendor_id", "int", 999, 0, 65535),
        ("points_per_meter", "int", 8, 1, 255),
        ("points", "text", "", 0, 120),
        ("energy_in_wh", "bool", False),
        ("clients", "ips", (), 8),
        ("allow_writes", "bool", False),
        ("accept_time", "bool", False),
        ("password", "text", "", 0, 20),
        ("bbmd", "ip", ""),
        ("bbmd_port", "int", 47808, 1, 65535),
        ("bbmd_ttl_s", "int", 300, 60, 3600),
    )),
    ("finder", "section", (
        ("enabled", "bool", True),
        ("bind", "ip", "0.0.0.0"),
        ("port", "int", 10502, 1, 65535),
        ("anywhere", "bool", False),
        ("led", "pin", None),
        ("mdns", "bool", False),
    )),
    ("ntp", "section", (
        ("enabled", "bool", True),
        ("server", "text", "pool.ntp.org", 1, 64),
        ("more_servers", "names", (), 3),
        ("port", "int", 123, 1, 65535),
        ("interval_s", "int", 3600, 64, 86400),
    )),
    ("posting", "section", (
        ("enabled", "bool", True),
        ("url", "text", "", 0, 255),
        ("format", "choice", "json", ("json", "csv", "influx", "emoncms", "acquisuite", "daily_csv", "template")),
        ("interval_s", "choice", 300, (60, 300, 600, 900, 1800, 3600, 21600, 86400)),
        ("auth", "choice", "none", ("none", "basic", "bearer", "token", "field")),
        ("user", "text", "", 0, 64),
        ("password", "text", "", 0, 255),
        ("trust", "choice", "ca", ("ca", "pin", "none")),
        ("ca_file", "text", "ca.pem", 1, 32),
        ("pin_sha256", "text", "", 0, 95),
        ("headers", "lines", "", 0, 255),
        ("template", "lines", "", 0, 2048),
    )),
    ("shelly", "section", (
        ("enabled", "bool", False),
        ("bind", "ip", "0.0.0.0"),
        ("port", "int", 2220, 1, 65535),
        ("slot", "int", 0, 0, 63),
        ("anywhere", "bool", False),
    )),
    ("mqtt", "section", (
        ("enabled", "bool", False),
        ("host", "text", "", 0, 64),
        ("port", "int", 0, 0, 65535),
        ("tls", "bool", False),
        ("trust", "choice", "ca", ("ca", "pin", "none")),
        ("ca_file", "text", "ca.pem", 1, 32),
        ("pin_sha256", "text", "", 0, 95),
        ("user", "text", "", 0, 64),
        ("password", "text", "", 0, 128),
        ("payload", "choice", "plain", ("plain", "json", "sparkplug")),
        ("prefix", "text", "meterport", 1, 32),
        ("primary_host", "text", "", 0, 64),
        ("interval_s", "int", 30, 1, 3600),
        ("keep_alive_s", "int", 60, 10, 3600),
        ("homeassistant", "bool", False),
        ("history", "bool", False),
    )),
    ("history", "section", (
        ("bytes", "int", 1024, 0, 4096),
        ("flash", "bool", False),
        ("interval_s", "choice", 300, (60, 300, 600, 900, 1800, 3600)),
        ("commit_s", "int", 3600, 60, 86400),
        ("flash_kb", "int", 0, 0, 8192),
    )),
    ("system", "section", (
        ("watchdog_s", "int", 8, 0, 60),
        ("release_key", "text", "", 0, 64),
    )),
    ("buses", "list", (
        ("uart", "uart", 1),
        ("baud", "choice", 9600, (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)),
        ("framing", "choice", "8N1", ("8N1", "8E1", "8O1", "8N2")),
        ("tx", "pin", None),
        ("rx", "pin", None),
        ("direction", "pin", None),
        ("gap_ms", "int", 0, 0, 1000),
        ("echo", "bool", False),
        ("broadcast", "bool", False),
        ("turnaround_ms", "int", 150, 0, 2000),
        ("role", "choice", "master", ("master", "listen", "slave")),
    ), BUSES_MAX),
    ("routes", "list", (
        ("unit", "int", None, 1, 254),
        ("count", "int", 1, 1, 254),
        ("bus", "int", 0, 0, 1),
        ("address", "int", 0, 0, 254),
        ("closed", "bool", False),
    ), 32),
    ("meters", "list", (
        ("slot", "int", None, 0, 63),
        ("name", "text", None, 1, 32),
        ("unit", "int", None, 1, 247),
        ("profile", "text", None, 1, 40),
        ("bus", "int", 0, 0, 1),
        ("interval_s", "int", 5, 1, 3600),
        ("max_age_s", "int", 10, 0, 3600),
        ("timeout_ms", "int", 500, 20, 10000),
        ("auto_timeout", "bool", False),
        ("retries", "int", 1, 0, 5),
        ("ct_primary", "int", 1, 1, 1000000),
        ("ct_secondary", "int", 1, 1, 1000000),
        ("pt_primary", "int", 1, 1, 1000000),
        ("pt_secondary", "int", 1, 1, 1000000),
        ("inverted", "bool", False),
    ), METERS_MAX),
    ("served", "list", (
        ("unit", "int", None, 1, 247),
        ("meters", "text", None, 1, 40),
        ("as", "text", "", 0, 40),
        ("sunspec", "bool", True),
        ("stale", "choice", "exception", ("exception", "nan", "last")),
        ("last_s", "int", 60, 1, 3600),
    ), SERVED_MAX),
)
# fmt: on


def find(name: str, keys: tuple = KEYS) -> "tuple | None":
    """The row of that name, or None."""
    for row in keys:
        if row[0] == name:
            return row
    return None
