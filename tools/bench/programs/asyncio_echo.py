"""What asyncio's own streams cost: twelve bytes in, an answer that was made before out, as often as the client likes.

Nothing of the request is looked at but its transaction identifier and the last byte of the count, which chooses between
the answers to reads of 10 and of 125 registers.
"""

# mypy: ignore-errors
import asyncio
import struct

import bench_place


def _reads(count):
    values = [(7 * address + 1000) & 0xFFFF for address in range(count)]
    return bytearray(struct.pack(">HHHBBB" + str(count) + "H", 0, 0, 3 + 2 * count, 1, 3, 2 * count, *values))


_small, _large = _reads(10), _reads(125)


async def _client(reader, writer):
    try:
        while True:
            request = await reader.readexactly(12)
            answer = _small if request[11] == 10 else _large
            answer[0] = request[0]
            answer[1] = request[1]
            writer.write(answer)
            await writer.drain()
    except (EOFError, OSError):
        writer.close()
        await writer.wait_closed()


async def _serve():
    await asyncio.start_server(_client, "127.0.0.1", bench_place.MODBUS, backlog=16)
    if bench_place.PROBED:
        asyncio.create_task(bench_place.answer_all())
    bench_place.started()
    while True:
        await asyncio.sleep(3600)


asyncio.run(_serve())
