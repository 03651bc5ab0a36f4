"""Reads registers with umodbus, the Modbus library that others use on MicroPython, and prints what it got as JSON.

    micropython umodbus_client.py HOST PORT UNIT:FUNCTION:ADDRESS:COUNT...

umodbus must be on sys.path (MICROPYPATH). Function 1 to 4. Output: one JSON line for each read, in order, over one
connection: [value, ...] (bits as 0 and 1, registers unsigned), or {"error": text} for what umodbus raised.
"""

import json
import sys

from umodbus.tcp import TCP


def read(client, text):
    """The values of one read."""
    unit, function, address, count = [int(part) for part in text.split(":")]
    if function == 1:
        return [int(bit) for bit in client.read_coils(unit, address, count)[:count]]
    if function == 2:
        return [int(bit) for bit in client.read_discrete_inputs(unit, address, count)[:count]]
    if function == 3:
        return list(client.read_holding_registers(unit, address, count, False))
    return list(client.read_input_registers(unit, address, count, False))


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client = TCP(host, port)
    for text in sys.argv[3:]:
        try:
            print(json.dumps(read(client, text)))
        except (ValueError, OSError) as error:
            print(json.dumps({"error": repr(error)}))


main()
