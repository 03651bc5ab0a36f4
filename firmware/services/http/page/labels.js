// What the keys of the configuration are called on the page, and what one has to know of them. A key that is not here is
// shown by its own name.

const LABELS = {
  name: "Name of this device",
  "network.link": "Link", "network.ssid": "Wi-Fi network", "network.password": "Wi-Fi password",
  "network.country": "Country code", "network.dhcp": "Address from a DHCP server", "network.address": "Address",
  "network.netmask": "Network mask", "network.gateway": "Gateway", "network.dns": "Name server",
  "network.ethernet": "Ethernet of the board", "network.spi_sck": "W5500: SCK", "network.spi_mosi": "W5500: MOSI",
  "network.spi_miso": "W5500: MISO", "network.spi_cs": "W5500: CS", "network.spi_int": "W5500: INT", "network.hostname": "Host name",
  "sockets.limit": "Sockets in all",
  "http.bind": "Listen on address", "http.port": "Port", "http.public_status": "Readings without a password",
  "http.commissioning": "Commissioning", "http.names": "Further names of this device", "http.max_connections": "Connections at most", "http.idle_timeout_s": "Idle time-out (s)",
  "modbus.bind": "Listen on address", "modbus.port": "Port", "modbus.rtu_over_tcp": "Port for RTU over TCP",
  "modbus.allow_writes": "Pass on writes",
  "modbus.writers": "Only from these addresses", "modbus.priority": "Addresses that go first", "modbus.idle_timeout_s": "Idle time-out (s)",
  "finder.bind": "Listen on address", "finder.port": "Port", "finder.anywhere": "Answer other networks", "finder.led": "LED pin",
  "ntp.server": "Server", "ntp.more_servers": "Further servers", "ntp.port": "Port", "ntp.interval_s": "Interval (s)",
  "system.watchdog_s": "Watchdog (s)", "history.bytes": "Memory for the last hours (bytes)",
  "buses.uart": "UART", "buses.baud": "Baud rate", "buses.framing": "Framing", "buses.tx": "TX pin", "buses.rx": "RX pin",
  "buses.direction": "Direction pin", "buses.gap_ms": "Least silence (ms)", "buses.echo": "The line echoes",
  "buses.broadcast": "Broadcast writes to unit 0", "buses.turnaround_ms": "Turnaround (ms)",
  "routes.unit": "From unit", "routes.count": "Units", "routes.bus": "Line", "routes.address": "To address", "routes.closed": "Closed",
  "meters.slot": "Slot", "meters.name": "Name", "meters.unit": "Unit id", "meters.profile": "Kind of meter", "meters.bus": "Line",
  "meters.interval_s": "Read every (s)", "meters.max_age_s": "Answer from memory for (s)", "meters.timeout_ms": "Time-out (ms)",
  "meters.auto_timeout": "Time-out by the meter's own answers", "meters.retries": "Retries",
  "meters.ct_primary": "Current transformer, primary", "meters.ct_secondary": "Current transformer, secondary",
  "meters.pt_primary": "Voltage transformer, primary", "meters.pt_secondary": "Voltage transformer, secondary",
  "meters.inverted": "Transformers are the wrong way round",
};

const HINTS = {
  "network.ethernet": "of an ESP32; other boards know their own", "network.spi_int": "the W5500's interrupt",
  "network.country": "two letters, such as DE; Wi-Fi channels depend on it",
  "network.address": "of this device", "network.dns": "empty: none", "network.hostname": "without .local",
  "sockets.limit": "fewer than 16 only to leave some to other software",
  "http.bind": "0.0.0.0: on all", "modbus.bind": "0.0.0.0: on all",
  "http.public_status": "who reaches this device may see readings, status and sockets, and change nothing",
  "http.commissioning": "a search for meters needs no password: switch it off when the meters are found",
  "http.names": "separated by commas; a proxy's too",
  "modbus.rtu_over_tcp": "for clients that send serial frames; 0: none. It holds a socket",
  "modbus.allow_writes": "off: every write is refused with exception 01",
  "modbus.writers": "separated by commas; empty: from any",
  "modbus.priority": "separated by commas; their requests go before those of others",
  "finder.anywhere": "off: only addresses of this network", "finder.led": "empty: the board's own",
  "ntp.server": "name or address", "ntp.more_servers": "separated by commas; asked in turn when the one before gives no time",
  "system.watchdog_s": "0: off", "history.bytes": "power and voltage of each meter, a day in all; more memory: shorter steps; 0: none",
  "buses.uart": "number of the UART", "buses.tx": "empty: the board's own", "buses.rx": "empty: the board's own",
  "buses.direction": "empty: the driver turns by itself",
  "buses.gap_ms": "before a request, for meters that need more than 3.5 characters",
  "buses.turnaround_ms": "that meters have to carry out a broadcast",
  "routes.address": "0: the same as the unit", "routes.closed": "exception 0A instead of a meter",
  "meters.slot": "part of every point's id: leave it as it is once others use the points",
  "meters.max_age_s": "0: every request of a client goes to the meter",
  "meters.timeout_ms": "of one answer",
  "meters.ct_primary": "1 unless the meter gives values of the secondary side",
};

// "meters[2].unit" is called what "meters.unit" is.
const generic = path => path.replace(/\[\d+\]/g, "");
const labelOf = path => LABELS[generic(path)] || capital(words(path.replace(/.*\./, "")));
