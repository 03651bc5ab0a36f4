"""The emulated benchmark's own arithmetic and protocols, without a chip (tools/bench)."""

import json
import struct

import pytest

from firmware.meters import profile_loader as profile_load
from tools.bench import chip, cycles, elf, emulated, heap, measure, meters, names, questions, servers, stages, tcp, udp
from tools.virtual_line import adu, crc16

US = 1000.0  # in nanoseconds
CHIP = ("10.0.2.15", 502)
CLIENT = ("10.0.2.2", 50000)


def sample(cycles_=1000, latency_us=8.0, **over):
    values = {
        "cycles": cycles_,
        "line_cycles": 50,
        "latency_ns": latency_us * US,
        "turnaround_ns": 3 * US,
        "asked_bytes": 60,
        "answered_bytes": 40,
        "bus_ns": 0.0,
    }
    return chip.Sample(**values | over)


# Arithmetic


def test_a_row_has_medians_and_the_worst_and_what_each_request_allocated():
    samples = [sample(1000, 8.0), sample(1250, 9.0), sample(90000, 500.0)]
    row = measure.row("server", "what", samples, 20 * US, 144)
    assert (row.requests, row.cycles, row.mean_cycles) == (3, 1250, 30750)
    assert row.busy_us == 10.0  # 1250 cycles at 125 MHz
    assert (row.latency_us, row.worst_latency_us, row.wire_us) == (9.0, 500.0, 2000.0)
    assert row.heap_bytes == 48


def test_a_row_of_no_samples_is_refused_by_name():
    with pytest.raises(ValueError, match="server, what: no samples"):
        measure.row("server", "what", [], 1.0, 0)


def test_what_a_collection_frees_does_not_hide_what_was_allocated():
    assert heap.allocated(1000, 1480, []) == 480
    # 200 more, a collection down to 900, 5100 more, one down to 1000, 64 more
    assert heap.allocated(1000, 1064, [(9, 1200, 900), (9, 6000, 1000)]) == 200 + 5100 + 64


def test_the_heap_under_clients_is_the_most_that_any_collection_left():
    sweeps = [chip.Sweep(1000, 9000, 5000), chip.Sweep(2500, 9500, 6000), chip.Sweep(2000, 9400, 5500)]
    found = measure.heap_under("server", 10000, 4000, 10, sweeps, 9999)
    assert (found.busiest, found.least_free, found.collections, found.longest_us) == (6000, 4000, 3, 20.0)


def test_without_a_collection_the_heap_in_use_is_all_that_can_be_said():
    found = measure.heap_under("server", 10000, 4000, 10, [], 4100)
    assert (found.busiest, found.collections, found.longest_us) == (4100, 0, 0.0)


class Linker:
    """Symbols of a heap."""

    def __init__(self, start, end):
        self._places = {"__GcHeapStart": start, "__GcHeapEnd": end}

    def address(self, name):
        return self._places[name]


@pytest.mark.parametrize("size", [4096, 100_003, 213_328, 216_400])
def test_allocation_table_finaliser_table_and_blocks_fill_the_heap(size):
    table = heap.table(Linker(0x2000BEB0, 0x2000BEB0 + size))
    blocks = table.size * 4
    taken = table.size + 1 + (blocks + 7) // 8 + table.heap_bytes
    assert size - 2 * 66 < taken <= size  # another byte of the table would be 66 more


def test_cycles_are_summed_by_the_innermost_part_under_way():
    calls = [(1, "", 300), (1, "gc_alloc", 100), (2, "", 50), (0, "irq 36", 40), (0, "network_ppp_poll", 20)]
    calls += [(2, "mp_machine_uart_read", 10), (0, "irq 18", 5)]
    shares = {share.name: share.cycles for share in cycles.parts(calls, 5)}
    assert shares == {
        cycles.PYTHON: 70,
        cycles.HEAP: 20,
        "PPP's UART": 10,
        "lwIP and PPP input": 4,
        cycles.INTERRUPTS: 1,
    }


def test_a_python_function_is_charged_for_objects_and_heap_but_not_for_sockets():
    calls = [(1, "", 300), (1, "gc_alloc", 100), (1, "lwip_socket_write", 999), (2, "", 50), (3, "", 7)]
    calls.append((2, "gc_collect", 2_000_000))  # nor for a collection that happened to fall into its time
    entered = [(1, 0, 10), (2, 0, 30)]
    found = cycles.functions(calls, entered, lambda code, _: f"f{code}", 10)
    assert found[:2] == [cycles.Share("f1", 40, 1.0), cycles.Share("f2", 5, 3.0)]
    assert found[2].name == "begun before"  # it ran when counting began, so nothing says its name


