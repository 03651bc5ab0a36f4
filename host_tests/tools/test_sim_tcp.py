"""The simulated TCP/IP at its limits: each board's own way of saying no (the profiles' sources are in
tools/simulator/profiles.py)."""

import errno
import random
from collections import Counter
from dataclasses import replace

import pytest

from host_tests.tools.sim_net import DEVICE, Net
from tools.simulator import profiles, tcp

ESP32S = pytest.mark.parametrize("profile", [profiles.ESP32, profiles.ESP32_16], ids=lambda profile: profile.name)
PICOS = pytest.mark.parametrize("profile", [profiles.PICOW, profiles.PICOW_16], ids=lambda profile: profile.name)


def code_of(call, *args):
    """The errno that the call raises; 0 when it raises none."""
    try:
        call(*args)
    except OSError as error:
        return error.errno
    return 0


def taken(sock, data):
    """Bytes that send() takes, 0 when the pool for output is used up."""
    try:
        return sock.send(data)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return 0


def states_of(clients):
    return [client.pcb.state for client in clients]


# -- data


@pytest.mark.parametrize("profile", profiles.DEVICES, ids=lambda profile: profile.name)
def test_bytes_arrive_in_order_whatever_the_windows(profile):
    net = Net(profile)
    sock, client = net.pair()
    data = random.Random(2).randbytes(200_000)
    sent = 0
    got = b""
    while len(got) < len(data):
        if sent < len(data):
            sent += taken(sock, data[sent : sent + 3000]) if sock.writable() else 0
        net.run(0.005)
        got += client.pcb.read(1700) or b""
    assert got == data
    back = random.Random(3).randbytes(60_000)
    sent = 0
    got = b""
    while len(got) < len(back):
        if sent < len(back):
            sent += client.pcb.write(back[sent:]) or 0
        net.run(0.005)
        if sock.readable():
            got += sock.recv(1000)
    assert got == back
    assert len(sock._pcb.rx) == 0


@pytest.mark.parametrize("profile", profiles.DEVICES, ids=lambda profile: profile.name)
def test_unread_input_never_exceeds_the_window(profile):
    net = Net(profile)
    sock, client = net.pair()
    taken = 0
    for _ in range(100):
        taken += client.pcb.write(bytes(10_000)) or 0
        net.run(0.05)
        assert len(sock._pcb.rx) <= profile.window
    assert len(sock._pcb.rx) == profile.window
    assert taken == profile.window + client.pcb.stack.profile.send_buffer


def test_a_pico_gives_enomem_when_a_peer_does_not_read():
    """Measured on an emulated RP2040: there it is 1 to 8 s; modlwip.c has 10 s."""
    net = Net(profiles.PICO_EMULATED)
    client = net.connect(net.host(profile=replace(profiles.HOST, window=100)))
    net.run()
    sock, _ = net.listener.accept()
    while True:
        begun_us = net.timeline.now_us
        code = code_of(sock.send, bytes(500))
        if code:
            break
        assert net.timeline.now_us - begun_us < 10_000
        net.run(0.05)
    assert code == errno.ENOMEM
    assert 10_000_000 <= net.timeline.now_us - begun_us < 10_100_000
    assert 6000 <= len(sock._pcb.out) + len(client.pcb.rx) <= 7000
    assert client.is_open


def test_an_esp32_gives_eagain_when_a_peer_does_not_read():
    net = Net(profiles.ESP32)
    net.connect(net.host(profile=replace(profiles.HOST, window=100)))
    net.run()
    sock, _ = net.listener.accept()
    while not (code := code_of(sock.send, bytes(500))):
        net.run(0.05)
    assert code == errno.EAGAIN
    assert not sock.writable()


def test_the_output_of_all_sockets_of_a_pico_comes_from_one_pool():
    """lwipopts_common.h: MEM_SIZE 8000, of which one socket may queue 6400 bytes, and 100 more for each segment."""
    net = Net(profiles.PICOW)
    greedy = net.connect(net.host(profile=replace(profiles.HOST, window=0)))
    other = net.connect()
    net.run()
    first, _ = net.listener.accept()
    second, _ = net.listener.accept()
    if first._pcb.other is not greedy.pcb:
        first, second = second, first
    first.send(bytes(6400))
    assert code_of(first.send, b"x") == errno.EAGAIN
    assert code_of(second.send, bytes(800)) == errno.ENOMEM
    assert second.writable()  # and yet it says so: tcp_sndbuf() knows nothing of the pool
    greedy.reset()
    net.run()
    assert second.send(bytes(800)) == 800
    assert other.is_open


# -- descriptors and PCBs


