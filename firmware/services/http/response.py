"""What a handler answers with: a Response, or a Later when the answer has to wait for something."""

JSON = "application/json"


class Response:
    """`body` is bytes; or a file (readinto, seek, close), which is sent from its beginning; or a generator, which
    writes a part of the document to the service's sink (Blocks.out) and yields nothing, again and again: some hundred
    bytes a time, so that nothing is ever held as a whole. File and generator are closed, whatever happens.

    `headers`: pairs (name, value). `heads`: where the head is the same each time, a dict in which the writer keeps it;
    its owner must use it for nothing else."""

    def __init__(self, body, status=200, type=JSON, headers=(), heads=None):
        self.body = body
        self.status = status
        self.type = type
        self.headers = headers
        self.heads = heads


class Later:
    """The answer to one request, once there is one. Nothing else is read from its connection meanwhile."""

    response = None  # once there is one
    _on_response = None

    def tell(self, on_response):
        """Calls on_response() at the answer; with None nobody any more."""
        self._on_response = on_response

    def answer(self, response):
        """Once, also before the handler returns. Does nothing when nobody waits any more."""
        self.response = response
        on_response = self._on_response
        if on_response is not None:
            self._on_response = None
            on_response()

    def cancel(self):
        """The client has gone: answer() need not be called."""
