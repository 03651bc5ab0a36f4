"""Counters of the Modbus TCP server since boot."""


class Counters:
    """NAMES: those that the status and the registers of unit 255 show, in their order."""

    NAMES = ("requests", "cached", "passed", "exceptions", "discarded", "malformed", "rtu_frames")

    def __init__(self) -> None:
        self.requests = 0
        self.cached = 0  # answered from memory
        self.passed = 0  # given to a bus
        self.exceptions = 0
        self.discarded = 0  # ADUs of another protocol (protocol id not 0)
        self.malformed = 0  # connections closed for an impossible length
        self.rtu_frames = 0  # connections closed for RTU frames at the port for Modbus TCP

    def status(self) -> "dict[str, int]":
        """Returns {name: number} of all."""
        return {name: getattr(self, name) for name in self.NAMES}
