"""The seam between the firmware and what runs it: event loop, clock and sockets.

Everything above this file is the same on MicroPython and CPython; nothing above it asks which one it is.
A stream (socket, serial line) offers what MicroPython's do:
    readinto(buf) -> bytes read, 0 at the end of the stream, None when nothing has come yet
    write(buf, n) -> bytes of buf[:n] taken, None when none could be
    close()
Names that the seam gives:
    ticks_ms ticks_us ticks_diff ticks_add  as in MicroPython's time; differences hold for 6.2 days (2^29 ms) at most
    spin_us(us)                          waits busily: only where a pin must turn within microseconds
    sleep_ms(ms)                         awaitable
    Waker                                wait_ms(timeout) in one task, wake() and wake_in(ms) from anywhere
    repeat(waker, turn)                  awaitable: calls turn() again and again; it returns after how many ms at the
                                         latest, if the waker is not woken before, or less than 0 to end
    watch(stream, owner, listener)       calls owner.on_ready(events) whenever the stream is ready to be read;
                                         listeners are served after all others, so that input goes before newcomers.
                                         An exception out of on_ready is given to owner.fail(error)
    interest(stream, events)             READ, WRITE, both or 0
    unwatch(stream)
    install(), run(coroutine)            the loop itself.   print_exception(error): where it came from, on the console
    tcp_listen(bind, port, backlog), accept(listener) -> (stream, address) or None,
    udp(bind, port)                      with a port it may send to broadcast addresses
    join(stream, group)                  the UDP socket hears that multicast group, too. Raises OSError
    connect(ip, port) -> (stream, address) of a connection that is being made; once it is ready to be written, or has
    failed, finish_connect(stream, events) raises the OSError with which it failed
    close(stream)                        never raises
    address(ip, port), peer(address) -> (ip, port), is_same_host(address, address)
    Sink(n)                              a file in memory, with room for n bytes and growing, that print() and
                                         json.dump() write to without an object for each text; read like any file;
                                         write(data, begin, count) writes a piece of bytes
The price on MicroPython is three private names of asyncio.core: IOQueue, _io_queue, _task_queue.
"""

import sys

if sys.implementation.name == "micropython":
    from firmware.net.seam_micropython import *  # noqa: F403
else:
    from firmware.net.seam_cpython import *  # noqa: F403
