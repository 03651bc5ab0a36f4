"""What one section of the configuration cannot know of another, and one key of the network of another."""

from firmware.config import rules as config_rules


def check(config, errors):
    """Looks at everything but routes and meters, each of which is right by itself."""
    http = config["http"]
    modbus = config["modbus"]
    if http["enabled"] and modbus["enabled"] and http["port"] == modbus["port"]:
        errors.append("modbus.port: %d is taken by http.port" % modbus["port"])
    _check_network(config["network"], errors)
    buses = config["buses"]
    if len(buses) == 2 and buses[0]["uart"] == buses[1]["uart"]:
        errors.append("buses[1].uart: %s is used by the other bus" % config_rules.short(buses[1]["uart"]))
    server = config["ntp"]["server"]
    if not server.strip("0123456789.") and not config_rules.is_ip(server):
        shown = config_rules.short(server)
        errors.append('ntp.server: %s is neither a name nor an IPv4 address such as "192.0.2.1"' % shown)


def _check_network(network, errors):
    """Addresses of the device's own, where it does not ask for them."""
    name = network["hostname"]
    if name.startswith("-") or not all([one in "-0123456789" or "a" <= one.lower() <= "z" for one in name]):
        errors.append("network.hostname: %s: letters, digits and - only" % config_rules.short(name))
    if network["dhcp"]:
        return
    for key in ("address", "netmask"):
        if not network[key]:
            errors.append("network.%s: needed when network.dhcp is off" % key)
    if not network["address"] or not network["netmask"]:
        return
    address, mask = _number(network["address"]), _number(network["netmask"])
    host = 0xFFFFFFFF - mask
    if host & (host + 1) or not 3 <= host < 0xFFFFFF + 1:
        errors.append('network.netmask: %s is not a netmask such as "255.255.255.0"' % network["netmask"])
    elif not 0 < address & host < host or not 0x01000000 <= address < 0xE0000000:
        errors.append("network.address: %s is no address of a device" % network["address"])
    elif network["gateway"] and (_number(network["gateway"]) ^ address) & mask:
        errors.append("network.gateway: %s is not in the network of network.address" % network["gateway"])


def _number(ip):
    number = 0
    for part in ip.split("."):
        number = number << 8 | int(part)
    return number
