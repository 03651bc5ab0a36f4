"""Runs in a namespace: `bacpypes3_write.py OWN/24 GATEWAY INSTANCE OBJECT` writes by bacpypes3, with and without a
priority, and reads what it wrote; prints one JSON document."""

import asyncio
import json
import sys

from bacpypes3.apdu import ErrorRejectAbortNack
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address, IPv4Address


async def main(own, gateway, instance, identifier):
    device = DeviceObject(objectIdentifier="device,47", objectName="client", vendorIdentifier=999)
    app = NormalApplication(device, IPv4Address(own))
    address = Address(gateway)
    found = {}
    wanted = (
        (f"device,{instance}", "location", "third floor", 8),
        (f"device,{instance}", "object-name", "written by bacpypes3", None),
        (identifier, "cov-increment", 2.5, 16),
    )
    try:
        for target, name, value, priority in wanted:
            await app.write_property(address, target, name, value, priority=priority)
            found[name] = await app.read_property(address, target, name)
        refused = {}
        for name, value, priority in (("present-value", 1.0, 8), ("cov-increment", -1.0, None), ("units", 3, 1)):
            try:
                await app.write_property(address, identifier, name, value, priority=priority)
            except ErrorRejectAbortNack as error:
                refused[name] = str(error)
        found["refused"] = refused
    finally:
        app.close()
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