# The chip's memory and program


def elf_file(symbols):
    """An ELF file with nothing but these (name, address, size, type)."""
    strings, entries = b"\0", [bytes(16)]
    for name, address, size, kind in symbols:
        entries.append(struct.pack("<IIIBBH", len(strings), address, size, kind, 0, 1))
        strings += name.encode() + b"\0"
    table = b"".join(entries)
    sections = [(0,) * 10]
    sections.append((0, 2, 0, 0, 52, len(table), 2, 0, 4, 16))
    sections.append((0, 3, 0, 0, 52 + len(table), len(strings), 0, 0, 1, 0))
    head = b"\x7fELF\x01\x01" + bytes(26)
    head += struct.pack("<I10xHH", 52 + len(table) + len(strings), 40, len(sections))
    return head.ljust(52, b"\0") + table + strings + b"".join(struct.pack("<10I", *one) for one in sections)


def test_symbols_are_found_by_name_and_functions_by_address(tmp_path):
    path = tmp_path / "firmware.elf"
    path.write_bytes(elf_file([("run", 0x10000101, 8, 2), ("heap", 0x20000000, 4, 1), ("stop", 0x10000201, 8, 2)]))
    symbols = elf.Symbols(path)
    assert symbols.address("run") == 0x10000100  # without the bit that says Thumb
    assert symbols.address("heap") == 0x20000000
    assert [symbols.function_at(at) for at in (0, 0x10000100, 0x100001FE, 0x10000204)] == ["", "run", "run", "stop"]
    with pytest.raises(elf.ElfError, match="no symbol 'gone'"):
        symbols.address("gone")


def test_what_is_no_elf_file_is_refused(tmp_path):
    path = tmp_path / "firmware.elf"
    path.write_bytes(b"MZ" + bytes(100))
    with pytest.raises(elf.ElfError, match="Magic number"):
        elf.Symbols(path)


def test_a_functions_name_lies_behind_signature_and_sizes_of_any_length():
    assert names.simple_name(bytes((0x12, 0x04, 0x05, 0xFF))) == 5
    assert names.simple_name(bytes((0x92, 0x01, 0x84, 0x83, 0x02, 0x82, 0x01))) == 0x101


# Questions and answers


class Received:
    """What a connection has received so far."""

    def __init__(self, data, ended=False):
        self.received, self.ended = bytearray(data), ended


def test_a_modbus_answer_is_whole_with_its_last_byte_and_not_before():
    question = questions.read(1, 4, 0, [1, 2])
    answer = struct.pack(">HHHBBBHH", 0x4D50, 0, 7, 1, 4, 4, 1, 2)
    for cut in range(len(answer)):
        assert not question.whole(Received(answer[:cut])), cut
    assert question.whole(Received(answer + b"next")) == len(answer)
    question.check(answer)


@pytest.mark.parametrize("at", [0, 6, 7, 8, 9, 12])
def test_a_wrong_byte_anywhere_in_a_modbus_answer_is_a_wrong_answer(at):
    answer = bytearray(struct.pack(">HHHBBBHH", 0x4D50, 0, 7, 1, 4, 4, 1, 2))
    answer[at] ^= 1
    with pytest.raises(questions.WrongAnswer, match="instead of"):
        questions.read(1, 4, 0, [1, 2]).check(bytes(answer))


RESPONSES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0002\r\nlo\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
def test_an_http_answer_is_whole_with_its_last_byte_and_not_before(response):
    question = questions.get("/", True, questions.equals(b"hello"))
    for cut in range(len(response)):
        assert not question.whole(Received(response[:cut])), cut
    assert question.whole(Received(response + b"HTTP/1.1")) == len(response)
    question.check(response)


def test_an_http_answer_without_a_length_is_whole_when_the_server_hangs_up():
    response = b"HTTP/1.0 200 OK\r\n\r\nhello"
    question = questions.get("/", False, questions.equals(b"hello"))
    assert not question.whole(Received(response))
    assert question.whole(Received(response, ended=True)) == len(response)


