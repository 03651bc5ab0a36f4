"""microdot with the gateway's page."""

# mypy: ignore-errors
import asyncio
import os

import bench_host
from microdot import Microdot, send_file

app = Microdot()
_SIZE = str(os.stat("page.html")[6])


@app.get("/")
async def page(request):
    response = send_file("page.html")
    # Else the end of the connection is that of the page, and a client cannot tell a whole one from half of one.
    response.headers["Content-Length"] = _SIZE
    return response


async def _serve():
    if bench_host.PROBED:
        asyncio.create_task(bench_host.answer_all())
    bench_host.started()
    await app.start_server(host="127.0.0.1", port=bench_host.HTTP)


asyncio.run(_serve())
