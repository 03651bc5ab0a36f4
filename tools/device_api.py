"""Talks to a gateway as its page does: sets the password, logs in, saves its configuration, restarts it.

The password is never sent: SCRAM-SHA-256 (RFC 5802, RFC 7677) as docs/reference/http.md has it. A configuration that
was read holds no secrets, and saving it keeps those that the device has. The command line is tools/cli.
"""

import contextlib
import gzip
import hashlib
import hmac
import http.client
import json
import secrets
import time

TIMEOUT_S = 20
_LOOK_S = 0.5  # pause between two questions whether a device is back
ITERATIONS = 4096
_HEADERS = {"X-Meterport": "1"}


class ApiError(Exception):
    """The device refused; `status` is the HTTP status, `body` its document, `errors` what is wrong where."""

    def __init__(self, status, body):
        self.status = status
        self.body = body
        self.errors = body.get("errors", [])
        text = "; ".join(f"{one['field']}: {one['text']}" if one["field"] else one["text"] for one in self.errors)
        super().__init__(f"{status}: {body.get('error')}" + (f" ({text})" if text else ""))


def _hmac(key, message):
    return hmac.digest(key, message, "sha256")


def salted(password, salt, iterations):
    """SaltedPassword, RFC 5802 3."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def password_record(password, salt=None, iterations=ITERATIONS):
    """What the device keeps instead of the password."""
    salt = salt or secrets.token_bytes(16)
    key = salted(password, salt, iterations)
    stored_key = hashlib.sha256(_hmac(key, b"Client Key")).digest()
    return {
        "salt": salt.hex(),
        "iterations": iterations,
        "stored_key": stored_key.hex(),
        "server_key": _hmac(key, b"Server Key").hex(),
    }


def proof(password, session, client_nonce=None):
    """(fields that prove the password, the signature that the device must answer with) for a document of
    /api/session."""
    client_nonce = client_nonce or secrets.token_hex(16)
    key = salted(password, bytes.fromhex(session["salt"]), session["iterations"])
    client_key = _hmac(key, b"Client Key")
    message = f"{client_nonce},{session['nonce']}".encode()
    mask = _hmac(hashlib.sha256(client_key).digest(), message)
    fields = {
        "client_nonce": client_nonce,
        "nonce": session["nonce"],
        "proof": bytes(a ^ b for a, b in zip(client_key, mask, strict=True)).hex(),
    }
    return fields, _hmac(_hmac(key, b"Server Key"), message).hex()


class Device:
    """One connection to a device, and a session once login() was called. A context manager.

    `connect`: a function that gives a connected socket, where it is not to be made here."""

    def __init__(self, host, port=80, timeout=TIMEOUT_S, connect=None):
        self.host = host
        self.cookie = None
        self._connect = connect
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._connection.close()

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes). `body`: an object, sent as JSON, or bytes."""
        headers = {"Accept-Encoding": "gzip", **_HEADERS, **(headers or {})}
        if self.cookie:
            headers.setdefault("Cookie", f"session={self.cookie}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        is_kept = self._connection.sock is not None
        try:
            response, data = self._exchange(method, path, body, headers)
        except (http.client.HTTPException, ConnectionError):
            if method != "GET" or not is_kept:
                raise
            # A device closes a connection on which nothing was asked for a while (RFC 9112, 9.3.1).
            response, data = self._exchange(method, path, body, headers)
        cookie = response.headers.get("Set-Cookie", "")
        if cookie.startswith("session="):
            self.cookie = cookie[len("session=") :].partition(";")[0] or None
        return response.status, response.headers, data

    def _exchange(self, method, path, body, headers):
        """(response, its bytes); connects where there is no connection, and leaves none behind an error."""
        if self._connect is not None and self._connection.sock is None:
            self._connection.sock = self._connect()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response, response.read()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            raise

    def call(self, method, path, body=None, headers=None):
        """The document that answers. Raises ApiError."""
        status, _, data = self.request(method, path, body, headers)
        document = json.loads(data)
        if status >= 400:
            raise ApiError(status, document)
        return document

    def fetch(self, path):
        """The bytes of a document. Raises ApiError."""
        status, headers, data = self.request("GET", path)
        if status >= 400:
            raise ApiError(status, json.loads(data))
        return gzip.decompress(data) if headers.get("Content-Encoding") == "gzip" else data

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None):
        return self.call("POST", path, {} if body is None else body)

    # -- what a technician does

    def session(self):
        return self.get("/api/session")

    def set_password(self, password, old=None):
        """The first password, or with `old` another one (while logged in, which asks for a proof all the same)."""
        fields = {}
        if old is not None:
            with self._logged_out():
                session = self.session()
            fields, _ = proof(old, session)
        return self.post("/api/password", password_record(password) | fields)

    @contextlib.contextmanager
    def _logged_out(self):
        """Fetches a nonce without the cookie, as a client without a session."""
        cookie, self.cookie = self.cookie, None
        try:
            yield
        finally:
            self.cookie = cookie

    def login(self, password):
        """Raises ApiError; ValueError when the device does not know the password itself."""
        fields, signature = proof(password, self.session())
        if self.post("/api/login", fields)["signature"] != signature:
            raise ValueError("this device was never given that password: it only pretends to check it")

    def logout(self):
        self.post("/api/logout")

    def config(self):
        return self.get("/api/config")

    def save(self, config):
        """What waits for a reboot then. `config`: an object, or JSON as bytes."""
        return self.call("PUT", "/api/config", config)["reboot_due"]

    def reboot(self, wait_s=60):
        """Restarts the device and waits until it answers again; wait_s=0 does not wait."""
        self.post("/api/reboot")
        self.close()
        deadline = time.monotonic() + wait_s
        # It goes a second later, or more, and answers until then: but this session ends with the restart.
        is_back = not wait_s
        while not is_back:
            time.sleep(_LOOK_S)
            try:
                is_back = not self.session()["logged_in"]
            except (OSError, http.client.HTTPException, ValueError):
                self.close()
            if not is_back and time.monotonic() > deadline:
                raise TimeoutError(f"the device has not come back within {wait_s} s")
        self.cookie = None
