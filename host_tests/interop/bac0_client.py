"""Runs in a namespace: `bac0_client.py OWN/24 GATEWAY INSTANCE` finds the gateway with BAC0 and reads all its points;
prints one JSON document as the last line."""

import asyncio
import json
import sys

import BAC0


async def main(own, gateway, instance):
    BAC0.log_level("silence")
    async with BAC0.start(ip=own, ping=False) as network:
        await network._discover(limits=(instance, instance), global_broadcast=False)
        found = {"discovered": sorted(str(key) for key in network.discoveredDevices or {})}
        device = await BAC0.device(gateway, instance, network, poll=0)
        found["name"] = device.properties.name
        found["points"] = {
            point.properties.name: [
                point.properties.type, point.properties.address, str(await point.value),
                point.properties.description,
            ]
            for point in device.points
        }  # fmt: skip
    print("\n" + json.dumps(found))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
