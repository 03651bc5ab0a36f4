"""What TCP/IP of each board has, and how it says no. One Profile for each kind of device, and HOST for the others.

Sources: ESP-IDF v5.5 components/lwip/Kconfig and MicroPython's ports/esp32 (sdkconfig.base, lwip_patch.c, modsocket.c);
lwIP 2.2.1 (opt.h, tcp.c, tcp_in.c) with MicroPython's extmod/lwip-include/lwipopts_common.h and extmod/modlwip.c;
"measured": real MicroPython 1.25.0 on an emulated RP2040, as host_tests/emulated/test_lwip.py does it again.
"""

import errno
from dataclasses import dataclass, replace

DROP = "drop"  # a SYN for which there is no room is dropped in silence; the client tries again
RESET = "reset"  # the handshake ends, then the connection is reset
_LARGE = 1 << 20


@dataclass(frozen=True)
class Profile:
    name: str
    # What firmware/board says of it
    board: str
    sockets: int
    tcp: int
    udp: int
    jitter_ms: int
    # Pools
    fds: int = _LARGE  # descriptors: listeners, UDP, connections
    tcp_pcbs: int = _LARGE  # from SYN_RCVD to TIME_WAIT, listeners not counted
    listen_pcbs: int = _LARGE
    udp_pcbs: int = _LARGE
    pcb_for_socket: bool = False  # socket() takes a TCP PCB, listen() gives it back
    no_fd: int = errno.EMFILE
    no_pcb: int = errno.ENOBUFS
    # New connections
    backlog_full: str = DROP
    backlog_extra: int = 0  # connections that the queue takes beyond the backlog
    pending_limit: bool = False  # as many handshakes under way as the backlog says; further SYNs are dropped
    abort_at_accept: bool = False  # no PCB for a SYN: the listener becomes readable, accept raises ECONNABORTED
    reset_leaves_queue: bool = False  # reset before accept: it is never accepted
    fin_before_accept_lost: bool = False  # unless input came before it: accepted, never told that the peer has closed
    refused_s: float = 0  # input that came before accept is offered again so often, and first read then
    # Data
    send_buffer: int = 1 << 17  # of each connection
    send_pool: int = 1 << 30  # memory for the output of all of them
    send_overhead: int = 0  # of that, for each segment
    no_room: int = errno.EAGAIN  # when the pool is used up
    no_room_wait_s: float = 0  # and write() has waited so long, non-blocking sockets included
    window: int = 65536  # unread input of each connection
    segment: int = 0  # the largest, where it matters how many there are
    input_pool: int = _LARGE  # segments of unread input of all connections: when it is used up nothing more is heard
    loss_discards_input: bool = False
    error_once: bool = False  # as on Linux: a lost connection is told once, then reads end and writes give EPIPE
    udp_queue: int = 64  # datagrams that wait in one socket
    # Closing
    close_timeout_s: float = 0  # after close(): then RST, unless the connection has ended. 0: never
    fin_wait_2_s: float = 60
    time_wait_s: float = 60
    retransmit_s: float = 900  # an answer that never comes: then the connection is given up
    syn_received_s: float = 20  # lwIP TCP_SYN_RCVD_TIMEOUT
    syn_sent_s: float = 127  # a SYN that nobody answers: Linux tcp_syn_retries 6
    given_up: int = errno.ETIMEDOUT
    # The processor
    watchdog_max_s: float = 1e6
    call_us: int = 0  # what a socket call takes, with the Python around it: some ms for each request (a guess)


