# Run by MicroPython's build, which has this function. The port's own brings `ssl` with bundle-networking.
include("$(PORT_DIR)/boards/manifest.py")