def test_another_status_or_body_is_a_wrong_answer():
    question = questions.get("/", True, questions.equals(b"hello"))
    for response in (b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello", RESPONSES["length"][:-1] + b"0"):
        with pytest.raises(questions.WrongAnswer):
            question.check(response)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"meters":[]}', b'{"meters":[{"points":[{"quality":"stale"}]}]}'])
def test_readings_that_are_broken_missing_or_not_good_are_a_wrong_answer(body):
    with pytest.raises(questions.WrongAnswer, match="readings"):
        questions.readings(1)(body)


def test_the_document_for_microdot_passes_for_readings():
    questions.readings(3)(servers.readings())


def test_the_profile_of_the_ramp_is_one_block_of_all_its_registers():
    raw = json.loads(servers.ramp_profile(125))
    plan, _, _ = profile_load.make_plan(raw["points"], raw["max_registers"], raw["gap"])
    assert plan == [(4, 0, 125)]


# TCP


def segment(flags, sequence, acknowledged=0, data=b""):
    """From the chip."""
    peer = tcp.Connection(lambda packet: sent.append(packet), CHIP, CLIENT)
    sent: list[bytes] = []
    peer._next, peer._expected = sequence, acknowledged
    peer._segment(flags, data)
    return tcp.Segment(sent[0])


def opened():
    """An open connection, and what it sends from now on."""
    sent: list[bytes] = []
    connection = tcp.Connection(sent.append, CLIENT, CHIP)
    connection.connect()
    first = tcp.Segment(sent.pop())
    assert first.flags == tcp.SYN
    connection.feed(segment(tcp.SYN | tcp.ACK, 7000, first.sequence + 1))
    assert connection.open
    assert tcp.Segment(sent.pop()).acknowledged == 7001
    return connection, sent


def test_data_is_acknowledged_with_the_next_request():
    connection, sent = opened()
    connection.feed(segment(tcp.ACK, 7001, data=b"answer"))
    assert connection.received == b"answer"
    assert connection.waiting
    assert not sent
    connection.send(b"next")
    out = tcp.Segment(sent.pop())
    assert (out.data, out.acknowledged, connection.waiting) == (b"next", 7007, False)


def test_two_segments_are_acknowledged_at_once():
    connection, sent = opened()
    connection.feed(segment(tcp.ACK, 7001, data=b"one"))
    connection.feed(segment(tcp.ACK, 7004, data=b"two"))
    assert [tcp.Segment(packet).acknowledged for packet in sent] == [7007]


def test_a_connection_that_the_chip_opens_is_accepted():
    sent: list[bytes] = []
    connection = tcp.Connection(sent.append, CLIENT, CHIP)
    connection.accept(segment(tcp.SYN, 7000))
    answer = tcp.Segment(sent.pop())
    assert (answer.flags, answer.acknowledged) == (tcp.SYN | tcp.ACK, 7001)
    connection.feed(segment(tcp.ACK, 7001, answer.sequence + 1))
    connection.feed(segment(tcp.ACK, 7001, answer.sequence + 1, b"CONNECT"))
    connection.send(b"CONNACK")
    out = tcp.Segment(sent.pop())
    assert (connection.received, out.data, out.sequence) == (b"CONNECT", b"CONNACK", answer.sequence + 1)
    assert out.acknowledged == 7008


def test_packets_of_mqtt_are_counted_once_they_are_whole():
    short, long = b"\x30\x03\x00\x01a", b"\x30\xc8\x01" + bytes(200)
    stream = short + b"\x40\x02\x00\x07" + long
    assert questions.mqtt_packets(stream, questions.PUBLISH) == 2
    for n in range(len(stream)):
        assert questions.mqtt_packets(stream[:n], questions.PUBLISH) == (n >= len(short))
    with pytest.raises(questions.WrongAnswer):
        questions.mqtt_packets(b"\x30\xff\xff\xff\xff\x01", questions.PUBLISH)


def test_what_comes_twice_counts_once():
    connection, sent = opened()
    for _ in range(2):
        connection.feed(segment(tcp.ACK, 7001, data=b"once"))
    assert connection.received == b"once"
    assert tcp.Segment(sent.pop()).acknowledged == 7005


