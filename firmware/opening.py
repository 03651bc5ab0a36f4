"""Opens the services and starts the tasks of the gateway. Runs once, and is given back to the heap afterwards.

Services are imported only when they are enabled: code costs heap. Each gets what it uses as arguments.
"""


def start(app):
    """Opens the services and starts the tasks. A service that cannot start says so; the others do not suffer."""
    if app.budget.service_slot("modbus"):
        _try(app, "modbus", _start_modbus)
    if app.budget.service_slot("http"):
        _try(app, "http", _start_http)
    size = app.config["history"]["bytes"]
    if size and app.points.meters:
        from firmware.history import History

        try:
            app.history = History(size, app.points.meters, app.readings)
        except MemoryError:
            app.events.add("app", "no memory for the history: history.bytes is %d" % size)
    if app.budget.service_slot("ntp"):
        from firmware.services.ntp.client import Client

        app.ntp = Client(app.config["ntp"], app.budget, app.events, app.clock, app.link, app.forget, app.is_short)
        app.supervise("ntp", app.ntp.run)
    for bus in app.buses:
        app.supervise("bus %d" % bus.number, bus.run)
    app.supervise("link", app.keep_link)
    app.supervise("tick", app.tick)


def _try(app, name, starter):
    try:
        starter(app)
    except (OSError, MemoryError) as error:
        app.events.add(name, "not started: port %d: %r" % (app.config[name]["port"], error))


class _ConfigStore:
    """What unit 255 asks of the configuration."""

    def __init__(self, app):
        self.name = app.name()
        self.errors = app.config_errors()
        self.reboot_due = app.reboot_due


class _Device:
    services = ()


def _start_modbus(app):
    from firmware.services.modbus_tcp.server import ModbusServer
    from firmware.services.modbus_tcp.unit255 import Unit255

    unit255 = Unit255(_Device(), _ConfigStore(app), app.clock, app.budget, app.points, app.readings, app.buses)
    server = ModbusServer(app.config["modbus"], app.budget, app.events, app.buses, unit255)
    server.start()
    app.modbus = server


def _start_http(app):
    from firmware.services.http.api import Api
    from firmware.services.http.server import Server

    app.http = Server(app.config["http"], app.budget, app.events, Api(app))
