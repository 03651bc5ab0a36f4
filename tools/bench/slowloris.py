"""Slow visitors: connections that are opened as fast as the server takes them, and each sends a header that never ends,
one byte now and then.

In:  the port of a server on this machine. Out: counts. As a program it runs for some seconds and prints them:
     python -m tools.bench.slowloris --port 8080
A connection that the server ends, or answers, is opened again at once.
"""

import argparse
import asyncio
import contextlib
import sys

HOST = "127.0.0.1"
CONNECTIONS = 32
PAUSE_S = 1.0  # between two bytes
_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: "


class Slowloris:
    """`run()` until it is cancelled.

    opened   connections that were made        most    of them that were open at once, in the kernel's eyes: the server
    ended    of those, by the server                   may not have accepted all of them yet
    refused  that could not be made
    """

    def __init__(self, port: int, connections: int = CONNECTIONS, pause_s: float = PAUSE_S) -> None:
        self.opened = self.ended = self.refused = self.most = 0
        self._port, self._connections, self._pause_s = port, connections, pause_s
        self._open = 0

    async def run(self) -> None:
        """All connections, for good."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._connections):
                group.create_task(self._again_and_again())

    async def _again_and_again(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, self._port)
            except OSError:
                self.refused += 1
                await asyncio.sleep(self._pause_s)
                continue
            self.opened += 1
            self._open += 1
            self.most = max(self.most, self._open)
            try:
                await self._be_slow(reader, writer)
                self.ended += 1
            finally:
                self._open -= 1
                writer.close()

    async def _be_slow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the server says something, or hangs up."""
        writer.write(_HEAD)
        answer = asyncio.ensure_future(reader.read(1))
        try:
            while not (await asyncio.wait([answer], timeout=self._pause_s))[0]:
                writer.write(b"x")
        finally:
            answer.cancel()
        with contextlib.suppress(ConnectionError):
            await answer


def main(arguments: list[str] | None = None) -> int:
    """Runs it for some seconds; returns the exit code."""
    parser = argparse.ArgumentParser(prog="slowloris", description=f"Slow visitors of a web server on {HOST}.")
    parser.add_argument("--port", type=int, required=True, metavar="N")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, metavar="N", help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="default %(default)s")
    options = parser.parse_args(arguments)
    slow = Slowloris(options.port, options.connections)

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(slow.run(), options.seconds)

    asyncio.run(run())
    print(f"opened {slow.opened}, at once {slow.most}, ended by the server {slow.ended}, refused {slow.refused}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
