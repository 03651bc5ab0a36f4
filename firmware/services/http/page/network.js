// Network: what the link is, and how it is to be.

const WIFI_KEYS = ["ssid", "password", "ssid_2", "password_2", "ssid_3", "password_3", "country"], STATIC_KEYS = ["address", "netmask", "gateway", "dns"], LINK_KEYS = ["link", "dhcp", "hostname"],
  SPI_KEYS = ["spi_sck", "spi_mosi", "spi_miso", "spi_cs", "spi_int"];

const networkPage = {
  title: "Network",
  config: true,
  every_ms: SELDOM_MS,
  show(main) {
    const wifi = el("div", { class: "fields" }, ["", "_2", "_3"].map(end => [field("network.ssid" + end), secretField("network.password" + end, "None: an open network")]),
      field("network.country"));
    const wired = el("div", { class: "fields" }, field("network.ethernet", { onchange: () => arrange() }));
    const spi = el("div", { class: "fields" }, SPI_KEYS.map(key => field("network." + key)));
    const fixed = el("div", { class: "fields" }, STATIC_KEYS.map(key => field("network." + key)));
    const arrange = () => {
      wifi.hidden = valueAt("network.link") !== "wifi";
      wired.hidden = valueAt("network.link") !== "ethernet";
      spi.hidden = wired.hidden || valueAt("network.ethernet") !== "w5500";
      fixed.hidden = valueAt("network.dhcp") === true;
    };
    arrange();
    this.now = el("div");
    main.append(card("Network now", this.now), card("Link",
      el("div", { class: "fields" }, field("network.link", { onchange: arrange }), field("network.hostname")), wifi, wired, spi,
      el("div", { class: "fields" }, field("network.dhcp", { onchange: arrange })), fixed,
      el("div", { class: "fields" }, fieldsOf("network", ...WIFI_KEYS, ...STATIC_KEYS, ...LINK_KEYS, "ethernet", ...SPI_KEYS)),
      dim("It counts from the next restart on. With another address this page is found there.")));
    this.refresh();
  },
  refresh() {
    if (!health) return;
    const now = health.network || {};
    const rows = Object.keys(now).filter(key => now[key] != null && now[key] !== "")
      .map(key => el("div", null, el("dt", null, key === "rssi" ? "Signal" : labelOf("network." + key)), el("dd", null, key === "rssi" ? now[key] + " dBm" : now[key])));
    this.now = replace(this.now, rows.length ? el("dl", null, rows) : dim("This board does not say."));
  },
};
