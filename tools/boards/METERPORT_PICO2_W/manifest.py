# Run by MicroPython's build, which has these functions. The C module is `tls`; `ssl` is Python, of micropython-lib.
include("$(PORT_DIR)/boards/manifest.py")
require("ssl")
