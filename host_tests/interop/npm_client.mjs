// Runs in a namespace: `node npm_client.mjs MODULES PACKAGE OWN GATEWAY INSTANCE` finds the gateway with a BACnet client
// of npm, reads all its objects, subscribes to one, writes with a priority; prints one JSON document as the last line.
import { createRequire } from "node:module";
import { promisify } from "node:util";

const [modules, name, own, gateway, instance] = process.argv.slice(2);
const BROADCAST = "10.47.8.255";
const [ANALOG_INPUT, DEVICE] = [0, 8];
const [DESCRIPTION, LOCATION, OBJECT_LIST, OBJECT_NAME, PRESENT_VALUE, STATUS_FLAGS] = [28, 58, 76, 77, 85, 111];
const CHARACTERS = 7;
const LIFETIME_S = 30;
const LIMIT_MS = 20000;

const loaded = createRequire(`${modules}/`)(name);
const Client = loaded.default ?? loaded;
const options = { interface: "0.0.0.0", broadcastAddress: BROADCAST, apduTimeout: 3000 };
const client = new Client(options);
const isOld = name === "node-bacnet"; // callbacks, and an address that is a text
const receiver = isOld ? gateway : { address: gateway };
const call = (method, ...given) =>
  isOld ? promisify(client[method].bind(client))(receiver, ...given) : client[method](receiver, ...given);
const once = (event) => new Promise((resolve, reject) => {
  client.once(event, resolve);
  setTimeout(() => reject(new Error(`no ${event}`)), LIMIT_MS).unref();
});
const device = { type: DEVICE, instance: Number(instance) };
const read = async (object, property) => (await call("readProperty", object, property, {})).values;
const refusal = async (asked) => {
  try {
    await asked;
  } catch (error) {
    return error.message;
  }
  return null;
};

const found = {};
try {
  const told = once("iAm");
  client.whoIs();
  const iAm = await told;
  found.device = (iAm.payload ?? iAm).deviceId;

  const objects = (await read(device, OBJECT_LIST)).map((each) => each.value);
  found.objects = objects.map((each) => [each.type, each.instance]);
  found.name = (await read(device, OBJECT_NAME))[0].value;
  const inputs = objects.filter((each) => each.type === ANALOG_INPUT);
  const asked = inputs.map((objectId) => ({
    objectId, properties: [{ id: OBJECT_NAME }, { id: PRESENT_VALUE }, { id: STATUS_FLAGS }],
  }));
  const many = await call("readPropertyMultiple", asked, {});
  found.points = many.values.map((each) => [
    each.objectId.instance, ...each.values.slice(0, 2).map((row) => row.value[0].value),
  ]);
  found.one = (await read(inputs[0], PRESENT_VALUE))[0].value;

  const change = once("covNotifyUnconfirmed");
  await call("subscribeCov", inputs[0], 7, false, false, LIFETIME_S, {});
  const notified = await change;
  found.notified = (notified.payload ?? notified).monitoredObjectId.instance;

  const text = (value) => [{ type: CHARACTERS, value }];
  await call("writeProperty", device, LOCATION, text(`room of ${name}`), { priority: 8 });
  await call("writeProperty", device, DESCRIPTION, text("written"), {});
  found.location = (await read(device, LOCATION))[0].value;
  found.description = (await read(device, DESCRIPTION))[0].value;
  found.refused = await refusal(call("writeProperty", inputs[0], PRESENT_VALUE, [{ type: 4, value: 1 }], { priority: 8 }));
} finally {
  client.close();
}
console.log(JSON.stringify(found));