@ESP32S
def test_an_esp32_out_of_descriptors_gives_enfile_at_socket(profile):
    net = Net(profile, listen=False)
    kept = [net.module.socket(kind=net.module.SOCK_DGRAM) for _ in range(profile.fds)]
    assert code_of(net.module.socket) == errno.ENFILE
    assert code_of(net.module.socket, 2, net.module.SOCK_DGRAM) == errno.ENFILE
    kept.pop().close()
    net.module.socket().close()


@ESP32S
def test_an_esp32_out_of_descriptors_closes_a_connection_and_gives_enfile(profile):
    net = Net(profile)
    kept = [net.module.socket(kind=net.module.SOCK_DGRAM) for _ in range(profile.fds - 1)]
    client = net.connect()
    net.run()
    assert client.pcb.state == tcp.ESTABLISHED
    assert code_of(net.listener.accept) == errno.ENFILE
    net.run()
    assert client.ended == "closed"
    assert net.module.open == len(kept) + 1


@ESP32S
def test_an_esp32_out_of_pcbs_drops_the_syn_and_says_so_at_accept(profile):
    net = Net(profile, backlog=50)
    clients = [net.connect() for _ in range(profile.tcp_pcbs)]
    net.run()
    kept = []
    while len(kept) < profile.tcp_pcbs and net.module.has_fd():
        kept.append(net.listener.accept()[0])
    late = net.connect()
    net.run(0.5)
    assert late.pcb.state == tcp.SYN_SENT
    assert net.listener.readable()
    assert code_of(net.listener.accept) == errno.ECONNABORTED
    clients[0].reset()
    net.run(1.2)  # the SYN comes again after a second
    assert late.pcb.state == tcp.ESTABLISHED


@PICOS
def test_a_pico_drops_a_syn_beyond_its_pcbs_in_silence(profile):
    """Measured: exactly 5 on a stock build; the sixth is dropped, accept knows nothing."""
    net = Net(profile)
    clients = []
    kept = []
    for _ in range(profile.tcp_pcbs):
        clients.append(net.connect())
        net.run()
        kept.append(net.listener.accept()[0])
    late = net.connect()
    net.run(0.5)
    assert states_of(clients) == [tcp.ESTABLISHED] * profile.tcp_pcbs
    assert late.pcb.state == tcp.SYN_SENT
    assert not net.listener.readable()
    assert code_of(net.module.socket) == errno.ENOMEM
    kept[0].close()
    clients[0].close()
    net.run(1.2)
    assert late.pcb.state == tcp.ESTABLISHED


@pytest.mark.parametrize("profile", [profiles.PICOW, profiles.PICO_EMULATED], ids=lambda profile: profile.name)
def test_a_pico_has_three_udp_sockets_for_us_and_the_emulated_one_four(profile):
    net = Net(profile, listen=False)
    wanted = 4 if profile is profiles.PICO_EMULATED else 3
    for _ in range(wanted):
        net.module.socket(kind=net.module.SOCK_DGRAM)
    assert code_of(net.module.socket, 2, net.module.SOCK_DGRAM) == errno.ENOMEM


def test_a_listener_gives_its_pcb_back_and_takes_one_of_another_pool():
    net = Net(profiles.PICOW)
    assert len(net.device.pcbs) == 0
    assert len(net.device.listeners) == 1


# -- the backlog


def test_a_pico_resets_connections_beyond_its_accept_queue():
    net = Net(profiles.PICOW_16, backlog=5)
    clients = []
    for _ in range(8):
        clients.append(net.connect())
        net.run()
    assert Counter(states_of(clients)) == {tcp.ESTABLISHED: 5, tcp.CLOSED: 3}
    assert [client.ended for client in clients].count("reset") == 3


@pytest.mark.parametrize("profile", [profiles.ESP32_16, profiles.UNIX], ids=lambda profile: profile.name)
def test_beyond_the_backlog_syns_are_dropped_and_come_again(profile):
    net = Net(profile, backlog=5)
    clients = [net.connect() for _ in range(8)]
    net.run(0.5)
    room = 5 + profile.backlog_extra
    assert Counter(states_of(clients)) == {tcp.ESTABLISHED: room, tcp.SYN_SENT: 8 - room}
    for _ in range(5):
        net.listener.accept()
    net.run(4)
    assert states_of(clients) == [tcp.ESTABLISHED] * 8


