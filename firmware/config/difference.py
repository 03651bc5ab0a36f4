"""Which services a new configuration file switches on or off. Loaded when the file has changed."""

import strict_json

from firmware.config import json_file


def due(path, config, names, events):
    """Names of the services whose switch in the file is not that of `config`; if none, "configuration"."""
    on = {name: True for name in names}
    found = []
    try:
        with open(path, "rb") as f:
            strict_json.check(f)
            for key, begin, end in json_file.members(f):
                if key in on:
                    on[key] = json_file.value(f, begin, end).get("enabled", True)
        found = [name for name in names if on[name] != config[name]["enabled"]]
    except (OSError, ValueError, AttributeError, MemoryError) as error:
        events.add("config", "the new file will not do: %s" % error)
    return found or ["configuration"]
