"""The floor: one select.poll loop, and for each request the bytes of an answer that was made before.

Answers a Modbus read of 10 or of 125 registers by its count alone, and any HTTP request with the page. It looks at
nothing else of a request: no server can do with less on this MicroPython (and this lwIP).
"""

# mypy: ignore-errors
import select
import struct

import bench_place


def _reads(count):
    values = [(7 * address + 1000) & 0xFFFF for address in range(count)]
    head = (0, 0, 3 + 2 * count, 1, bench_place.FUNCTION, 2 * count)
    return bytearray(struct.pack(">HHHBBB" + str(count) + "H", *head, *values))


def serve():
    modbus, http = bench_place.listen(bench_place.MODBUS), bench_place.listen(bench_place.HTTP)
    with open("page.html", "rb") as file:
        page = file.read()
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page) + page
    small, large = _reads(10), _reads(125)
    request = bytearray(512)
    browsers = []
    poller = select.poll()
    poller.register(modbus, select.POLLIN)
    poller.register(http, select.POLLIN)
    probe = None
    if bench_place.PROBED:
        probe = bench_place.probe_socket()
        poller.register(probe, select.POLLIN)
    bench_place.started()
    while True:
        for stream, _ in poller.ipoll(-1):
            if stream is modbus or stream is http:
                client = stream.accept()[0]
                if stream is http:
                    browsers.append(client)
                else:
                    client.setblocking(False)
                poller.register(client, select.POLLIN)
                break  # the set under the iterator has changed
            if stream is probe:
                bench_place.answer(probe, probe.recv(1))
                continue
            if stream in browsers:
                got = stream.recv(512)
                if got:
                    stream.write(page)
                else:
                    browsers.remove(stream)
            else:
                got = stream.readinto(request)
                if got:
                    answer = small if request[11] == 10 else large
                    answer[0] = request[0]
                    answer[1] = request[1]
                    stream.write(answer)
                elif got is None:
                    continue
            if not got:
                poller.unregister(stream)
                stream.close()
                break


serve()
