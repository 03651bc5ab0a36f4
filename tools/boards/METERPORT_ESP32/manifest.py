# Run by MicroPython's build, which has these functions. Of the port's own manifest what the firmware needs: each
# replaceable slot of 4 MiB is tight, and the packages left out (umqtt, requests, mip, webrepl, aioespnow, drivers of
# sensors, upysh) can be put on the file system.
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
require("ssl")
