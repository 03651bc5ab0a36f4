"""Talks to a gateway as its page does: sets the password, logs in, saves and restores its configuration, restarts it.

    python -m tools.device_api --host 192.168.1.50 set-password
    python -m tools.device_api --host 192.168.1.50 backup switchroom.json
    python -m tools.device_api --host 192.168.1.50 restore switchroom.json
    python -m tools.device_api --host 192.168.1.50 reboot

The password is asked for, or taken from the variable METERPORT_PASSWORD. It is never sent: SCRAM-SHA-256 (RFC 5802, RFC
7677) as docs/reference/http.md has it. A backup holds no secrets, and a restore keeps those that the device has.
"""

import argparse
import contextlib
import getpass
import hashlib
import hmac
import http.client
import json
import os
import secrets
import sys
import time
from pathlib import Path

TIMEOUT_S = 20
_RESTART_S = 1.5  # the device goes a second after it was told to, and until then may still answer
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
        if self._connect is not None and self._connection.sock is None:
            self._connection.sock = self._connect()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            data = response.read()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            raise
        cookie = response.headers.get("Set-Cookie", "")
        if cookie.startswith("session="):
            self.cookie = cookie[len("session=") :].partition(";")[0] or None
        return response.status, response.headers, data

    def call(self, method, path, body=None, headers=None):
        """The document that answers. Raises ApiError."""
        status, _, data = self.request(method, path, body, headers)
        document = json.loads(data)
        if status >= 400:
            raise ApiError(status, document)
        return document

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
        self.cookie = None
        deadline = time.monotonic() + wait_s
        time.sleep(min(wait_s, _RESTART_S))
        while wait_s:
            try:
                self.session()
                return
            except (OSError, http.client.HTTPException, ValueError):
                self.close()
            time.sleep(0.5)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the device has not come back within {wait_s} s")


def _password(again=False):
    given = os.environ.get("METERPORT_PASSWORD")
    if given:
        return given
    given = getpass.getpass("password: ")
    if again and getpass.getpass("again: ") != given:
        raise SystemExit("these were two different ones")
    return given


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", required=True, help="address or name of the device")
    parser.add_argument("--port", type=int, default=80)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("set-password", help="sets the first password (from the device's own network only)")
    commands.add_parser("status", help="prints /api/status")
    for name, text in (("backup", "writes the configuration into a file"), ("restore", "saves a configuration")):
        commands.add_parser(name, help=text).add_argument("file", type=Path)
    commands.add_parser("reboot", help="restarts the device and waits until it is back")
    options = parser.parse_args(arguments)
    try:
        with Device(options.host, options.port) as device:
            return _run(device, options)
    except (ApiError, OSError, ValueError, http.client.HTTPException) as error:
        print(f"{options.host}: {error}", file=sys.stderr)
        return 1


def _run(device, options):
    if options.command == "set-password":
        device.set_password(_password(again=True))
        return 0
    device.login(_password())
    if options.command == "status":
        print(json.dumps(device.get("/api/status"), indent=1))
    elif options.command == "backup":
        status, _, data = device.request("GET", "/api/config?download=1")
        if status != 200:
            raise ApiError(status, json.loads(data))
        options.file.write_bytes(data)
    elif options.command == "restore":
        due = device.save(options.file.read_bytes())
        print("saved; a reboot is due for: " + ", ".join(due) if due else "saved; nothing has changed")
    else:
        device.reboot()
    return 0


if __name__ == "__main__":
    sys.exit(main())