def test_the_peers_end_and_its_reset_end_the_connection():
    connection, sent = opened()
    connection.feed(segment(tcp.ACK | tcp.FIN, 7001, data=b"bye"))
    assert connection.ended
    assert tcp.Segment(sent.pop()).acknowledged == 7005
    connection, _ = opened()
    with pytest.raises(tcp.TcpError, match="reset"):
        connection.feed(segment(tcp.RST, 7001))
    with pytest.raises(tcp.TcpError, match="not open"):
        connection.send(b"more")


def test_a_damaged_segment_is_refused():
    sent: list[bytes] = []
    connection = tcp.Connection(sent.append, CLIENT, CHIP)
    connection.connect()
    for at in (12, 21, 30):
        packet = bytearray(sent[0])
        packet[at] ^= 0x10
        with pytest.raises(ValueError, match="TCP"):
            tcp.Segment(bytes(packet))


# UDP


def test_a_datagram_arrives_as_it_was_sent_and_a_damaged_one_is_refused():
    sent: list[bytes] = []
    ours, theirs = udp.Socket(sent.append, CLIENT, CHIP), udp.Socket(sent.append, CHIP, CLIENT)
    for data in (b"", b"odd", b"even"):
        ours.send(data)
        datagram = udp.Datagram(sent.pop())
        assert (datagram.source, datagram.target, datagram.data) == (CLIENT[1], CHIP[1], data)
        theirs.feed(datagram)
    assert theirs.received == b"oddeven"
    ours.send(b"question")
    for at in (12, 21, 30):
        packet = bytearray(sent[0])
        packet[at] ^= 0x10
        with pytest.raises(ValueError, match="UDP"):
            udp.Datagram(bytes(packet))


# BACnet


def bacnet_answer(content, service):
    body = bytes.fromhex("0100 3001") + bytes([service]) + content
    return b"\x81\x0a" + (4 + len(body)).to_bytes(2, "big") + body


def test_a_bacnet_value_must_be_that_of_the_object_that_was_asked():
    question = questions.read_property(0x110, 230.5)
    asked = bytes.fromhex("0c 00000110 1955")
    assert question.data == bytes.fromhex("810a 0011 0104 0005 010c") + asked
    question.check(bacnet_answer(asked + bytes.fromhex("3e 44 43668000 3f"), 12))
    for wrong in ("3e 44 43660000 3f", "3e 55 43668000 3f", "3e 44 43668000 2f"):
        with pytest.raises(questions.WrongAnswer):
            question.check(bacnet_answer(asked + bytes.fromhex(wrong), 12))
    with pytest.raises(questions.WrongAnswer):
        question.check(bytes.fromhex("810a 000d 0100 5001 0c 9101 911f"))


def test_each_of_many_bacnet_values_is_compared():
    question = questions.read_properties({1: 1.0, 2: 2.0})
    first = bytes.fromhex("0c 00000001 1e 2955 4e 44 3f800000 4f 1f")
    second = bytes.fromhex("0c 00000002 1e 2955 4e 44 40000000 4f 1f")
    question.check(bacnet_answer(first + second, 14))
    for wrong in (first + first, first, second + first, first + second + b"\0"):
        with pytest.raises(questions.WrongAnswer):
            question.check(bacnet_answer(wrong, 14))


def test_the_object_list_gives_the_analog_inputs():
    found: list[int] = []
    content = bytes.fromhex("0c 02000007 194c 3e c4 02000007 c4 00000010 c4 00000110 3f")
    questions.object_list(found).check(bacnet_answer(content, 12))
    assert found == [0x10, 0x110]


# Meters


def played(line, frame, character_ns, begin_ns=0.0):
    """The last answer of the line to a frame that is sent byte by byte."""
    reply = None
    for n, byte in enumerate(frame):
        reply = line.sent(byte, begin_ns + (n + 1) * character_ns, character_ns)
    return reply


def test_a_meter_answers_after_its_delay_and_the_transaction_is_kept():
    line = meters.Line([meters.Ramp(9)], delay_ms=10)
    character_ns = 1e9 * 10 / 19200
    begins_ns, reply = played(line, adu(9, struct.pack(">BHH", 4, 0, 10)), character_ns)
    assert begins_ns == pytest.approx(8 * character_ns + 10e6)
    assert crc16(reply) == 0
    assert struct.unpack(">10H", reply[3:23]) == tuple(meters.Ramp.register(n) for n in range(10))
    (kept,) = line.transactions
    assert kept.began_ns == pytest.approx(0)
    assert kept.ended_ns == pytest.approx(begins_ns + 25 * character_ns)


