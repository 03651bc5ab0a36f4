"""What the page has to know before it can offer anything: the keys of the configuration, and which profiles there are.
"""

import json
import os

from firmware.config import schema
from firmware.meters import catalog


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    if request.path == "/api/schema":
        return 200, "application/json", os.stat(schema.PATH)[6], open(schema.PATH, "rb"), ()
    return _profiles(), ()


def _profiles():
    before = ""
    yield '{"profiles":['
    for name in catalog.names():
        title, confidence = catalog.title(name)
        yield '%s{"name":%s,"title":%s,"confidence":%d}' % (before, json.dumps(name), json.dumps(title), confidence)
        before = ","
    yield "]}"
