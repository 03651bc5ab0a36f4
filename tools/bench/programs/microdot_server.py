"""microdot with the gateway's page and, where its file is there, with a document as large as the gateway's readings,
which it makes of a dictionary."""

# mypy: ignore-errors
import asyncio
import json
import os

import bench_place
from microdot import Microdot, send_file

app = Microdot()
_SIZE = str(os.stat("page.html")[6])
_readings = None
if "readings.json" in os.listdir():
    with open("readings.json") as file:
        _readings = json.load(file)


@app.get("/")
async def page(request):
    response = send_file("page.html")
    # Else the end of the connection is that of the page, and a client cannot tell a whole one from half of one.
    response.headers["Content-Length"] = _SIZE
    return response


@app.get("/api/readings")
async def readings(request):
    return _readings


async def _serve():
    if bench_place.PROBED:
        asyncio.create_task(bench_place.answer_all())
    bench_place.started()
    await app.start_server(host=bench_place.ADDRESS, port=bench_place.HTTP)


asyncio.run(_serve())
