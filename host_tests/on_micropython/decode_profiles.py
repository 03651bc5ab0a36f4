"""Decodes blocks of registers by the profiles of the tree, on MicroPython.

    micropython decode_profiles.py PATH...

The PATHs go to the front of sys.path. In: one JSON object a line: {"meter": configuration of a meter, "blocks": [what
each read of the plan gave, in hex]}. Out: one line of JSON for each, the values of all points in the profile's order,
and behind them what Profile.decimal() makes of each; integers as texts, so that no parser makes floats of them. The
last line is {"heap": {profile: bytes that it takes}}.
"""

import gc
import json
import sys

sys.path[0:0] = sys.argv[1:]
from firmware.meters import profile_loader as profile_load


def shown(value):
    return str(value) if isinstance(value, int) else value


def heap_of(name, profiles):
    """Bytes of heap that the profile takes; loads it anew."""
    profiles.pop(name, None)
    gc.collect()
    before = gc.mem_alloc()
    profiles[name] = profile_load.load(name)
    gc.collect()
    return gc.mem_alloc() - before


def main():
    profiles = {}
    heap = {}
    while True:
        line = sys.stdin.readline()
        if not line:
            break
        question = json.loads(line)
        meter = question["meter"]
        name = meter["profile"]
        if name not in heap:
            profiles.clear()  # questions of a kind come one behind the other
            profile_load.of_meter(meter, {})  # what is allocated once is no profile's
            # The collector takes whatever looks like a pointer for one: what lies about on the stack may keep garbage.
            heap[name] = min([heap_of(name, profiles) for _ in range(3)])
        profile = profile_load.of_meter(meter, profiles)
        ratios = profile_load.ratios(meter)
        blocks = [bytearray(bytes.fromhex(text)) for text in question["blocks"]]
        values = [profile.decode(i, blocks[profile.blocks[i]], ratios) for i in range(len(profile))]
        values += [profile.decimal(i, blocks[profile.blocks[i]], ratios) for i in range(len(profile))]
        before = "["
        for value in values:
            print(before, json.dumps(shown(value)), sep="", end="")
            before = ","
        print("]")
    print(json.dumps({"heap": heap}))


main()