def test_a_wrong_crc_another_unit_and_half_a_frame_are_met_with_silence():
    line = meters.Line([meters.Ramp(9)])
    good = adu(9, struct.pack(">BHH", 4, 0, 1))
    assert played(line, good[:-1] + b"\0", 500.0 * US) is None
    assert played(line, adu(8, struct.pack(">BHH", 4, 0, 1)), 500.0 * US, 1e8) is None
    assert played(line, good[:3], 500.0 * US, 2e8) is None
    assert played(line, good, 500.0 * US, 3e8) is not None  # silence has ended the half


# Following a request


class StillChip:
    """Counters that a test moves by hand."""

    def __init__(self):
        self.now_ns, self.cycles, self.line_cycles, self.came, self.began_ns = 1000.0, 100, 10, 5, 0.0
        self.to_chip = bytearray()
        self.character_ns = [20.0, 500.0]
        self.line = meters.Line([])


class Sink:
    """A connection whose packets are six bytes longer than their data."""

    def __init__(self, chip_):
        self._chip, self.received, self.ended = chip_, bytearray(), False

    def send(self, data):
        self._chip.to_chip += bytes(6) + data


def test_cost_is_counted_from_the_first_request_bit_to_the_last_answer_bit():
    fake = StillChip()
    connection = Sink(fake)
    watch = chip.Watch(fake, connection, lambda c: 4 if len(c.received) >= 4 else 0)
    watch.send(b"ask!")
    assert not watch.look()
    fake.line.transactions.append(meters.Transaction(500.0, 600.0, 700.0, 800.0))  # before the request: not its own
    fake.line.transactions.append(meters.Transaction(1300.0, 1400.0, 1500.0, 1700.0))
    fake.now_ns, fake.began_ns, fake.cycles, fake.line_cycles, fake.came = 2000.0, 1900.0, 400, 30, 25
    connection.received += b"answ"
    assert watch.look()
    assert watch.answer() == b"answ"
    assert watch.sample() == chip.Sample(300, 20, 1000.0, 1900.0 - (1000.0 + 10 * 20.0), 10, 20, 400.0)


# The program


def refuse(bench):
    raise questions.WrongAnswer("Modbus: 00 was answered by 01")


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "ten"], ["--only", "toaster"]])
def test_a_wrong_option_ends_it_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        emulated.parse(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.fixture
def firmware(tmp_path):
    (tmp_path / "firmware.bin").write_bytes(b"")
    (tmp_path / "firmware.elf").write_bytes(elf_file([("run", 0x10000101, 8, 2)]))
    return tmp_path / "firmware.bin"


def test_a_wrong_answer_ends_it_with_1_and_writes_nothing(firmware, monkeypatch, capsys):
    monkeypatch.setitem(stages.STAGES, "registers", refuse)
    file = firmware.with_name("figures.json")
    assert emulated.main(["--firmware", str(firmware), "--only", "registers", "--json", str(file)]) == 1
    assert "was answered by 01" in capsys.readouterr().err
    assert not file.exists()


def test_a_firmware_that_is_not_there_is_said_by_name(tmp_path, capsys):
    assert emulated.main(["--firmware", str(tmp_path / "firmware.bin")]) == 1
    assert "firmware.elf" in capsys.readouterr().err


def test_what_was_measured_is_printed_and_written(firmware, monkeypatch, capsys):
    def stage(bench):
        bench.rows.append(measure.row("server", "a request", [sample(1250)], 20 * US, 48))
        bench.heaps.append(measure.heap_under("server", 10000, 4000, 10, [], 4100))
        bench.parts["server, a request"] = [cycles.Share(cycles.PYTHON, 1200.0)]
        bench.functions["server, a request"] = [cycles.Share("main.py:run", 1200.0, 1.0)]

    monkeypatch.setitem(stages.STAGES, "registers", stage)
    file = firmware.with_name("figures.json")
    arguments = ["--firmware", str(firmware), "--only", "registers", "--json", str(file), "--functions"]
    assert emulated.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("a request", "1.2", "4100", "main.py:run"))
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert figures["clock_hz"] == 125_000_000
    assert figures["rows"][0]["busy_us"] == 10.0
    assert figures["heaps"][0]["least_free"] == 5900
