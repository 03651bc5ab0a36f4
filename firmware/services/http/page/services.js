// Services: what runs, what each costs, and what it would free.

const SERVICES = {
  http: ["Web page and API", "Without it this page is gone after the restart, and comes back by the serial prompt only."],
  modbus: ["Modbus TCP", ""],
  bacnet: ["BACnet/IP", ""],
  finder: ["Finder", ""],
  ntp: ["Time (NTP)", ""],
  posting: ["Posting", ""],
  mqtt: ["MQTT", ""],
  shelly: ["A meter as Shelly Pro 3EM", ""],
};
const STATES = { running: ["running", "good"], reserved: ["no address", "dim"], failed: ["failed", "bad"], no_room: ["no socket is left for it", "bad"], no_memory: ["this board has no memory for it", "bad"], off: ["off", "dim"] };

const BROKER_STATES = { connected: ["Connected to the broker", "good"], connecting: ["Connecting to the broker", "due"], no_host: ["The primary host is offline", "due"], no_link: ["No network", "bad"], no_time: ["Time unknown", "due"], retrying: ["Trying again", "due"] };

const stateOf = name => health?.services.find(service => service.name === name);

// "Costs 1 socket. Switched off, ..."
function costOf(name) {
  const slots = stateOf(name)?.slots ?? 1, isOn = stateOf(name)?.state !== "off", wanted = valueAt(name + ".enabled");
  if (isOn && wanted) return say("Holds {}: switched off it would make room for {}.", plural(slots, "socket"), plural(slots, "more connection"));
  if (isOn) return say("Holds {} until the restart; then it makes room for {}.", plural(slots, "socket"), plural(slots, "more connection"));
  return wanted ? say("From the restart on it takes {} from connections.", plural(slots, "socket")) : say("Switched on it would take {} from connections.", plural(slots, "socket"));
}

// Whether the broker takes what MQTT sends.
function brokerNow() {
  if (!health?.mqtt) return el("div");
  const { state, error, refused, waiting } = health.mqtt, [text, kind] = BROKER_STATES[state] || [capital(words(state)), "dim"];
  return el("div", null, el("p", { class: error || refused ? "bad" : kind }, translated(text) + (error ? ": " + error : "")),
    refused ? el("p", { class: "bad" }, "It refuses the history: only values are sent.") : null,
    waiting === null ? null : factList({ "Records waiting": waiting }));
}

function serviceCard(name, ...settings) {
  const [title, warning] = SERVICES[name];
  const [state, kind] = STATES[stateOf(name)?.state] || ["", "dim"], port = stateOf(name)?.port;
  const cost = dim();
  const tell = () => { cost.textContent = costOf(name) + (warning && !valueAt(name + ".enabled") ? " " + translated(warning) : ""); };
  tell();
  const { instance, objects } = health?.[name] || {};
  return el("section", null, el("h2", null, title, " ", el("span", { class: kind }, state, port && state === "running" ? say(", port {}", port) : null)),
    cost, instance == null ? null : el("p", null, say("Device {}, {}.", instance, plural(objects, "object"))),
    name === "mqtt" ? servicesPage.broker = brokerNow() : null,
    el("div", { class: "fields" }, field(name + ".enabled", { onchange: tell }), settings.length ? null : fieldsOf(name, "enabled")), settings);
}

// Sends a file with certificates for a service, which the device checks.
function authoritiesField(name, refresh = () => {}) {
  const id = name + "_authorities", file = el("input", { type: "file", id, accept: ".pem,.crt,.cer,.der" });
  return el("div", { class: "field" }, el("label", { for: id }, "Certificates of authorities (PEM or DER)"), file,
    button("Send the file", event => attempt(event, async () => {
      if (!file.files[0]) throw new Error("Choose a file with certificates first.");
      await ask("PUT", `api/${name}/authorities`, file.files[0], SAVE_MS);
      notice("The device has the certificates.");
      await refresh();
    }), "plain"));
}

const servicesPage = {
  title: "Services",
  config: true,
  every_ms: SELDOM_MS,
  refresh() {
    this.broker = replace(this.broker, brokerNow());
  },
  show(main) {
    main.append(...Object.keys(SERVICES).filter(name => name !== "posting").map(name => serviceCard(name)));
    if (valueAt("mqtt.tls")) main.append(card("Certificate of the broker", valueAt("mqtt.trust") !== "none" ? authoritiesField("mqtt")
      : el("p", { class: "bad" }, "The broker's certificate is not checked: everybody on the way can read and change what is sent.")));
  },
};
