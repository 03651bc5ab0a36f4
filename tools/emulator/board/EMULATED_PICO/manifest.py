# Run by MicroPython's build, which has these two functions.
# ruff: noqa: F821
# mypy: ignore-errors
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
