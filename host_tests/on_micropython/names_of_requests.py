"""Runs on MicroPython, in a state directory: the firmware's web server, and what it keeps of requests that all differ.

Arguments: how many rounds, how many saves. In each round another letter of Unicode and another number come in by the
doors: method, path, query, name and value of a header, Host, Cookie, Origin, key and value of JSON, the fields of a
login. Each save is a configuration with other keys, names, profiles and values.

MicroPython keeps each text that it interns for good. Prints its count of them (micropython.qstr_info) and one JSON line
{"heap": bytes, "statuses": {status: times}} after the first rounds and at the end.
"""

import gc
import hashlib
import json
import sys

import micropython
import scram

from firmware import app, board
from firmware.net import seam

ROUNDS = int(sys.argv[1])
SAVES = int(sys.argv[2])
WARM = 300
KEY = b"k" * 32


class Stream:
    """A client's end without a socket: gives one request, counts the statuses of what is answered."""

    def __init__(self):
        self.input = b""
        self.head = b""

    def readinto(self, buf):
        n = min(len(buf), len(self.input))
        buf[:n] = self.input[:n]
        self.input = self.input[n:]
        return n or None

    def write(self, buf, at, n=None):
        if n is None:
            at, n = 0, at
        if not self.head:
            self.head = bytes(buf[at : at + n])
        return n

    def close(self):
        pass


statuses = {}


def ask(ip, method, target, lines, body=b""):
    """Sends one request on a connection of its own; the head of the response."""
    stream = Stream()
    slot = gateway.budget.open("http", (ip, 1024))
    slot.connection = connection = gateway.service("http").connection(stream, slot)
    stream.input = b"%s %s HTTP/1.1\r\nX-Meterport: 1\r\n%sContent-Length: %d\r\n\r\n%s" % (
        method, target, lines, len(body), body,
    )  # fmt: skip
    while stream.input:
        connection.on_input()
    connection.close()
    status = stream.head[9:12].decode()
    statuses[status] = statuses.get(status, 0) + 1
    return stream.head


def letter(k):
    """The k-th letter behind ASCII, in UTF-8, without those that none is (surrogates)."""
    code = 0x80 + k
    if code >= 0xD800:
        code += 0x800
    if code < 0x800:
        return bytes((0xC0 | code >> 6, 0x80 | code & 63))
    if code < 0x10000:
        return bytes((0xE0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63))
    return bytes((0xF0 | code >> 18, 0x80 | code >> 12 & 63, 0x80 | code >> 6 & 63, 0x80 | code & 63))


def quoted(raw):
    return b"".join([b"%%%02x" % byte for byte in raw])


def one_round(k):
    x = letter(k)
    q = quoted(x)
    host = b"Host: n%d\r\n" % k
    foreign = b"Host: n%d.example\r\n" % k
    origin = b"Origin: http://n%d\r\n" % k
    cookies = b"Cookie: session=%032x; a%d=%s\r\nCookie: b%d=%s\r\n" % (k, k, x, k, x)
    field = b"X-%d: %s\r\n" % (k, x)
    accepted = b'Accept-Encoding: c%d;q=0.%d\r\nIf-None-Match: "%s%d"\r\n' % (k, k, x, k)
    login = b'{"client_nonce":"%032x","nonce":"%048x","proof":"%064x","%s":"%s","%d":[%d,"%s%d"]}' % (
        k, k, k, x, x, k, k, x, k,
    )  # fmt: skip
    escaped = b'{"\\u%04x":"\\u%04x","nonce":"%s%d"}' % (k & 0x7FFF, k & 0x7FFF, x, k)
    ip = "10.%d.%d.%d" % (k >> 16, k >> 8 & 255, k & 255)
    ask(ip, b"GET", b"/%s%d?%s=%s" % (q, k, q, q), host + field + accepted)
    if k % 3 == 0:
        ask(ip, b"M%d" % k, b"/", host)
        ask(ip, b"POST", b"/api/scan?framing=%s%d,%s&baud=%d" % (q, k, q, k), host)
        ask(ip, b"POST", b"/api/login", host, escaped)
    elif k % 3 == 1:
        ask(ip, b"GET", b"/", foreign + accepted)
        ask(ip, b"POST", b"/api/scan?%s%d=%s" % (q, k, q), host + cookies)
        ask(ip, b"POST", b"/api/login", host + origin, login)
    else:
        ask(ip, b"GET", b"/api/history?p%d=%s" % (k, q), foreign + cookies)
        ask(ip, b"GET", b"/api/history?point=%d&%s" % (k, q), host + cookies)
        ask(ip, b"POST", b"/api/login", host + b"Origin: http://%s%d\r\n" % (x, k), login)


