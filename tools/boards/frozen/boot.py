"""boot.py of an image that has the firmware's modules within (tools/build.py, frozen_manifest).

The firmware's data files stay in the file system, in a folder that has the name of its package and would hide it: here
the image is searched before the files.
"""

import sys

sys.path.remove(".frozen")
sys.path.insert(0, ".frozen")
