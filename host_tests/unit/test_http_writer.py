"""Responses into blocks: every length, every kind of body, as Python's own client reads them."""

import io
from types import SimpleNamespace

import pytest

from firmware.net import seam
from firmware.services.http.response import FULL, Response
from firmware.services.http.response_writer import BLOCK, FILE_BLOCK, PIECE, ROOM, ResponseWriter
from host_tests.unit.http_rig import responses

LENGTHS = [0, 1, 2, 100, *range(700, 860), *range(1000, 1040), 2000, 2040, 2048, 3071, 3072, 3073, 5000, 20_000]
PIECES = [1, 5, 127, 128, 129, 300, 1009, 1010, 1011, 1017, 1018, 4000]


def text_of(n):
    return bytes(48 + k % 75 for k in range(n))


@pytest.fixture
def blocks():
    block = bytearray(BLOCK)
    return SimpleNamespace(
        block=block,
        view=memoryview(block),
        file_block=bytearray(FILE_BLOCK),
        out=seam.Sink(BLOCK + PIECE),
        document_heads={},
    )


def document(blocks, data, size=100):
    """A generator of `data`, which writes `size` bytes at a time."""
    for k in range(0, len(data), size):
        blocks.out.write(data[k : k + size])
        yield


def written(writer, response, **how):
    """All that the writer makes of the response."""
    writer.begin(response, how.pop("keep_alive", True), **how)
    data = b""
    while writer.is_active:
        n = writer.fill()
        assert n <= len(writer.block)
        data += bytes(writer.block[writer.at : n])
    return data


@pytest.mark.parametrize("n", LENGTHS)
def test_a_body_of_any_length_and_kind_arrives_whole(blocks, n):
    data = text_of(n)
    writer = ResponseWriter(blocks)
    for body, header in (
        (data, "content-length"), (io.BytesIO(data), "content-length"), (document(blocks, data), "transfer-encoding"),
    ):  # fmt: skip
        (response,) = responses(written(writer, Response(body)), "GET")
        assert (response.status, response.body) == (200, data)
        assert header in response.headers
        assert response.headers["connection"] == "keep-alive"
        assert writer.keep_alive


@pytest.mark.parametrize("size", PIECES)
def test_a_document_in_pieces_of_any_size_arrives_whole(blocks, size):
    writer = ResponseWriter(blocks)
    for n in (0, 1, 1010, 3000, 12_345):
        (response,) = responses(written(writer, Response(document(blocks, text_of(n), size))), "GET")
        assert response.body == text_of(n)


@pytest.mark.parametrize("version", [10, 11])
def test_a_document_that_writes_nothing_for_long_lets_the_caller_look_at_the_clock(blocks, version):
    asked = 0

    def seldom():
        nonlocal asked
        for _ in range(100):
            asked += 1
            if asked % 30 == 0:
                blocks.out.write(b"%d\n" % asked)
            yield

    writer = ResponseWriter(blocks)
    writer.begin(Response(seldom()), True, version=version)
    data = b""
    while writer.is_active:
        before = asked
        n = writer.fill()
        data += bytes(writer.block[writer.at : n])
        assert asked - before < 50
    assert responses(data, "GET")[0].body == b"30\n60\n90\n"


@pytest.mark.parametrize("n", [0, 100, 1024, 5000])
def test_http_1_0_gets_a_document_unchunked_and_the_end_of_the_connection(blocks, n):
    writer = ResponseWriter(blocks)
    (response,) = responses(written(writer, Response(document(blocks, text_of(n))), version=10), "GET")
    assert response.body == text_of(n)
    assert "transfer-encoding" not in response.headers
    assert response.headers["connection"] == "close"
    assert not writer.keep_alive
    (response,) = responses(written(writer, Response(text_of(n)), version=10), "GET")
    assert (response.headers["connection"], writer.keep_alive) == ("keep-alive", True)


@pytest.mark.parametrize(
    "make", [lambda blocks: b"abc", lambda blocks: io.BytesIO(b"abc"), lambda blocks: document(blocks, text_of(500))]
)
def test_head_is_the_head_of_get_without_the_body(blocks, make):
    writer = ResponseWriter(blocks)
    body = make(blocks)
    (head,) = responses(written(writer, Response(body), is_head=True), "HEAD")
    assert getattr(body, "closed", True), "a file is closed"
    (full,) = responses(written(writer, Response(make(blocks))), "GET")
    assert head.headers == full.headers
    assert head.body == b""


def test_two_writers_share_the_blocks_and_do_not_mix(blocks):
    one, other = ResponseWriter(blocks), ResponseWriter(blocks)
    one.begin(Response(document(blocks, b"1" * 5000, 333)), True)
    other.begin(Response(document(blocks, b"2" * 5000, 77)), True)
    data = {one: b"", other: b""}
    while one.is_active or other.is_active:
        for writer in (one, other):
            if writer.is_active:
                n = writer.fill()
                data[writer] += bytes(writer.block[writer.at : n])
    assert responses(data[one], "GET")[0].body == b"1" * 5000
    assert responses(data[other], "GET")[0].body == b"2" * 5000


