"""microdot with the gateway's page and with a document as large as its readings, which it makes of a dictionary."""

# mypy: ignore-errors
import gc
import json

import bench_link
from microdot import Microdot, send_file

app = Microdot()
with open("readings.json") as file:
    _readings = json.load(file)


@app.get("/")
async def page(request):
    return send_file("page.html")


@app.get("/api/readings")
async def readings(request):
    return _readings


bench_link.up()
gc.collect()
print("ready")
app.run(port=80)
