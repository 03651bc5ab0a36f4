"""The password record and attempts to log in. The cryptography is in lib/scram.

The device never sees the password: it stores SCRAM's server keys (PasswordFile), and each login proves the password
for one nonce.

A nonce is signed instead of stored: time, number and the client's address carry an HMAC by a secret. So a flood of
requests cannot push another client's nonce out of a table. The numbers of used nonces are kept while they are valid,
so that a recorded login cannot be replayed; beyond SPENT_MAX all nonces up to the lowest kept one become invalid, and
a client asks for another.

After a failed login its address must wait, longer each time. The address's row stays until _FORGIVEN_S have passed;
when the table is full, further addresses have only the common delay, which grows with the failures of all. The common
delay does not apply to sessions or to addresses that have logged in lately: an attack from many addresses does not
lock out a known user.
"""

import os

import scram
from micropython import const

from firmware.config import store
from firmware.config.config_store import PASSWORD
from firmware.services.http.json_body import unhex
from firmware.services.http.response import Refused

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.events import Events

ITERATIONS = const(4096)  # RFC 7677 4: the least, and about what a slow phone does in a second
_NONCE_S = const(120)
_TIME = const(4)  # bytes of a nonce: uptime, number, HMAC
_NUMBER = const(4)
_MARK = const(16)
SPENT_MAX = const(8)  # nonces
FAILURES_MAX = const(16)  # addresses
KNOWN_MAX = const(4)  # addresses
_DELAY_MAX_S = const(300)
_FORGIVEN_S = const(900)
# The delay for all: after so many failures 1 s, and twice as long after each step. One failure is forgiven a minute.
_FREE = const(8)
_STEP = const(8)
_DELAY_ALL_MAX_S = const(60)
_FORGIVE_ALL_S = const(60)


