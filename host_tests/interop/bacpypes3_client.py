"""Runs in a namespace: `bacpypes3_client.py OWN/24 GATEWAY LIFETIME` asks the gateway everything by bacpypes3, and
prints one JSON document. A value that this library cannot take apart ends it with its error."""

import asyncio
import json
import sys
import time

from bacpypes3.apdu import ErrorRejectAbortNack
from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address, GlobalBroadcast, IPv4Address, LocalBroadcast
from bacpypes3.primitivedata import ObjectIdentifier

WRONG = (
    ("analog-input,9999", "present-value", None),
    ("analog-value,1", "present-value", None),
    ("analog-input,16", "priority-array", None),
    ("analog-input,16", "present-value", 1),
    ("device,4194303", "object-list", 9999),
)


def shown(value):
    return str(value)


async def error_of(question):
    try:
        await question
    except ErrorRejectAbortNack as error:
        return str(error)
    return None


async def main(own, gateway, lifetime_s):
    device = DeviceObject(
        objectIdentifier="device,47", objectName="client", vendorIdentifier=999, maxApduLengthAccepted=1476,
        segmentationSupported="segmented-both",
    )  # fmt: skip
    app = NormalApplication(device, IPv4Address(own))
    address = Address(gateway)
    found = {}
    try:
        found["local"] = [shown(each.iAmDeviceIdentifier) for each in await app.who_is(address=LocalBroadcast())]
        (i_am,) = await app.who_is(address=GlobalBroadcast())
        found["global"] = shown(i_am.iAmDeviceIdentifier)
        found["vendor"] = i_am.vendorID
        identifier = i_am.iAmDeviceIdentifier
        instance = identifier[1]
        found["others"] = len(await app.who_is(instance + 1, instance + 2, timeout=1))
        objects = await app.read_property(address, identifier, "object-list")
        found["objects"] = [shown(each) for each in objects]
        count = await app.read_property(address, identifier, "object-list", 0)
        found["by index"] = [
            shown(await app.read_property(address, identifier, "object-list", k + 1)) for k in range(count)
        ]
        have = await app.who_has(object_identifier=objects[1], address=LocalBroadcast())
        found["have"] = [[shown(each.objectIdentifier), shown(each.objectName)] for each in have]
        found["properties"] = properties = {}
        for each in objects:
            listed = await app.read_property(address, each, "property-list")
            values = {}
            for number in (*listed, PropertyIdentifier("object-identifier"), PropertyIdentifier("object-name"),
                           PropertyIdentifier("object-type")):  # fmt: skip
                values[shown(number)] = shown(await app.read_property(address, each, number))
            properties[shown(each)] = values
        found["all"] = {}
        for each in objects:
            rows = await app.read_property_multiple(address, [each, ["all"]])
            found["all"][shown(each)] = {shown(row[1]): shown(row[3]) for row in rows}
        found["errors"] = [
            await error_of(app.read_property(address, ObjectIdentifier(kind), number, index))
            for kind, number, index in WRONG
        ]
        found["write"] = await error_of(app.write_property(address, identifier, "location", "here"))
        found["notified"] = []
        subscription = app.change_of_value(address, objects[1], issue_confirmed_notifications=True, lifetime=lifetime_s)
        await subscription.__aenter__()
        subscription.refresh_subscription_handle.cancel()  # it would subscribe again before the end
        begin = time.monotonic()
        while True:
            try:
                name, value = await asyncio.wait_for(
                    subscription.get_value(), lifetime_s + 3 + begin - time.monotonic()
                )
            except TimeoutError:
                break
            found["notified"].append([shown(name), shown(value), time.monotonic() - begin])
        found["left"] = len(await app.read_property(address, identifier, "active-cov-subscriptions"))
    finally:
        app.close()
    print(json.dumps(found))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
