"""What the Modbus TCP server has done since boot."""


class Counters:
    """NAMES: what the status and the registers of unit 255 show, in their order."""

    NAMES = ("requests", "cached", "passed", "exceptions", "discarded", "malformed")

    def __init__(self):
        self.requests = 0
        self.cached = 0  # answered from memory
        self.passed = 0  # given to a bus
        self.exceptions = 0
        self.discarded = 0  # ADUs of another protocol (protocol id not 0)
        self.malformed = 0  # connections closed for an impossible length

    def status(self):
        """{name: number} of all."""
        return {name: getattr(self, name) for name in self.NAMES}
