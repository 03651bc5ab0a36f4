"""The serial line of a development machine, on a pty."""

import errno
import os
import pty

import pytest

from firmware.board.unix import Line


@pytest.fixture
def ends():
    """(our Line, the file descriptor of the other end)."""
    master, slave = pty.openpty()
    line = Line({"uart": os.ttyname(slave), "baud": 9600, "framing": "8N1"})
    os.close(slave)
    yield line, master
    line.close()


def test_a_line_on_which_nothing_has_come_is_not_taken_for_hung_up(ends):
    line, master = ends
    view = memoryview(bytearray(16))
    assert line.receive(view, 0) == 0
    os.write(master, b"abc")
    assert line.receive(view, 4) == 3
    assert bytes(view[4:7]) == b"abc"
    assert line.receive(view, 0) == 0
    assert line.error is None
    os.close(master)


def test_bytes_that_come_just_after_a_read_are_not_taken_for_a_hang_up(ends):
    line, master = ends
    view = memoryview(bytearray(16))

    class Late:
        """The stream, to which bytes come right after a read that found none."""

        def readinto(self, buf):
            os.write(master, b"abc")
            return 0

    stream = line.stream
    line.stream = Late()
    assert line.receive(view, 0) == 0
    line.stream = stream
    assert line.receive(view, 0) == 3
    os.close(master)


def test_a_line_whose_other_end_is_closed_is_gone(ends):
    line, master = ends
    os.close(master)
    assert line.receive(memoryview(bytearray(16)), 0) == 0
    assert line.error.args[0] == errno.EIO


def test_a_line_that_cannot_send_is_gone(ends):
    line, master = ends
    os.close(master)
    line.send(bytearray(8), 8)
    assert line.error.args[0] == errno.EIO
