"""A board on a serial port, or in BOOTSEL: python -m tools.device (__main__.py)."""
