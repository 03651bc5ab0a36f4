"""The simulated sockets beside real lwIP: the same small scripts on an emulated chip with plain MicroPython and in the
simulation with its profile, and the same must be seen. So what tools/simulator/profiles.py says of a Pico is held
against the truth, for MicroPython's own lwIP and for ours."""

import pytest

from host_tests.emulated.lwip_chip import BareChip, InSim, OnChip
from host_tests.tools import socket_scripts as plain
from tools.emulator import build
from tools.simulator import profiles

VARIANTS = {
    "stock": (build.STOCK_PCBS, profiles.PICO_EMULATED),
    "ours": (build.OUR_PCBS, profiles.PICO_EMULATED_16),
}
TRIES = 15  # of a script, until all has come that is to come
LOOKS = 3  # at the chip, until it shows what the simulation does


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, tmp_path_factory):
    """(chip, profile)"""
    tcp_pcbs, profile = VARIANTS[request.param]
    chip = BareChip(tmp_path_factory.mktemp("chip"), tcp_pcbs)
    try:
        chip.start()
        yield chip, profile
    finally:
        chip.stop()


def all_of(net, sock, count):
    """`count` bytes, or those that have come after some time."""
    got = b""
    for _ in range(TRIES):
        if len(got) < count and isinstance(piece := net.recv(sock), bytes):
            got += piece
    return got


def every_pcb_in_use(net):
    """One client more than PCBs: its SYN is dropped in silence. When one is free again, newcomers are let in."""
    pcbs = net.profile.tcp_pcbs
    net.listen(pcbs)
    clients = [net.connect() for _ in range(pcbs)]
    servers = [net.accept() for _ in range(pcbs)]
    late = net.connect()
    saw = [net.standing(clients), all(servers), net.connected(late), net.accept(), net.sockets()[0]]
    servers[0].close()
    clients[0].close()
    newest = net.connect()
    return [*saw, net.connected(newest) or net.connected(late)]


def nothing_in_use(net):
    """TCP and UDP sockets; a listener is in another pool."""
    saw = [net.sockets()]
    net.listen(5)
    return [*saw, net.sockets()]


def a_full_accept_queue(net):
    net.listen(2)
    clients = [net.connect() for _ in range(4)]
    return net.standing(clients), [net.accept() is not None for _ in range(3)]


def handshakes_that_are_never_finished(net):
    """As many as the backlog: the next SYN is dropped."""
    net.listen(3)
    net.begin_handshakes(3)
    return net.connected(net.connect(), 2)


def the_end_before_accept(net):
    """A FIN alone is never told; the PCB is held until the server's own close."""
    net.listen(5)
    client = net.connect()
    net.wait_sent(client)
    client.close()
    net.wait(0.5)
    server = net.accept()
    saw = [net.recv(server), net.recv(server), net.sockets()[0][0] - net.profile.tcp_pcbs]
    server.close()
    net.wait(0.5)
    return [*saw, net.sockets()[0][0] - net.profile.tcp_pcbs]


def input_before_accept(net):
    """Whether it can be read at once: mostly not, lwIP offers it again four times a second."""
    net.listen(5)
    late = 0
    for _ in range(5):
        client = net.connect()
        net.send(client, b"request")
        net.wait_sent(client)
        late += net.accept_and_read() == "EAGAIN"
    return late >= 3


def input_and_the_end_before_accept(net):
    net.listen(5)
    client = net.connect()
    net.send(client, b"request")
    client.close()
    net.wait_sent(client)
    server = net.accept()
    got = all_of(net, server, 7)
    ends = [net.recv(server) for _ in range(3)]
    return got, ends[-1]


def one_read_gives_all_that_has_come(net):
    """More than one segment."""
    server, client = plain.pair(net)
    net.send(client, bytes(1000))
    net.wait_sent(client)
    net.send(client, b"more")
    net.wait_sent(client)
    return len(net.recv(server, 900)), len(net.recv(server, 10000)), net.recv(server)


def a_reset_before_accept(net):
    net.listen(5)
    client = net.connect()
    net.send(client, b"request")
    net.wait_sent(client)
    net.reset(client)
    net.wait(0.5)
    return net.accept(), net.sockets()[0]


