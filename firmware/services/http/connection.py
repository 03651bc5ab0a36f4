"""One connection of the web server: the glue between net.listener, request_reader and response_writer.

Requests are answered one after the other, in the order of their arrival; the connection stays open (keep-alive), so
that a browser needs only one. It is busy, in the words of the socket budget, while an answer is made or sent, and while
the body of a session's request comes. When a request is refused before all of it has come, the rest is read for a while
and thrown away: closed at once, the connection would be reset before the reason has arrived.
"""

from micropython import const

import http1
from firmware.net import seam
from firmware.net.budget import REASONS
from firmware.net.listener import Connection
from firmware.services.http import gate
from firmware.services.http.request_reader import BODY_MAX, RequestReader
from firmware.services.http.response import Later, Response, call, plain, response_to
from firmware.services.http.response_writer import ResponseWriter

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.net.budget import Slot
    from firmware.services.http.service import HttpService

_REQUEST_MS = const(10000)  # from the first byte of a request to its last
_TURN_MS = const(20)  # that a response is made and sent for, before others have their turn
_TIMEOUT = REASONS.index("timeout")


class HttpConnection(Connection):
    """One connection of a client to `service`."""

    def __init__(self, service: "HttpService", stream: "Any", slot: "Slot") -> None:
        super().__init__(stream, slot, service.budget, service.events)
        self._service = service
        self.reader = RequestReader(self)
        self._writer = ResponseWriter(service)
        self._begun_ms: "int | None" = None  # when the first byte of the incomplete request came
        self._request: "http1.Request | None" = None  # its body is coming, or its answer is being made
        self._later: "Later | None" = None  # the pending answer
        self._sender: "Any" = None  # of the response under way
        self._held_at = self._held_end = 0  # what the socket has not taken of the writer's block
        self._draining = 0  # bytes that are still read and thrown away before the connection is closed

    def admit(self, request: http1.Request) -> int:
        """The longest body of the request, in bytes (gate.admit). Raises Refused."""
        request.peer = self.slot.peer
        return gate.admit(self._service, request)

    def on_ready(self, events: int) -> None:
        """Reads or writes; called by the loop."""
        unsent = self._unsent
        if unsent is not None:
            if unsent:
                Connection.on_ready(self, events)
            elif next(self._sender, self) is self and self._end_response():
                self._serve_left()
        # While the body of a request comes the connection is busy, and is read from all the same.
        elif self.reader.request is not None:
            self.on_input()
        else:
            Connection.on_ready(self, events)

    def on_input(self) -> None:
        """Reads what has come and answers the requests in it."""
        service = self._service
        if service.holder is not None:
            service.holder.keep_held()
        have = self.reader.restore(service.block)
        got = self.stream.readinto(service.view[have:] if have else service.block)
        if got is None:
            return
        if not got:
            self.close()
            return
        self.slot.received += got
        if not self._draining:
            self._serve(have + got)
            return
        self._draining -= got
        if self._draining <= 0:
            self.close()

    def _serve(self, n: int) -> None:
        """Answers the requests in the first `n` bytes of the shared block, one after the other."""
        reader = self.reader
        block = self._service.block
        while n:
            try:
                request = reader.take(block, n)
            except http1.HttpError as error:
                self._refuse(error)
            else:
                if request is None:
                    self._note_begun()
                    return
                self._answer(request)
            if self.closed or not self._send_response():
                return
            n = reader.restore(block) if reader.left else 0

    def _serve_left(self):
        """Answers what has come behind the last request."""
        if self.reader.left:
            self._serve(self.reader.restore(self._service.block))

    def _note_begun(self):
        """A part of a request has come."""
        reader = self.reader
        if self._begun_ms is None:
            self._begun_ms = seam.ticks_ms()
        request = reader.request
        if request is None or request is self._request:
            return
        self._request = request  # its body begins
        self.slot.used_ms = seam.ticks_ms()  # or it may have been idle for so long that the sweep takes it
        self.slot.busy = request.session is not None
        if reader.owes_continue():
            self.send(http1.CONTINUE, len(http1.CONTINUE))

    def _answer(self, request: http1.Request) -> None:
        self._begun_ms = None
        self._request = request
        self.slot.busy = True
        found = call(request.handler, self._service, request, self.events)
        if request.content_length:
            request.body = None  # a handler that still needs it has it
        if isinstance(found, Later):
            if found.response is None:
                self._later = found
                found.call_on_response(self._on_later)
                seam.interest(self.stream, 0)
                return
            found = found.response
        self._respond(found)

    def _on_later(self):
        """Sends the pending answer. Raises nothing: it is called from the bus."""
        response = self._later.response
        self._later = None
        try:
            seam.interest(self.stream, seam.READ)
            self._respond(response)
            self.on_sent()
        except Exception as error:
            self.fail(error)

    def _refuse(self, error: http1.HttpError) -> None:
        """Answers a request that was given up before all of it had come."""
        reader = self.reader
        self._begun_ms = None
        self._request = reader.request
        reader.request = None
        if error.close:
            reader.drop()
            self._draining = BODY_MAX
            self.events.add("http", "request refused: %d %s" % (error.status, plain(error.reason)))
        self._respond(response_to(error))

    def _respond(self, response: Response) -> None:
        """Begins to send it; _send_response() follows."""
        service = self._service
        service.requests += 1
        if response.status >= 400:
            service.refused += 1
        self.slot.busy = True
        request = self._request
        self._request = None
        if request is None:  # its head could not be parsed
            self._writer.begin(response, False)
            return
        self._writer.begin(
            response, request.keep_alive and not self._draining, request.version, request.method == b"HEAD"
        )

    def on_sent(self) -> None:
        """Goes on when the socket has taken all that was kept."""
        if self.reader.request is not None:
            return  # all that was sent was that its body may come
        if self._send_response():
            self._serve_left()

    def _send_response(self) -> bool:
        """Sends the response as far as the socket takes it, and of a long one a part in each turn of the loop. True
        when all of it was sent and the next request may be answered."""
        sender = self._sender
        if sender is None:
            if self._later is not None:
                return False
            sender = self._sender = self._send_blocks()
        return next(sender, self) is self and self._end_response()

    def _end_response(self) -> bool:
        """Follows _send_blocks(). True when the next request may be answered."""
        self._sender = None
        if self.closed:
            return False
        if self._unsent is not None:
            self._unsent = None
            seam.interest(self.stream, seam.READ)
        self.slot.busy = False
        self.budget.served(self.slot)
        if not self._writer.keep_alive:
            if not self._draining:
                self.finish()
            return False
        return not self._draining

    def _send_blocks(self):
        """Sends the response; yields while the socket takes no more, or others have their turn. A generator, since an
        attribute takes ten times as long as a local variable."""
        service = self._service
        writer = self._writer
        slot = self.slot
        fill = writer.fill
        write = self.stream.write
        shared = service.block
        file_block = service.file_block
        ticks_ms = seam.ticks_ms
        ticks_diff = seam.ticks_diff
        begun_ms = ticks_ms()
        while writer.is_active:
            if ticks_diff(ticks_ms(), begun_ms) >= _TURN_MS:
                self._wait(b"")
                yield
                begun_ms = ticks_ms()
            if service.holder is not None:
                service.holder.keep_held()
            end = fill()
            at = writer.at
            block = writer.block
            while at < end:
                try:
                    sent = write(block, at, end - at) or 0
                except OSError as error:
                    if not self._is_queued(error):
                        return
                    sent = end - at
                slot.sent += sent
                at += sent
                if at == end:
                    break
                if block is shared:
                    service.holder = self
                    self._held_at = at
                    self._held_end = end
                elif block is file_block and writer.give_back(end - at):
                    end = at
                if self._unsent is None:
                    self._wait(b"")
                yield
                begun_ms = self._taken_ms = ticks_ms()
                if block is shared:
                    if service.holder is not self:
                        break  # keep_held() has seen to the rest
                    service.holder = None

    def keep_held(self) -> None:
        """Copies what the socket has not taken out of the shared block, which is about to be used again. Closes the
        connection where there is no memory for that."""
        service = self._service
        service.holder = None
        try:
            self._unsent = bytes(service.view[self._held_at : self._held_end])
        except MemoryError as error:
            self.fail(error)

    def expire(self) -> None:
        """Call once a second: answers 408 when a request has been incomplete for _REQUEST_MS."""
        begun_ms = self._begun_ms
        if begun_ms is None or self._unsent is not None or seam.ticks_diff(seam.ticks_ms(), begun_ms) < _REQUEST_MS:
            return
        self.budget.evictions[_TIMEOUT] += 1
        self._refuse(http1.HttpError(408, "the request has not come whole within %d s" % (_REQUEST_MS // 1000)))
        self._draining = 0
        self._send_response()

    def close(self) -> None:
        """Frees socket and slot; gives up a response under way and cancels a pending answer."""
        self._sender = None
        if self._service.holder is self:
            self._service.holder = None
        later = self._later
        self._later = None
        Connection.close(self)  # first: whatever fails below, socket and slot are free
        self._writer.close()
        if later is not None:
            later.call_on_response(None)
            later.cancel()