class PasswordFile:
    """The password record in data/password: salt, iterations, stored_key, server_key. `is_set`: False without one."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.removed()
        text = store.load(PASSWORD)
        if text is not None:
            salt, iterations, stored_key, server_key = text.decode().split(" ")
            self._take(salt, int(iterations), stored_key, server_key)

    def save(self, salt: str, iterations: int, stored_key: str, server_key: str) -> None:
        """Stores a record of hexadecimal texts. Raises OSError and keeps the old record."""
        text = "%s %d %s %s" % (salt, iterations, stored_key, server_key)
        store.save(PASSWORD, text.lower().encode())
        self._take(salt, iterations, stored_key, server_key)

    def removed(self) -> None:
        """Clears the record: its file has been removed."""
        self.is_set = False
        self.salt = self.stored_key = self.server_key = b""
        self.iterations = ITERATIONS

    def _take(self, salt, iterations, stored_key, server_key):
        self.salt = bytes.fromhex(salt)
        self.iterations = iterations
        self.stored_key = bytes.fromhex(stored_key)
        self.server_key = bytes.fromhex(server_key)
        self.is_set = True


class Logins:
    """`uptime_s`: function, seconds since boot. `failures`: [address, failures in a row, not before (s)]; `spent`:
    (number, time in s) of used nonces; `known`: addresses that have logged in, the latest at the end."""

    def __init__(self, password: PasswordFile, uptime_s: "Callable[[], int]", events: "Events") -> None:
        self._password = password
        self._uptime_s = uptime_s
        self._events = events
        self._secret = os.urandom(16)
        self._number = 0  # of the nonce that was issued last
        self._invalid_to = 0  # nonces up to this number
        self.spent: list = []
        self.failures: list = []
        self.known: list = []
        self._all_failures = 0
        self._all_forgiven_s = 0  # when one of them was forgiven last
        self._all_not_before_s = 0

    def new_nonce(self, ip: str) -> str:
        """Makes a nonce for one login from that address, in hexadecimal digits."""
        self._number += 1
        body = self._uptime_s().to_bytes(_TIME, "big") + self._number.to_bytes(_NUMBER, "big")
        return (body + self._mark(body, ip)).hex()

    def wait_s(self, ip: str, has_session: bool = False) -> int:
        """Seconds until an attempt from this address is accepted."""
        now_s = self._uptime_s()
        not_before_s = 0 if has_session or ip in self.known else self._all_not_before_s
        for failure in self.failures:
            if failure[0] == ip:
                not_before_s = max(not_before_s, failure[2])
        return max(not_before_s - now_s, 0)

    def verify(self, ip: str, fields: dict, has_session: bool = False) -> str:
        """Checks the proof of the password in `fields` (client_nonce, nonce, proof); returns ServerSignature in
        hexadecimal digits. Raises Refused."""
        now_s = self._uptime_s()
        wait_s = self.wait_s(ip, has_session)
        if wait_s:
            headers = (("Retry-After", str(wait_s)),)
            raise Refused(429, "too early after a failed login: wait %d s" % wait_s, (), headers)
        nonce = fields.get("nonce")
        client_nonce = fields.get("client_nonce")
        if not 8 <= len(unhex(client_nonce)) <= 32:
            raise Refused(422, "this is no login", ("client_nonce: must be 8 to 32 bytes in hexadecimal digits",))
        number = self._number_of(unhex(nonce), now_s, ip)
        if not number or number <= self._invalid_to or any([row[0] == number for row in self.spent]):
            raise Refused(403, "this nonce is not valid any more: /api/session has another")
        message = ("%s,%s" % (client_nonce, nonce)).encode()
        if not scram.proves(self._password.stored_key, message, unhex(fields.get("proof"))):
            self._note_failure(ip, now_s)
            self._events.add("http", "login refused from %s" % ip)
            raise Refused(403, "wrong password")
        self._note_success(ip, number, now_s)
        return scram.signature(self._password.server_key, message).hex()

    def _mark(self, body, ip):
        return scram.hmac(self._secret, body + ip.encode())[:_MARK]

    def _number_of(self, nonce, now_s, ip):
        """The number of a nonce that this address got within _NONCE_S; 0 for any other."""
        body = nonce[: _TIME + _NUMBER]
        age_s = now_s - int.from_bytes(nonce[:_TIME], "big")
        if not scram.equal(self._mark(body, ip), nonce[_TIME + _NUMBER :]) or not 0 <= age_s <= _NONCE_S:
            return 0
        return int.from_bytes(nonce[_TIME : _TIME + _NUMBER], "big")

    def _note_success(self, ip, number, now_s):
        self.spent = [row for row in self.spent if now_s - row[1] <= _NONCE_S]
        self.spent.append((number, now_s))
        if len(self.spent) > SPENT_MAX:
            lowest = min(self.spent)
            self.spent.remove(lowest)
            self._invalid_to = lowest[0]
        self.failures = [failure for failure in self.failures if failure[0] != ip]
        self.known = [known for known in self.known if known != ip][1 - KNOWN_MAX :] + [ip]

    def _note_failure(self, ip, now_s):
        forgiven = (now_s - self._all_forgiven_s) // _FORGIVE_ALL_S
        self._all_forgiven_s += forgiven * _FORGIVE_ALL_S
        self._all_failures = max(self._all_failures - forgiven, 0) + 1
        if self._all_failures >= _FREE:
            steps = min((self._all_failures - _FREE) // _STEP, 10)
            self._all_not_before_s = now_s + min(1 << steps, _DELAY_ALL_MAX_S)
        self.failures = [failure for failure in self.failures if now_s - failure[2] < _FORGIVEN_S]
        for failure in self.failures:
            if failure[0] == ip:
                break
        else:
            if len(self.failures) >= FAILURES_MAX:
                return
            failure = [ip, 0, 0]
            self.failures.append(failure)
        failure[1] += 1
        failure[2] = now_s + min(1 << min(failure[1] - 1, 10), _DELAY_MAX_S)
