// `node improv_client.mjs MODULES DEVICE SSID PASSWORD WRONG` sets Wi-Fi over a serial device with the client of ESP Web
// Tools, first with a wrong password; prints one JSON document as the last line.
import { constants, openSync, writeSync } from "node:fs";
import { register } from "node:module";
import { Readable } from "node:stream";
import { ReadStream } from "node:tty";
import { pathToFileURL } from "node:url";

// The package is made for bundlers: its imports have no endings, and it does not call itself a module.
const hooks = `
  export const resolve = (name, context, next) =>
    next(name.startsWith(".") && !name.endsWith(".js") ? name + ".js" : name, context);
  export const load = (url, context, next) =>
    next(url, url.includes("/improv-wifi-serial-sdk/") ? { ...context, format: "module" } : context);
`;
register("data:text/javascript," + encodeURIComponent(hooks));

const [modules, device, ssid, password, wrong] = process.argv.slice(2);
const { ImprovSerial } = await import(pathToFileURL(`${modules}/improv-wifi-serial-sdk/dist/serial.js`));

const fd = openSync(device, constants.O_RDWR | constants.O_NOCTTY);
const port = {
  readable: Readable.toWeb(new ReadStream(fd)),
  writable: new WritableStream({ write: (chunk) => { writeSync(fd, chunk); } }),
};
const quiet = { log() {}, debug() {}, error: (...given) => console.error(...given) };
const client = new ImprovSerial(port, quiet);
const found = { states: [] };
client.addEventListener("state-changed", (event) => found.states.push(event.detail));
found.info = await client.initialize(20000);
found.networks = await client.scan();
found.refusal = await client.provision(ssid, wrong).then(() => null, String);
await client.provision(ssid, password);
found.url = client.nextUrl;
await client.requestCurrentState();
found.urlAgain = client.nextUrl;
console.log(JSON.stringify(found));
process.exit(0);
