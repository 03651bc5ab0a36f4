"""The firmware on an emulated RP2040 with real MicroPython and real lwIP; see README.md beside this file."""
