"""Benchmarks: `emulated` measures in time of an emulated RP2040, the same on every machine (`make bench-emulated`)."""