def log_in():
    """Sets a password; the header lines of a session's requests."""
    client_key = scram.hmac(KEY, b"Client Key")
    stored = hashlib.sha256(client_key).digest()
    server_key = scram.hmac(KEY, b"Server Key")
    record = {"salt": "00" * 16, "iterations": 4096, "stored_key": stored.hex(), "server_key": server_key.hex()}
    ask("127.0.0.1", b"POST", b"/api/password", b"Host: n\r\n", json.dumps(record).encode())
    nonce = gateway.service("http").logins.new_nonce("127.0.0.1")
    mask = scram.hmac(stored, b"0011223344556677," + nonce.encode())
    proof = bytes([mask[k] ^ client_key[k] for k in range(32)]).hex()
    fields = {"client_nonce": "0011223344556677", "nonce": nonce, "proof": proof}
    head = ask("127.0.0.1", b"POST", b"/api/login", b"Host: n\r\n", json.dumps(fields).encode())
    begin = head.find(b"session=")
    return b"Host: n\r\nCookie: " + head[begin : begin + 40] + b"\r\n"


def one_save(lines, k):
    x = letter(k)
    for body in (
        b'{"version":1,"%s%d":1,"http":{"%s":"%s%d"}}' % (x, k, x, x, k),
        b'{"version":1,"name":"%s","network":{"hostname":"%s%d","country":"%s"}}' % (x, x, k, x),
        b'{"version":1,"name":"n%d","http":{"names":["n%d","%s"]},"ntp":{"server":"%s%d"}}' % (k, k, x, x, k),
        b'{"version":1,"meters":[{"slot":1,"name":"%s%d","unit":1,"profile":"p%d"}]}' % (x, k, k),
        b'{"version":1,"meters":[{"slot":1,"name":"%s","unit":1,"profile":"%s%d"}]}' % (x, x, k),
        b'{"version":1,"buses":[{"uart":"/%s%d","framing":"%s"}]}' % (x, k, x),
    ):
        ask("127.0.0.1", b"PUT", b"/api/config", lines, body)
    ask("127.0.0.1", b"POST", b"/api/factory_reset", lines, b'{"confirm":"%s%d"}' % (x, k))
    ask("127.0.0.1", b"POST", b"/api/read", lines, b'{"%s%d":"%s","unit":"%s"}' % (x, k, x, x))
    ask("127.0.0.1", b"GET", b"/api/config?%d" % k, lines)


def measure():
    gc.collect()
    micropython.qstr_info()
    print(json.dumps({"heap": gc.mem_alloc(), "statuses": statuses}))


seam.install()
seam.interest = seam.unwatch = lambda *args: None  # a Stream is none that the loop knows
gateway = app.App(board.detect())
try:
    gateway.start()
    lines = log_in()
    for k in range(WARM):
        one_round(k)
        if k < SAVES:
            one_save(lines, k)
    measure()
    for k in range(WARM, max(ROUNDS, SAVES)):
        if k < ROUNDS:
            one_round(k)
        if k < SAVES:
            one_save(lines, k)
    measure()
finally:
    gateway.close()