def test_a_pico_drops_syns_while_as_many_handshakes_as_its_backlog_are_under_way():
    net = Net(profiles.PICOW_16, backlog=5)
    halves = [net.connect() for _ in range(5)]
    for half in halves:
        half.vanish()  # its SYN is under way
    net.run()
    late = net.connect(timeout_s=60)
    net.run(profiles.PICOW_16.syn_received_s - 1)
    assert net.states() == {tcp.SYN_RCVD: 5}
    assert late.pcb.state == tcp.SYN_SENT
    net.run(30)
    assert net.states() == {tcp.ESTABLISHED: 1}


def test_a_client_of_a_closed_port_is_refused():
    net = Net(profiles.ESP32)
    client = net.host().begin_connect(81, 5)
    net.run()
    assert client.pcb.error == errno.ECONNREFUSED


def test_a_syn_that_never_gets_an_answer_ends_in_time():
    net = Net(profiles.PICOW)
    kept = []
    for _ in range(5):
        net.connect()
        net.run()
        kept.append(net.listener.accept()[0])
    late = net.connect(timeout_s=5)
    net.run(6)
    assert late.ended == "timeout"


@PICOS
def test_a_pico_keeps_the_pcb_of_a_connection_closed_before_accept(profile):
    """And then it is silent, for its end came too early to be told. Measured, on 1.25.0, 1.26.1 and 1.28."""
    net = Net(profile)
    clients = [net.connect() for _ in range(5)]
    net.run()
    for client in clients:
        client.close()
    net.run(3600)
    assert net.states() == {tcp.CLOSE_WAIT: 5}
    for _ in range(5):
        sock, _ = net.listener.accept()
        net.run(3600)
        assert not sock.readable()
        assert code_of(sock.recv, 1) == errno.EAGAIN
        sock.close()
    net.run()
    assert net.states() == {}


@PICOS
def test_a_request_is_read_though_its_client_closed_before_accept(profile):
    net = Net(profile)
    client = net.connect()
    net.run()
    client.pcb.write(b"request")
    client.close()
    net.run()
    sock, _ = net.listener.accept()
    assert not sock.readable()  # lwIP offers it again within 250 ms
    net.run(0.25)
    assert sock.recv(100) == b"request"
    assert sock.recv(100) == b""


@PICOS
def test_small_segments_that_are_not_read_make_a_pico_deaf_until_they_are(profile):
    net = Net(profile)
    sock, client = net.pair()
    other, neighbour = net.pair()
    pool = 24 if profile is profiles.PICOW_16 else 16
    for _ in range(pool + 5):
        client.pcb.write(b"x")
        net.run(0.01)
    assert net.device.input_pieces == pool
    neighbour.pcb.write(b"hello")
    newcomer = net.connect()
    net.run(2)
    assert not other.readable()
    assert newcomer.pcb.state == tcp.SYN_SENT
    got = b""
    while sock.readable():
        got += sock.recv(100)
    assert got == b"x" * pool
    net.run(10)
    assert other.recv(100) == b"hello"
    assert newcomer.pcb.state == tcp.ESTABLISHED
    while sock.readable():
        got += sock.recv(100)
    assert got == b"x" * (pool + 5)
    sock.close()
    assert net.device.input_pieces == 0


def test_a_pico_never_accepts_a_connection_that_was_reset_before():
    for profile, accepted in ((profiles.PICOW, False), (profiles.ESP32, True), (profiles.UNIX, True)):
        net = Net(profile)
        client = net.connect()
        net.run()
        client.reset()
        net.run()
        assert net.listener.readable() is accepted
        if accepted:
            sock, _ = net.listener.accept()
            assert code_of(sock.recv, 1) == errno.ECONNRESET


# -- closing


@pytest.mark.parametrize("profile", profiles.DEVICES, ids=lambda profile: profile.name)
def test_close_with_unread_input_resets_and_frees_the_pcb_at_once(profile):
    net = Net(profile)
    sock, client = net.pair()
    client.pcb.write(b"unread")
    net.run()
    sock.close()
    assert net.states() == {}
    net.run()
    assert client.ended == "reset"


@pytest.mark.parametrize("profile", profiles.DEVICES, ids=lambda profile: profile.name)
def test_close_frees_the_descriptor_at_once_and_the_pcb_with_the_peers_end(profile):
    net = Net(profile)
    sock, client = net.pair()
    sock.send(b"the last words")
    sock.close()
    assert net.module.open == 1
    net.run()
    assert net.states() == {tcp.FIN_WAIT_2: 1}
    assert client.pcb.read(100) == b"the last words"
    assert client.pcb.read(100) == b""
    client.close()
    net.run()
    assert net.states() == {tcp.TIME_WAIT: 1}
    net.run(profile.time_wait_s)
    assert net.states() == {}


