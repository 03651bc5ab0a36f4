"""Hostile peers: slowloris, floods, connections without a request, peers that vanish or never read."""

from tools.simulator.world import HTTP, MODBUS


async def slowloris(world, port, byte_s=2.0, count=1):
    """`count` connections that send a byte now and then and never a whole request; closed ones are opened again."""
    for _ in range(count):
        world.start(_drip(world, port, byte_s))


async def _drip(world, port, byte_s):
    host = world.host()
    text = b"GET / HTTP/1.1\r\nX: " + b"a" * 4000 if port == HTTP else b"\x00\x01\x00\x00\x00\xfd\x01\x10" * 40
    while True:
        try:
            stream = await host.connect(port)
            for byte in text:
                await stream.send(bytes((byte,)))
                await world.sleep(byte_s * (0.5 + world.rng.random()))
                if not stream.is_open:
                    break
            stream.close()
        except OSError:
            pass  # refused or lost: it comes again
        await world.sleep(byte_s)


async def idle(world, port, count):
    """Connections that say nothing; closed ones are opened again after some seconds."""
    for _ in range(count):
        world.start(_idle(world, port))


async def _idle(world, port):
    host = world.host()
    while True:
        try:
            stream = await host.connect(port)
            await stream.closed(86400)
            stream.close()
        except OSError:
            pass  # refused or lost: it comes again
        await world.sleep(1 + 5 * world.rng.random())


async def flood(world, per_s, seconds, port=MODBUS, manner="close"):
    """Connections at a rate. manner: "close": closes at once, also before accept; "reset": resets once connected;
    "half": vanishes once connected; "syn": vanishes before; "stay": stays until it is closed."""
    host = world.host()
    end_s = world.now_s + seconds
    count = 0
    while world.now_s < end_s:
        count += 1
        world.start(_newcomer(world, host, port, manner))
        await world.sleep(1 / per_s)
    return count


async def _newcomer(world, host, port, manner):
    stream = host.begin_connect(port, 5)
    if manner == "syn":
        await world.sleep(0.0001)
        stream.vanish()
        return
    try:
        await stream.established(5)
        if manner == "close":
            stream.close()
        elif manner == "reset":
            stream.reset()
        elif manner == "half":
            stream.vanish()
        else:
            await stream.closed(60)
            stream.close()
    except OSError:
        stream.close()


async def half_open(world, port, count, every_s):
    """Connections that ask once and then vanish, as when a laptop is shut; one each `every_s`."""
    request = b"\x00\x01\x00\x00\x00\x06\xff\x03\x00\x00\x00\x01"
    if port == HTTP:
        request = b"GET /api/sockets HTTP/1.1\r\nHost: x\r\n\r\n"
    for _ in range(count):
        try:
            stream = await world.host().connect(port)
            await stream.send(request)
            await stream.recv()
            stream.vanish()
        except OSError:
            pass
        await world.sleep(every_s)


async def never_reads(world, path=b"/api/status", requests=150, window=2048):
    """Asks for document after document and reads nothing of it. Gives the Stream."""
    from dataclasses import replace

    from tools.simulator.profiles import HOST

    stream = await world.host(profile=replace(HOST, window=window)).connect(HTTP)
    await stream.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path * requests)
    return stream
