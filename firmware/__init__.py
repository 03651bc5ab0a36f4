"""meterport: a gateway between RS-485 energy meters and the network. See app.py for how it is put together."""

VERSION = (0, 1, 0)