@pytest.mark.parametrize(
    ("profile", "seconds", "how"), [(profiles.PICOW, 10, "reset"), (profiles.ESP32, 20, "closed")],
    ids=["picow", "esp32"],
)  # fmt: skip
def test_a_peer_that_does_not_close_holds_the_pcb_until_the_port_gives_it_up(profile, seconds, how):
    net = Net(profile)
    sock, client = net.pair()
    sock.close()
    net.run(seconds - 1)
    assert net.states() == {tcp.FIN_WAIT_2: 1}
    net.run(2)
    assert net.states() == {}
    assert client.ended == how


def test_time_wait_is_stolen_when_pcbs_run_out_and_fin_wait_is_not():
    net = Net(profiles.PICOW)
    for _ in range(3):
        sock, client = net.pair()
        sock.close()
        net.run()
        client.close()
        net.run()
    for _ in range(2):
        sock, client = net.pair()
        sock.close()
    net.run()
    assert net.states() == {tcp.TIME_WAIT: 3, tcp.FIN_WAIT_2: 2}
    newcomers = [net.connect() for _ in range(4)]
    net.run(0.5)
    assert states_of(newcomers).count(tcp.ESTABLISHED) == 3
    assert net.states() == {tcp.FIN_WAIT_2: 2, tcp.ESTABLISHED: 3}


@pytest.mark.parametrize("profile", profiles.DEVICES, ids=lambda profile: profile.name)
def test_input_after_close_is_answered_with_a_reset(profile):
    net = Net(profile)
    sock, client = net.pair()
    sock.close()
    net.run()
    client.pcb.write(b"one more request")
    net.run()
    assert client.ended == "reset"
    assert net.states() == {}


def test_a_peer_that_has_vanished_is_given_up_after_the_retransmissions():
    for profile in (profiles.ESP32, profiles.PICOW, profiles.UNIX):
        net = Net(profile)
        sock, client = net.pair()
        client.vanish()
        net.run(100_000)
        assert not sock.readable()  # nobody finds out while nothing is sent
        sock.send(b"anybody there?")
        net.run(profile.retransmit_s - 5)
        assert not sock.readable()
        net.run(10)
        assert code_of(sock.recv, 1) == profile.given_up


def test_half_a_close_lets_the_other_half_go_on():
    net = Net(profiles.UNIX)
    sock, client = net.pair()
    client.pcb.write(b"that is all")
    client.shutdown()
    net.run()
    assert sock.recv(100) == b"that is all"
    assert sock.recv(100) == b""
    sock.send(b"answer")
    net.run()
    assert client.pcb.read(100) == b"answer"
    sock.close()
    net.run()
    assert client.pcb.state == tcp.CLOSED


# -- datagrams


def test_datagrams_beyond_the_queue_are_dropped():
    for profile in (profiles.ESP32, profiles.PICOW):
        net = Net(profile)
        sock = net.module.socket(kind=net.module.SOCK_DGRAM)
        host = net.host()
        for k in range(10):
            net.network.datagram(host, 5000, DEVICE, sock.getsockname()[1], bytes((k,)))
        net.run()
        got = 0
        while sock.readable():
            data, sender = sock.recvfrom(100)
            assert sender == (host.ip, 5000)
            got += 1
        assert got == profile.udp_queue


def test_lost_doubled_and_reordered_datagrams_come_from_the_seed():
    def arrivals():
        net = Net(profiles.UNIX)
        net.network.loss = net.network.duplicate = net.network.reorder = 0.2
        sock = net.module.socket(kind=net.module.SOCK_DGRAM)
        for k in range(60):
            net.network.datagram(net.device, 5000, DEVICE, sock.getsockname()[1], bytes((k,)))
        net.run(1)
        return [data[0] for data, _ in sock._bound.queue]

    first = arrivals()
    assert first == arrivals()
    assert set(first) != set(range(60))
    assert len(first) != len(set(first))
    assert first != sorted(first)


def test_loss_delays_a_stream_and_changes_nothing_of_it():
    net = Net(profiles.UNIX)
    net.network.loss = 0.3
    client = net.connect()
    net.run(30)
    sock, _ = net.listener.accept()
    data = random.Random(4).randbytes(50_000)
    sent = 0
    got = b""
    while len(got) < len(data):
        sent += client.pcb.write(data[sent : sent + 2000]) or 0
        net.run(2)
        if sock.readable():
            got += sock.recv(100_000)
    assert got == data


def test_a_socket_closed_while_it_is_watched_is_told():
    net = Net(profiles.UNIX)
    sock, _ = net.pair()
    net.selector.register(sock.fileno(), 1)
    sock.close()
    assert len(net.complaints) == 1
