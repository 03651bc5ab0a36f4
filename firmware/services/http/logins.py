"""Who may try to log in, and what proves a password. The cryptography is in lib/scram.

The password itself never comes here: the device has what SCRAM's server keeps of it (PasswordFile), and each login
proves knowledge of it for one nonce.

A nonce is not remembered but marked: the time at which it was given out, and to whom, as an HMAC by a secret. So nobody
can push another's nonce out of a table. Only those that somebody has logged in with are kept, for as long as they would
be good, so that an exchange that was overheard opens nothing. Who fails waits, longer each time; the table of them
holds a few addresses, and nobody waits for what another has done.
"""

import os

import scram
from micropython import const

from firmware.config import store
from firmware.config.config_store import PASSWORD
from firmware.services.http.errors import Refused
from firmware.services.http.json_body import unhex

ITERATIONS = const(4096)  # RFC 7677 4: the least, and about what a slow phone does in a second
_NONCE_S = const(120)
_TIME = const(4)  # bytes of a nonce: uptime, random, mark
_RANDOM = const(8)
_MARK = const(12)
FAILURES_MAX = const(8)
_DELAY_MAX_S = const(300)
_FORGIVEN_S = const(900)
SPENT_MAX = const(8)


class PasswordFile:
    """What is kept of the password: salt, iterations, stored_key, server_key, in data/password. `is_set`: there is
    one."""

    def __init__(self):
        """Raises OSError."""
        self.is_set = False
        self.salt = self.stored_key = self.server_key = b""
        self.iterations = ITERATIONS
        text = store.load(PASSWORD)
        if text is not None:
            salt, iterations, stored_key, server_key = text.decode().split(" ")
            self._take(salt, int(iterations), stored_key, server_key)

    def save(self, salt, iterations, stored_key, server_key):
        """Keeps these, texts of hexadecimal digits. Raises OSError; the one before is kept then."""
        text = "%s %d %s %s" % (salt, iterations, stored_key, server_key)
        store.save(PASSWORD, text.lower().encode())
        self._take(salt, iterations, stored_key, server_key)

    def removed(self):
        """The file has been removed."""
        self.is_set = False
        self.salt = self.stored_key = self.server_key = b""
        self.iterations = ITERATIONS

    def _take(self, salt, iterations, stored_key, server_key):
        self.salt = bytes.fromhex(salt)
        self.iterations = iterations
        self.stored_key = bytes.fromhex(stored_key)
        self.server_key = bytes.fromhex(server_key)
        self.is_set = True


class _Failure:
    """An address whose logins have failed."""

    def __init__(self, ip):
        self.ip = ip
        self.in_a_row = 0
        self.not_before_s = 0


class Logins:
    """`password`: PasswordFile; `uptime_s`: function, seconds since boot."""

    def __init__(self, password, uptime_s, events):
        self._password = password
        self._uptime_s = uptime_s
        self._events = events
        self._secret = os.urandom(16)
        self.failures = []
        self.spent = []  # (nonce that somebody has logged in with, when)

    def new_nonce(self, ip):
        """For one login from that address."""
        body = self._uptime_s().to_bytes(_TIME, "big") + os.urandom(_RANDOM)
        return (body + self._mark(body, ip)).hex()

    def wait_s(self, ip):
        """Seconds until the next attempt from this address is looked at."""
        for failure in self.failures:
            if failure.ip == ip:
                return max(failure.not_before_s - self._uptime_s(), 0)
        return 0

    def prove(self, ip, given):
        """The device's own signature (hexadecimal) when `given` (client_nonce, nonce, proof) proves that the client
        knows the password. Raises Refused."""
        now_s = self._uptime_s()
        wait_s = self.wait_s(ip)
        if wait_s:
            raise _too_many("too early after a failure", wait_s)
        nonce = given.get("nonce")
        client_nonce = given.get("client_nonce")
        if not 8 <= len(unhex(client_nonce)) <= 32:
            raise Refused(422, "this is no login", ("client_nonce: must be 8 to 32 bytes in hexadecimal digits",))
        self.spent = [one for one in self.spent if now_s - one[1] <= _NONCE_S]
        if not self._is_ours(nonce, now_s, ip) or any([one[0] == nonce for one in self.spent]):
            raise Refused(403, "this nonce is not good any more: /api/session has another")
        if len(self.spent) >= SPENT_MAX:
            raise _too_many("too many logins", _NONCE_S)
        message = ("%s,%s" % (client_nonce, nonce)).encode()
        if not scram.proves(self._password.stored_key, message, unhex(given.get("proof"))):
            self._note_failure(ip, now_s)
            self._events.add("http", "login refused from %s" % ip)
            raise Refused(403, "wrong password")
        self.spent.append((nonce, now_s))
        self.failures = [one for one in self.failures if one.ip != ip]
        return scram.signature(self._password.server_key, message).hex()

    def _mark(self, body, ip):
        return scram.hmac(self._secret, body + ip.encode())[:_MARK]

    def _is_ours(self, nonce, now_s, ip):
        """Whether this address was given this nonce, and not too long ago. Capitals are not what was given."""
        raw = unhex(nonce)
        if len(raw) != _TIME + _RANDOM + _MARK or nonce != nonce.lower():
            return False
        body = raw[: _TIME + _RANDOM]
        age_s = now_s - int.from_bytes(raw[:_TIME], "big")
        return scram.equal(self._mark(body, ip), raw[_TIME + _RANDOM :]) and 0 <= age_s <= _NONCE_S

    def _note_failure(self, ip, now_s):
        self.failures = [one for one in self.failures if now_s - one.not_before_s < _FORGIVEN_S]
        for failure in self.failures:
            if failure.ip == ip:
                break
        else:
            if len(self.failures) >= FAILURES_MAX:
                soonest_s = min([one.not_before_s for one in self.failures])
                self.failures = [one for one in self.failures if one.not_before_s != soonest_s]
            failure = _Failure(ip)
            self.failures.append(failure)
        failure.in_a_row += 1
        failure.not_before_s = now_s + min(1 << min(failure.in_a_row - 1, 10), _DELAY_MAX_S)


def _too_many(why, wait_s):
    return Refused(429, "%s: wait %d s" % (why, wait_s), (), (("Retry-After", str(wait_s)),))
