"""One end of a TCP connection (RFC 9293), as far as a program can tell: states, buffers, windows, FIN and RST.

A Pcb belongs to a Stack and knows the Pcb at the other end; segments are calls that the Network brings there in order.
Not here: sequence numbers, congestion control, Nagle. A lost segment is one that comes later (network.py). Of input
that comes before accept lwIP keeps the first segment only, and the others come again; here all of it waits.

What differs by board is in the profile: how long states last that hold a PCB, how much is buffered, what a reset does
to unread input. Everywhere alike:
    close() with unread input resets (lwIP tcp.c, tcp_close_shutdown; RFC 2525, 2.17)
    input after close() resets (lwIP tcp_in.c, TF_RXCLOSED; Linux likewise)
    a FIN from the other end leaves the PCB in CLOSE_WAIT until our program closes it
"""

import errno
from collections import deque

SYN_SENT = "SYN_SENT"
SYN_RCVD = "SYN_RCVD"
ESTABLISHED = "ESTABLISHED"
CLOSE_WAIT = "CLOSE_WAIT"
FIN_WAIT_1 = "FIN_WAIT_1"
FIN_WAIT_2 = "FIN_WAIT_2"
CLOSING = "CLOSING"
LAST_ACK = "LAST_ACK"
TIME_WAIT = "TIME_WAIT"
CLOSED = "CLOSED"

_FIN_NONE, _FIN_DUE, _FIN_SENT = range(3)
_SYN_RETRY_US = 1_000_000  # Linux: after 1, 3, 7, 15, ... s


