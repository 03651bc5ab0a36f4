"""What the page has to know before it can offer anything: GET /api/schema, the keys of the configuration, and GET
/api/profiles, which kinds of meters there are."""

from firmware import resources
from firmware.config import schema
from firmware.meters import catalog
from firmware.services.http.json_out import write_items
from firmware.services.http.response import Response


class CatalogDocuments:
    def __init__(self, out):
        self._out = out

    def get_schema(self, request):
        """Raises OSError."""
        return Response(resources.content(schema.NAME))

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
