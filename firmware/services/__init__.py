"""Services of the gateway on the network: one package for each; none imports another.

A service is an object of this shape; firmware/app.py has the one list of them. It gets what it uses as arguments of its
constructor (its section of the configuration, budget, events, clock, link, ...), never the application. To add one:
its package, its section in config/schema.py, its row in net/budget.py (KINDS) and in app.py, its documents.
"""


class Service:
    """`name` is its section of the configuration, its kind in the socket budget and its name in API and log. Its slots
    are those of the budget: one that it holds from boot on (budget.service_slot(name)), and its connections."""

    name = ""
    has_task = False  # run() is kept running by the supervisor
    # A text while another device has what only one may have (a name, a BACnet instance): the finder shows it.
    conflict: "str | None" = None

    def start(self) -> None:
        """Opens its sockets. Raises OSError when that cannot be done, MemoryError without room."""

    async def run(self) -> None:
        """Never ends. Only of a service that has a task."""

    def tick(self) -> None:
        """Once a second: time-outs and the like. Must be quick."""

    def close(self) -> None:
        """Closes its sockets. The connections that it accepted have been closed already."""

    def status(self) -> "dict | None":
        """{name: number, text or None} for its section of GET /api/status; None for no section."""
        return None