def a_reset_is_told_again_and_again(net):
    server, client = plain.pair(net)
    net.send(client, b"read me")
    net.wait_sent(client)
    net.reset(client)
    net.wait_sent(client)
    return [net.recv(server), net.recv(server), net.send(server, b"x"), net.send(server, b"x"), net.recv(server)]


def a_peer_that_never_reads(net):
    """Little memory: write() waits, and then raises ENOMEM. More memory than one connection may use: EAGAIN at once."""
    net.listen(5)
    client = net.connect_unreading()
    total, code, waited_s = net.fill(net.accept(), 500)
    most = net.profile.send_buffer
    return code, waited_s > 1, most - 500 <= total <= most + 1600, net.connected(client)


def a_peer_that_has_vanished(net):
    """Nothing is acknowledged: exactly what a connection may have under way is taken."""
    server, client = plain.pair(net)
    net.vanish(client)
    total, code, waited_s = net.fill(server, 800)
    return total, code, waited_s > 1


def unread_input(net):
    """The window closes."""
    _, client = plain.pair(net)
    taken = net.push(client)
    return 0.8 * net.profile.window < taken <= net.profile.window


def unread_input_in_small_pieces(net):
    """Of all connections: when the buffers are used up nobody is heard, until somebody reads."""
    count = net.profile.input_pool + 5
    server, client = plain.pair(net)
    neighbour = net.connect()
    other = net.accept()
    for _ in range(count):
        net.send(client, b"x")
        net.wait(0.03)
    net.send(neighbour, b"hello")
    late = net.connect()
    saw = [net.recv(other), net.connected(late)]
    return [*saw, all_of(net, server, count), all_of(net, other, 5), net.connected(late, 10)]


def a_peer_that_does_not_close(net):
    """FIN_WAIT_2 holds a PCB until close() gives it up, after ten seconds."""
    pcbs = net.profile.tcp_pcbs
    server, client = plain.pair(net)
    server.close()
    saw = [net.recv(client), net.sockets()[0][0] - pcbs]
    net.wait(8)
    saw.append(net.sockets()[0][0] - pcbs)
    net.wait(4)
    return [*saw, net.sockets()[0][0] - pcbs, net.connected(client)]


def connections_that_we_closed_first(net):
    """TIME_WAIT gives its PCB to whoever needs one."""
    pcbs = net.profile.tcp_pcbs
    net.listen(pcbs)
    for _ in range(pcbs):
        client = net.connect()
        net.accept().close()
        net.wait_sent(client)
        client.close()
    return net.standing([net.connect() for _ in range(pcbs)])


def datagrams_that_wait(net):
    return net.datagrams(4)


SCRIPTS = (
    every_pcb_in_use, nothing_in_use, a_full_accept_queue, handshakes_that_are_never_finished, the_end_before_accept,
    input_before_accept, input_and_the_end_before_accept, one_read_gives_all_that_has_come, a_reset_before_accept,
    a_reset_is_told_again_and_again, a_peer_that_never_reads, a_peer_that_has_vanished, unread_input,
    unread_input_in_small_pieces, a_peer_that_does_not_close, connections_that_we_closed_first, datagrams_that_wait,
    # and what all boards have in common
    plain.unread_input_resets, plain.unread_input_after_a_reply, plain.half_a_close, plain.input_after_close_resets,
    plain.reset_with_input_that_waits, plain.nobody_listens, plain.the_end_of_a_stream_lasts,
    plain.nothing_has_come,
)  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_simulation_shows_what_lwip_shows(variant, script):
    chip, profile = variant
    wanted = outcome(script, InSim(profile))
    seen = []
    for _ in range(LOOKS):  # this machine stops for a while now and then, and then the chip or its peer comes too late
        seen.append(outcome(script, OnChip(chip, profile)))
        if seen[-1] == wanted:
            return
    assert wanted == seen[-1], f"seen: {seen}"


def outcome(script, driver):
    try:
        return script(driver)
    finally:
        driver.close()
