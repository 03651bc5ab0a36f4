"""What the page has to know before it can offer anything: the keys of the configuration, and which profiles there are.
"""

import json
import os

from firmware.config import json_file, schema
from firmware.meters import catalog as profile_files


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    if request.path == "/api/schema":
        return 200, "application/json", os.stat(schema.PATH)[6], open(schema.PATH, "rb"), ()
    return _profiles(), ()


def _profiles():
    before = ""
    yield '{"profiles":['
    for name, path in profile_files.items():
        title, confidence = _title(path, name)
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
