"""A web server that takes what the gateway posts, on a free port of 127.0.0.1, in threads of its own; and receivers
that refuse what real ones refuse. Written from the descriptions of HTTP and the formats; nothing of the firmware's.

A context manager; `requests` has what came, and `answer` says what becomes of it: a function of a Request that gives
(status, body) or (status, body, fields)."""

import base64
import contextlib
import email
import email.policy
import gzip
import http.server
import json
import threading
import urllib.parse

HOST = "127.0.0.1"


class Request:
    """method, target, fields ({lower-case name: value}), body."""

    def __init__(self, method, target, fields, body):
        self.method = method
        self.target = target
        self.fields = fields
        self.body = body


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def _take(self):
        length = self.headers["Content-Length"]
        assert self.headers.get_all("Content-Length") == [length]
        body = self.rfile.read(int(length))
        fields = {name.lower(): value for name, value in self.headers.items()}
        status, text, *more = self.server.receiver.take(Request(self.command, self.path, fields, body))
        self.send_response(status)
        for name, value in dict(*more).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = _take

    def log_message(self, *args):
        """Nothing on the console."""


class Receiver:
    def __init__(self, answer=lambda request: (204, b"")):
        self.answer = answer
        self.requests = []
        self.connections = 0
        self._lock = threading.Lock()
        self._server = None

    def take(self, request):
        with self._lock:
            answer = self.answer(request)
            self.requests.append(request)
            return answer

    @property
    def port(self):
        return self._server.server_address[1]

    @property
    def url(self):
        return f"http://{HOST}:{self.port}"

    def __enter__(self):
        receiver = self

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def process_request(self, *args):
                receiver.connections += 1
                super().process_request(*args)

            def handle_error(self, *args):
                """The client has gone."""

        self._server = Server((HOST, 0), _Handler)
        self._server.receiver = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        with contextlib.suppress(OSError):
            self._server.server_close()


class AcquiSuiteServer:
    """What a receiver of AcquiSuite's uploads checks (Obvius upload kit): the account (Basic), the mode, the size of
    the file, that it is gzip, and each line. rows: {(device, time text): (error, values)}."""

    def __init__(self, serial, password):
        self.account = "Basic " + base64.b64encode(f"{serial}:{password}".encode()).decode()
        self.serial = serial
        self.rows = {}
        self.failures = []  # reasons to be given before anything is taken

    def __call__(self, request):
        if request.fields.get("authorization") != self.account:
            return 401, b"", {"WWW-Authenticate": 'Basic realm="UploadRealm"'}
        try:
            if self.failures:
                raise ValueError(self.failures.pop())
            self._take(request)
        except ValueError as error:
            return 406, f"FAILURE: {error}\nNOTES:   Rejected logfile upload\n".encode()
        return 200, b"<pre>\n\nSUCCESS\n</pre>\n"

    def _take(self, request):
        kind = request.fields["content-type"]
        message = email.message_from_bytes(
            b"Content-Type: " + kind.encode() + b"\r\n\r\n" + request.body, policy=email.policy.HTTP
        )
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        file = parts.pop("LOGFILE")
        fields = {name: part.get_payload(decode=True).decode() for name, part in parts.items()}
        boundary = message.get_boundary().encode()
        data = request.body.partition(b"x-gzip\r\n\r\n")[2].rpartition(b"\r\n--" + boundary)[0]
        if fields["MODE"] != "LOGFILEUPLOAD":
            raise ValueError("mode")
        if fields["SERIALNUMBER"] != self.serial:
            raise ValueError("serial number")
        if int(fields["FILESIZE"]) != len(data) or not file.get_filename().endswith(".gz"):
            raise ValueError("file")
        for line in gzip.decompress(data).decode().splitlines():
            time, error, low, high, *values = line.split(",")
            if len(time) != 21 or time[0] + time[-1] != "''" or low + high != "00":
                raise ValueError(f"line {line}")
            numbers = [float(value) if value else None for value in values]
            self.rows[int(fields["MODBUSDEVICE"]), time[1:-1]] = (int(error), numbers)


class EmoncmsServer:
    """input/bulk of emoncms, as its documentation has it: a key, `data` as JSON, `time` as what frames' times are
    relative to. frames: {(time, node): values}."""

    def __init__(self, key):
        self.key = key
        self.frames = {}

    def __call__(self, request):
        if request.fields.get("authorization") != f"Bearer {self.key}":
            return 401, b"Invalid API key"
        form = urllib.parse.parse_qs(request.body.decode())
        try:
            data = json.loads(form["data"][0])
        except (KeyError, ValueError):
            return 200, b"Format error, json string supplied is not valid"
        if len(data) > 1000 or not all(len(frame) > 2 for frame in data):
            return 200, b"Format error, bulk item needs at least 3 values"
        for time, node, values in data:
            self.frames[int(form["time"][0]) + time, node] = values
        return 200, b"ok"