@pytest.mark.parametrize("taken", [0, 1, 100, 1024, 3071])
def test_of_a_file_what_was_not_sent_comes_again(blocks, taken):
    data = text_of(10_000)
    writer = ResponseWriter(blocks)
    writer.begin(Response(io.BytesIO(data)), True)
    n = writer.fill()
    sent = bytes(writer.block[writer.at : n])
    assert not writer.give_back(1), "the head is in this one, and is not made again"
    turn = 0
    while writer.is_active:
        n = writer.fill()
        if not n:
            break
        turn += 1
        take = min(n, max(taken, turn % 2 * n))
        sent += bytes(writer.block[:take])
        if take < n:
            assert writer.give_back(n - take)
    assert responses(sent, "GET")[0].body == data


@pytest.mark.parametrize("make", [lambda blocks: text_of(5000), lambda blocks: document(blocks, text_of(5000))])
def test_of_bytes_or_a_document_what_was_not_sent_stays_in_the_block(blocks, make):
    writer = ResponseWriter(blocks)
    writer.begin(Response(make(blocks)), True)
    writer.fill()
    writer.fill()
    before = bytes(writer.block)
    assert not writer.give_back(10)
    assert bytes(writer.block) == before


def test_a_document_is_made_no_further_than_a_block(blocks):
    made = []

    def endless():
        while True:
            made.append(1)
            blocks.out.write(b"x" * 100)
            yield

    writer = ResponseWriter(blocks)
    writer.begin(Response(endless()), True)
    writer.fill()
    assert len(made) <= 11
    writer.close()
    assert not writer.is_active


@pytest.mark.parametrize("version", [10, 11])
@pytest.mark.parametrize("size", [1, 300, 700, 1000])
def test_a_document_that_says_full_goes_on_with_room_in_the_sink(blocks, size, version):
    full = 0

    def body():
        nonlocal full
        for k in range(20):
            while blocks.out.tell() + size > ROOM:
                full += 1
                yield FULL
            blocks.out.write(bytes([97 + k]) * size)

    (response,) = responses(written(ResponseWriter(blocks), Response(body()), version=version), "GET")
    assert response.body == b"".join(bytes([97 + k]) * size for k in range(20))
    assert full >= 20 * size // ROOM - 1


def test_what_is_given_up_is_closed_once(blocks):
    closed = []

    def body():
        try:
            while True:
                blocks.out.write(b"x")
                yield
        finally:
            closed.append(1)

    writer = ResponseWriter(blocks)
    writer.begin(Response(body()), True)
    writer.fill()
    writer.close()
    writer.close()
    assert closed == [1]
    file = io.BytesIO(b"abc")
    writer.begin(Response(file), True)
    writer.close()
    assert file.closed


def test_a_head_that_is_kept_is_the_same_and_made_once(blocks):
    writer = ResponseWriter(blocks)
    heads = {}
    first = written(writer, Response(io.BytesIO(b"abc"), headers=(("X", "y"),), heads=heads))
    assert written(writer, Response(io.BytesIO(b"abc"), headers=(("X", "y"),), heads=heads)) == first
    closing = written(writer, Response(io.BytesIO(b"abc"), headers=(("X", "y"),), heads=heads), keep_alive=False)
    assert b"Connection: close" in closing
    assert len(heads) == 2


def test_status_type_and_headers_are_those_of_the_response(blocks):
    writer = ResponseWriter(blocks)
    made = written(writer, Response(b"no", 405, "text/plain", (("Allow", "GET"),)), keep_alive=False)
    (response,) = responses(made, "GET")
    assert (response.status, response.body) == (405, b"no")
    assert (response.headers["allow"], response.headers["content-type"]) == ("GET", "text/plain")
    assert response.headers["connection"] == "close"
    (response,) = responses(written(writer, Response(b"", 304, None, (("ETag", '"1"'),))), "GET")
    assert (response.status, response.headers["etag"]) == (304, '"1"')
    with pytest.raises(ValueError, match="header"):
        writer.begin(Response(b"", headers=(("X", "a\r\nb"),)), True)


def test_bytes_are_sent_from_where_they_lie(blocks):
    """In an image the page is a constant in flash."""
    data = text_of(20_000)
    blocks.file_block = b""
    writer = ResponseWriter(blocks)
    writer.begin(Response(data), True)
    head = writer.fill()
    end = writer.fill()
    assert head == BLOCK
    assert writer.block is data
    assert (end, responses(bytes(blocks.block[:head]) + data[writer.at :], "GET")[0].body) == (len(data), data)
    assert blocks.file_block == b"", "no buffer was made for it"
    assert (writer.fill(), writer.is_active) == (0, False)
    assert writer.block is blocks.block, "the body is let go"
