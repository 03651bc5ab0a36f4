"""What the page has to know before it can offer anything: the keys of the configuration, and which profiles there
are."""

import json
import os

from firmware import json_file, schema

_FOLDERS = ("data/meters/", __file__.rsplit("/", 3)[0] + "/meters/" if "/" in __file__ else "firmware/meters/")


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    if request.path == "/api/schema":
        return 200, "application/json", os.stat(schema.PATH)[6], open(schema.PATH, "rb"), ()
    return _profiles(), ()


def _profiles():
    """Those that a user added first; one of the same name that came with the firmware is then left out."""
    seen = set()
    before = ""
    yield '{"profiles":['
    for folder in _FOLDERS:
        try:
            names = sorted([file[:-5] for file in os.listdir(folder) if file.endswith(".json")])
        except OSError:
            continue
        for name in names:
            if name in seen:
                continue
            seen.add(name)
            title, confidence = _title("%s%s.json" % (folder, name), name)
            yield '%s{"name":%s,"title":%s,"confidence":%d}' % (before, json.dumps(name), json.dumps(title), confidence)
            before = ","
    yield "]}"


def _title(path, name):
    """(title, confidence) of a profile; a file that is damaged has its name for a title."""
    found = {"name": name, "confidence": 0}
    left = len(found)
    try:
        with open(path, "rb") as f:
            for key, begin, end in json_file.members(f):
                if key in found:
                    value = json_file.value(f, begin, end)
                    if isinstance(value, type(found[key])):
                        found[key] = value
                    left -= 1
                    if not left:
                        break
    except (OSError, ValueError):
        pass  # the check at the save, or the boot, says what is wrong with it
    return found["name"], found["confidence"]