# Kconfig: LWIP_MAX_SOCKETS 10; LWIP_MAX_ACTIVE_TCP 12 (sdkconfig.base), which lwip_patch.c makes a hard cap on all PCBs
# from SYN_RCVD to TIME_WAIT; 16 listeners in a pool of their own; TCP_SND_BUF and TCP_WND 5760. socket() gives ENFILE,
# or ENOBUFS (modsocket.c); accept() closes whom it has no descriptor for (lwIP sockets.c, lwip_accept), and gives
# ECONNABORTED for a SYN without PCB (api_msg.c, accept_function). Kconfig: TCP_FIN_WAIT_TIMEOUT 20 s, TCP_MSL 60 s,
# TCP_MAXRTX 12, beginning at TCP_RTO_TIME 1.5 s and doubled seven times at most (lwIP tcp.c, tcp_backoff).
ESP32 = Profile(
    name="esp32",
    board="esp32",
    sockets=10,
    tcp=12,
    udp=10,
    jitter_ms=12,
    fds=10,
    tcp_pcbs=12,
    listen_pcbs=16,
    udp_pcbs=16,
    pcb_for_socket=True,
    no_fd=errno.ENFILE,
    no_pcb=errno.ENOBUFS,
    backlog_full=DROP,
    abort_at_accept=True,
    send_buffer=5760,
    window=5760,
    udp_queue=6,  # CONFIG_LWIP_UDP_RECVMBOX_SIZE
    fin_wait_2_s=20,
    time_wait_s=120,
    retransmit_s=1.5 * (2 + 4 + 8 + 16 + 32 + 64 + 6 * 128),
    given_up=errno.ECONNABORTED,
    call_us=400,
)
ESP32_16 = replace(ESP32, name="esp32-16", jitter_ms=3, sockets=16, tcp=16, udp=16, fds=16, tcp_pcbs=24)
# opt.h: MEMP_NUM_TCP_PCB 5, MEMP_NUM_TCP_PCB_LISTEN 8, PBUF_POOL_SIZE 16; lwipopts_common.h: MEMP_NUM_UDP_PCB 5, of
# which mDNS and DHCP take two, TCP_MSS 800, TCP_WND and TCP_SND_BUF 6400, and MEM_SIZE 8000 for the output of all.
# modlwip.c: socket() gives ENOMEM; a full accept queue resets (_lwip_tcp_accept: ERR_BUF), and so does tcp_in.c with
# SYNs (tcp_listen_input: accepts_pending), but in silence; what comes before accept is refused
# (_lwip_tcp_recv_unaccepted) and offered again by the fast timer, a FIN alone is not; write() waits 200 times 50 ms for
# memory; close() aborts after MICROPY_PY_LWIP_TCP_CLOSE_TIMEOUT_MS. RP2040
# datasheet 4.7: the watchdog's longest time is 8.388 s.
# Measured: the sixth SYN is dropped in silence; a peer that does not read lets write() wait and then raise ENOMEM after
# about 6.5 kB; a client that closes before accept is accepted and stays silent for ever; sixteen unread segments of
# one byte each make the chip deaf, to new clients too.
PICOW = Profile(
    name="picow",
    board="rp2",
    sockets=16,
    tcp=4,
    udp=3,
    jitter_ms=5,
    tcp_pcbs=5,
    listen_pcbs=8,
    udp_pcbs=3,
    pcb_for_socket=True,
    no_pcb=errno.ENOMEM,
    backlog_full=RESET,
    pending_limit=True,
    reset_leaves_queue=True,
    fin_before_accept_lost=True,
    refused_s=0.25,  # TCP_TMR_INTERVAL
    send_buffer=6400,
    send_pool=8000,
    send_overhead=100,  # pbuf.h, mem.c: struct pbuf, room for the headers, the heap's own
    no_room=errno.ENOMEM,
    no_room_wait_s=10,
    window=6400,
    segment=800,
    input_pool=16,
    loss_discards_input=True,  # modlwip.c, _lwip_tcp_error
    udp_queue=1,  # modlwip.c, _lwip_udp_incoming: "no room in the inn"
    close_timeout_s=10,
    fin_wait_2_s=20,
    time_wait_s=120,
    retransmit_s=1.5 * (2 + 4 + 8 + 16 + 32 + 64 + 6 * 128),
    given_up=errno.ECONNABORTED,
    watchdog_max_s=8.388,
    call_us=600,
)
# tools/boards/lwip_for_16_sockets.h: MEMP_NUM_TCP_PCB 24, MEM_SIZE 20000, TCP_WND and TCP_SND_BUF 4 x 800, POOL 24;
# lwip/lwipopts.h: MEMP_NUM_UDP_PCB 8, two of them DHCP's.
PICOW_16 = replace(
    PICOW, name="picow-16", tcp=16, udp=6, udp_pcbs=6, tcp_pcbs=24, send_buffer=3200, window=3200, send_pool=20000,
    input_pool=24,
)  # fmt: skip
# Measured: four UDP sockets, as nothing else of the port takes one there; and PPP takes some 900 bytes of MEM_SIZE for
# each packet that leaves (pppos.c, pppos_netif_output).
PICO_EMULATED = replace(PICOW, name="pico-emulated", udp_pcbs=4, send_pool=7200)
# The same with our lwIP, to be held against it: everywhere else it is PICOW_16.
PICO_EMULATED_16 = replace(PICOW_16, name="pico-emulated-16", udp_pcbs=8, send_pool=19200)
# A development machine: Linux. The accept queue takes one more than the backlog (net/sock.h, sk_acceptq_is_full).
UNIX = Profile(
    name="unix", board="unix", sockets=16, tcp=16, udp=16, jitter_ms=20, backlog_extra=1, call_us=10,
    send_buffer=1 << 17, error_once=True,
)  # fmt: skip
# The other hosts of the network.
HOST = replace(UNIX, name="host", board="", call_us=0, time_wait_s=0)

DEVICES = (UNIX, ESP32, ESP32_16, PICOW, PICOW_16, PICO_EMULATED)
