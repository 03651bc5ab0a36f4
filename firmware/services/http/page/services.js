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

const stateOf = name => health?.services.find(service => service.name === name);

// "Costs 1 socket. Switched off, ..."
function costOf(name) {
  const slots = stateOf(name)?.slots ?? 1, isOn = stateOf(name)?.state !== "off", wanted = valueAt(name + ".enabled");
  if (isOn && wanted) return `Holds ${plural(slots, "socket")}: switched off it would make room for ${plural(slots, "more connection")}.`;
  if (isOn) return `Holds ${plural(slots, "socket")} until the restart; then it makes room for ${plural(slots, "more connection")}.`;
  return wanted ? `From the restart on it takes ${plural(slots, "socket")} from connections.` : `Switched on it would take ${plural(slots, "socket")} from connections.`;
}

function serviceCard(name, ...settings) {
  const [title, warning] = SERVICES[name];
  const [state, kind] = STATES[stateOf(name)?.state] || ["", "dim"], port = stateOf(name)?.port;
  const cost = dim();
  const say = () => { cost.textContent = translated(costOf(name)) + (warning && !valueAt(name + ".enabled") ? " " + warning : ""); };
  say();
  const { instance, objects } = health?.[name] || {};
  return el("section", null, el("h2", null, title, " ", el("span", { class: kind }, state + (port && state === "running" ? ", port " + port : ""))),
    cost, instance == null ? null : el("p", null, `Device ${instance}, ${plural(objects, "object")}.`),
    el("div", { class: "fields" }, field(name + ".enabled", { onchange: say }), settings.length ? null : fieldsOf(name, "enabled")), settings);
}

const servicesPage = {
  title: "Services",
  config: true,
  every_ms: SELDOM_MS,
  show(main) {
    main.append(...Object.keys(SERVICES).filter(name => name !== "posting").map(name => serviceCard(name)));
  },
};
