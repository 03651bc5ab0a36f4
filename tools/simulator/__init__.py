"""The firmware's own code in a simulated world: sockets, UART, clock, watchdog and flash folder, in virtual time, from
a seed. Nothing sleeps, nothing leaves the process, and the same seed gives the same run.

    timeline.py   virtual time in microseconds, and what is to happen in it
    loop.py       an asyncio loop that lives on the timeline
    profiles.py   what TCP/IP of each board has and how it says no
    network.py    carries segments and datagrams: latency, loss, reorder, stalls
    tcp.py        one end of a TCP connection
    stack.py      one host's pools of sockets, PCBs and ports
    sockets.py    sockets as CPython's, and the module that takes the place of `socket`
    line.py       a serial line (firmware.board) with meters on it
    meters.py     virtual meters whose past is known
    board.py      a board (firmware.board) made of all this
    patch.py      puts clock and sockets under firmware.net.seam_cpython, and takes them away again
    invariants.py what must hold in every turn of the loop
    world.py      all of it together: World
    hosts.py      the others on the network: Host, Stream
    modbus.py     Modbus clients that check every answer
    http.py       browsers
    hostile.py    slowloris, floods, peers that vanish or never read
    udp.py        an NTP server
    seeds.py      which seeds a test runs with, and the command that runs one again

The limits come from the sources of MicroPython, ESP-IDF and lwIP, and from measurements with real MicroPython on an
emulated RP2040; profiles.py names the place beside each.
"""
