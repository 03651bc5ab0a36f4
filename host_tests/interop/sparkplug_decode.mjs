// `node sparkplug_decode.mjs MODULES` reads payloads of Sparkplug B as hexadecimal lines and prints each as JSON, decoded
// by the package of Eclipse Tahu; a number of 64 bits as a text.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules] = process.argv.slice(2);
const { decodePayload } = createRequire(`${modules}/`)("sparkplug-payload").get("spBv1.0");
const plain = (_, value) => (value && typeof value === "object" && "low" in value && "high" in value ? String(value) : value);
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(decodePayload(Buffer.from(line, "hex")), plain));
}
