"""microdot with the gateway's page."""

# mypy: ignore-errors
import asyncio

import bench_host
from microdot import Microdot, send_file

app = Microdot()


@app.get("/")
async def page(request):
    return send_file("page.html")


async def _serve():
    if bench_host.PROBED:
        asyncio.create_task(bench_host.answer_all())
    bench_host.started()
    await app.start_server(host="127.0.0.1", port=bench_host.HTTP)


asyncio.run(_serve())
