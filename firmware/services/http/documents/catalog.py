"""What the page has to know before it can offer anything: GET /api/schema, the keys of the configuration, and GET
/api/profiles, which kinds of meters there are."""

from firmware.config import schema
from firmware.meters import catalog
from firmware.services.http.json_out import write_items, write_json
from firmware.services.http.response import Response


class CatalogDocuments:
    def __init__(self, out):
        self._out = out

    def get_schema(self, request):
        return Response(self._write_schema())

    def _write_schema(self):
        yield from _write_keys(self._out, schema.KEYS)

    def get_profiles(self, request):
        return Response(self._write_profiles())

    def _write_profiles(self):
        out = self._out
        out.write(b'{"profiles":')
        yield from write_items(out, _profiles())
        out.write(b"}")
        yield


def _profiles():
    for name in catalog.names():
        title, confidence = catalog.title(name)
        yield {"name": name, "title": title, "confidence": confidence}


def _write_keys(out, rows):
    """A generator: rows of the schema as an object of [kind, default, ...]; a section is an object, a list [section,
    most]. With a piece for each key."""
    before = "{"
    for row in rows:
        out.write(before)
        write_json(out, row[0])
        before = ","
        if row[1] == "section":
            out.write(":")
            yield from _write_keys(out, row[2])
        elif row[1] == "list":
            out.write(":[")
            yield from _write_keys(out, row[2])
            out.write(",%d]" % row[3])
        else:
            out.write(":")
            write_json(out, row[1:])
        yield
    out.write("}")
