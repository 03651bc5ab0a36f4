"""Starts Firefox for Playwright, and answers for it a command that it does not have.

In:  sys.argv[1:], the command that starts Firefox, as Playwright would give it.
Out: on stderr what Firefox says, with the relay's own address in "WebDriver BiDi listening on". Ends as Firefox does.

For every page Playwright sends emulation.setMediaFeaturesOverride, which Firefox ESR 153 refuses as unknown; then no
page opens. The relay answers it with an empty result, and a preference chooses the colour scheme instead
(tools/firefox.py). All other messages pass as they are, in both directions.
"""

import asyncio
import json
import os
import re
import sys
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

HOST = "127.0.0.1"
ANSWERED_HERE = "emulation.setMediaFeaturesOverride"
_LISTENING = re.compile(rb"WebDriver BiDi listening on (ws://\S+)")
_LINE_MAX = 1 << 20  # a longer line of Firefox ends the relay, and with it the browser


async def _answers(firefox: ClientConnection, client: ServerConnection) -> None:
    with suppress(ConnectionClosed):  # either end may go first
        async for message in firefox:
            await client.send(message)
    await client.close()


async def _commands(client: ServerConnection, firefox: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for message in client:
            command = json.loads(message)
            if command["method"] == ANSWERED_HERE:
                await client.send(json.dumps({"type": "success", "id": command["id"], "result": {}}))
            else:
                await firefox.send(message)


async def _relay(client: ServerConnection, address: str) -> None:
    """One session, until an end closes. A screenshot is a message of megabytes: their size has no limit."""
    async with connect(address + "/session", max_size=None, compression=None, proxy=None) as firefox:
        back = asyncio.create_task(_answers(firefox, client))
        await _commands(client, firefox)
    await back


async def _serve(address: str) -> Server:
    """Listens on a free port, for sessions with Firefox at `address`."""
    return await serve(lambda client: _relay(client, address), HOST, 0, max_size=None, compression=None)


async def run(command: list[str]) -> int:
    """The exit code of Firefox."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, limit=_LINE_MAX)
    assert process.stderr is not None
    servers = []
    async for line in process.stderr:
        found = _LISTENING.search(line)
        if found:
            servers.append(await _serve(found[1].decode()))
            port = next(iter(servers[-1].sockets)).getsockname()[1]
            line = f"WebDriver BiDi listening on ws://{HOST}:{port}\n".encode()
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    return await process.wait()


if __name__ == "__main__":
    # Connections that are still open end with the process.
    os._exit(asyncio.run(run(sys.argv[1:])) & 0xFF)