class Pcb:
    """`app` owns this end: its changed() is called whenever reading or writing may have become possible.
    None while the connection waits to be accepted, and after close()."""

    def __init__(self, stack, local_port, remote, state):
        self.stack = stack
        self.local_port = local_port
        self.remote = remote  # (ip, port)
        self.state = state
        self.since_us = stack.timeline.now_us
        self.other = None
        self.answered_by = None  # the Pcb that took our SYN
        self.app = None
        self.listener = None  # in whose queue it is
        self.closed_by_app = False
        self.rx = bytearray()
        self.rx_end = False  # FIN has come
        self.pieces = deque()  # sizes of the segments that rx came in, where the profile has any
        self.out_pieces = deque()  # of those in `out`
        self.refused = False  # rx came before accept, and is to be offered again
        self.error = 0  # what the next call raises
        self.lost = 0  # why the connection was lost, for good
        self.out = bytearray()  # not acknowledged yet
        self.flying = 0  # how much of it is under way
        self.window = 0  # what the other end takes, as it last said
        self.window_told = stack.profile.window
        self.fin = _FIN_NONE
        self.gone = False  # this end has vanished: hears nothing, says nothing
        self.giving_up = False
        self.arrival_us = 0
        self.held = deque()  # segments of ours that the other end was deaf for (network.py)

    # -- what a program does

    def readable(self):
        return bool(((self.rx or self.rx_end) and not self.refused) or self.error or self.state == CLOSED)

    def writable(self):
        if self.state in (ESTABLISHED, CLOSE_WAIT):
            return len(self.out) < self.stack.profile.send_buffer
        return self.state != SYN_SENT

    def read(self, n):
        """Up to n bytes, b"" at the end of the stream, None when there are none now. Raises OSError."""
        rx = self.rx
        if rx and not self.refused:
            data = bytes(rx[:n])
            del rx[:n]
            self._take_pieces(len(data))
            self._tell_window()
            return data
        if self.rx_end and not self.refused:
            return b""
        if self.error:
            self._raise()
        return b"" if self.state == CLOSED else None

    def write(self, data):
        """Bytes taken, None when none can be now. Raises OSError."""
        if self.error:
            self._raise()
        if self.fin or self.state not in (ESTABLISHED, CLOSE_WAIT):
            raise OSError(errno.EPIPE, "not connected")
        stack = self.stack
        profile = stack.profile
        room = profile.send_buffer - len(self.out)
        if room <= 0:
            return None
        n = min(room, len(data))
        if stack.limited:
            pieces = self._segments(n)
            if stack.queued() + n + profile.send_overhead * len(pieces) > profile.send_pool:
                raise OSError(profile.no_room, "no memory for output")
            self.out_pieces.extend(pieces)
        self.out += data[:n]
        self._push()
        return n

    def memory(self):
        """What its output takes of the pool."""
        return len(self.out) + self.stack.profile.send_overhead * len(self.out_pieces)

    def _segments(self, n):
        segment = self.stack.profile.segment
        if not segment:
            return ()
        return [segment] * (n // segment) + ([n % segment] if n % segment else [])

    def _raise(self):
        error = self.error
        if self.stack.profile.error_once:
            self.error = 0
        raise OSError(error, "connection lost")

    def _take_pieces(self, n):
        before = len(self.pieces)
        _shorten(self.pieces, n)
        self.stack.input_pieces -= before - len(self.pieces)

    def accepted(self):
        """The program has it: what came before is offered to it at the next tick of lwIP's fast timer."""
        self.listener = None
        period_s = self.stack.profile.refused_s
        if self.rx and period_s:
            self.refused = True
            period_us = int(1e6 * period_s)
            self.stack.timeline.after(period_us - self.stack.timeline.now_us % period_us, self._offer)

    def _offer(self):
        self.refused = False
        self._changed()

    def shutdown(self):
        """No more output."""
        if self.state == ESTABLISHED:
            self._become(FIN_WAIT_1)
        elif self.state == CLOSE_WAIT:
            self._become(LAST_ACK)
        else:
            return
        self.fin = _FIN_DUE
        self._push()

    def close(self):
        """The program has no more to do with it; the PCB may live on."""
        self.app = None
        self.closed_by_app = True
        if self.state in (CLOSED, TIME_WAIT):
            return
        if self.state == SYN_SENT:
            self._free()
            return
        if self.rx:
            self.reset()
            return
        self.shutdown()
        profile = self.stack.profile
        if profile.close_timeout_s:
            self._after(profile.close_timeout_s, self._close_timeout)
        if self.state == FIN_WAIT_2:
            self._after(profile.fin_wait_2_s, self._fin_wait_over)

    def reset(self):
        """RST to the other end; nothing is left here."""
        if self.state == CLOSED:
            return
        self._send("on_reset")
        self._drop_pieces()
        self._free()

    def vanish(self):
        """Power cut, or a cable pulled: this end neither hears nor says anything from now on."""
        self.gone = True
        self.app = None
        self._free()

    # -- connecting

    def connect(self, stack, deadline_us):
        """Sends SYN to the Stack again and again, as Linux does, until something comes or the deadline is over. None:
        nobody has the address."""
        self._syn(stack, _SYN_RETRY_US, deadline_us)

    def _syn(self, stack, wait_us, deadline_us):
        if self.state != SYN_SENT or self.gone:
            return
        timeline = self.stack.timeline
        if timeline.now_us >= deadline_us:
            self._lose(errno.ETIMEDOUT)
            return
        if stack is not None:
            self.stack.network.segment(self, stack.on_syn, self)
        timeline.at(min(timeline.now_us + wait_us, deadline_us), self._syn, stack, 2 * wait_us, deadline_us)

    def on_syn_ack(self, other):
        if self.gone:
            return
        if self.state == SYN_SENT:
            self.other = other
            self.window = other.stack.profile.window
            self._become(ESTABLISHED)
            self._send("on_established")
            self._changed()
        elif self.other is not other:  # a second answer, from a PCB of which we know nothing
            self.stack.network.segment(self, other.on_reset)

    def on_established(self):
        if self.state != SYN_RCVD or self.gone:
            return
        self.window = self.other.stack.profile.window
        self._become(ESTABLISHED)
        self.listener.established(self)

    # -- segments

    def _send(self, name, *args):
        if self.gone or self.other is None:
            return
        self.stack.network.segment(self, self._arrive, name, *args)

    def _arrive(self, name, *args):
        """Delivers at the other end. A segment without a receiver is never acknowledged."""
        other = self.other
        if not other.gone:
            getattr(other, name)(*args)
        elif name != "on_reset" and not self.giving_up and self.state != CLOSED:
            self.giving_up = True
            self._after(self.stack.profile.retransmit_s, self._lose, self.stack.profile.given_up)

    def on_data(self, data):
        if self.state == CLOSED:
            self._send("on_reset")
            return
        if self.closed_by_app:
            self.reset()
            return
        self.rx += data
        pieces = self._segments(len(data))
        self.pieces.extend(pieces)
        self.stack.input_pieces += len(pieces)
        self.window_told = window = self.stack.profile.window - len(self.rx)
        self._send("on_ack", len(data), window)
        self._changed()

    def on_ack(self, n, window):
        if self.state == CLOSED:
            return
        was_full = len(self.out) >= self.stack.profile.send_buffer
        if n:
            del self.out[:n]
            _shorten(self.out_pieces, n)
            self.flying -= n
        self.window = window
        self._push()
        if n and (was_full or self.stack.limited):
            self._changed()

    def _push(self):
        """Sends what the window allows, and FIN behind the last byte."""
        out = self.out
        n = min(len(out), self.window) - self.flying
        if n > 0:
            data = bytes(out[self.flying : self.flying + n])
            self.flying += n
            cut = self.stack.cut(n)
            if cut:
                self._send("on_data", data[:cut])
                data = data[cut:]
            self._send("on_data", data)
        if self.fin == _FIN_DUE and self.flying == len(out):
            self.fin = _FIN_SENT
            self._send("on_fin")

    def _tell_window(self):
        """After reading: a window that was small is announced once it is worth it (RFC 9293, 3.8.6.2.2)."""
        most = self.stack.profile.window
        window = most - len(self.rx)
        if self.window_told < most // 2 <= window and self.state != CLOSED:
            self.window_told = window
            self._send("on_ack", 0, window)

    def on_fin(self):
        if self.state == CLOSED:
            self._send("on_reset")
            return
        if self.rx or self.listener is None or not self.stack.profile.fin_before_accept_lost:
            self.rx_end = True
        self._send("on_fin_ack")
        if self.state == ESTABLISHED:
            self._become(CLOSE_WAIT)
        elif self.state == FIN_WAIT_1:
            self._become(CLOSING)
        elif self.state == FIN_WAIT_2:
            self._time_wait()
        self._changed()

    def on_fin_ack(self):
        if self.state == FIN_WAIT_1:
            self._become(FIN_WAIT_2)
            if self.closed_by_app:
                self._after(self.stack.profile.fin_wait_2_s, self._fin_wait_over)
        elif self.state == CLOSING:
            self._time_wait()
        elif self.state == LAST_ACK:
            self._free()

    def on_reset(self):
        if self.state == CLOSED or self.gone:
            return
        if self.state == SYN_SENT:
            self._lose(errno.ECONNREFUSED)
        elif self.state == CLOSE_WAIT and self.stack.profile.error_once:
            self._lose(errno.EPIPE)  # Linux tcp_input.c, tcp_reset
        else:
            self._lose(errno.ECONNRESET)

    # -- ends

    def _time_wait(self):
        self._become(TIME_WAIT)
        seconds = self.stack.profile.time_wait_s
        if seconds:
            self._after(seconds, self._free_if, TIME_WAIT)
        else:
            self._free()

    def _fin_wait_over(self):
        self._free_if(FIN_WAIT_2)

    def _close_timeout(self):
        if self.state in (FIN_WAIT_1, FIN_WAIT_2, CLOSING, LAST_ACK):
            self.reset()

    def _free_if(self, state):
        if self.state == state:
            self._free()

    def _lose(self, error):
        if self.state == CLOSED:
            return
        if self.stack.profile.loss_discards_input:
            self.rx.clear()
            self._drop_pieces()
        self.error = self.lost = error
        listener = self.listener
        self._free()
        if listener is not None:
            listener.lost(self)
        self._changed()

    def _drop_pieces(self):
        self.stack.input_pieces -= len(self.pieces)
        self.pieces.clear()

    def _free(self):
        self.state = CLOSED
        self.out.clear()
        self.out_pieces.clear()
        self.flying = 0
        self.stack.free(self)

    def _become(self, state):
        self.state = state
        self.since_us = self.stack.timeline.now_us

    def _after(self, seconds, call, *args):
        self.stack.timeline.after(int(seconds * 1e6), call, *args)

    def _changed(self):
        if self.app is not None:
            self.app.changed()


def _shorten(pieces, n):
    """Takes n bytes from the front of segments."""
    while pieces and n >= pieces[0]:
        n -= pieces.popleft()
    if n and pieces:
        pieces[0] -= n
