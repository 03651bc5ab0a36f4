"""Passwords, logins and sessions: what proves what, who may, and what an attacker gets out of it."""

import json

import pytest

from firmware.services.http import logins, sessions
from firmware.services.http.response import Refused
from host_tests.unit.http_rig import OURS, PASSWORD, Rig
from tools import device_api


@pytest.fixture
def make(monkeypatch, events, clock, tmp_path):
    return lambda **options: Rig(monkeypatch, events, clock, tmp_path, **options)


@pytest.fixture
def gateway(make):
    return make()


@pytest.fixture
def locked(gateway):
    """A gateway with a password."""
    gateway.set_password(PASSWORD)
    return gateway


def record(**changes):
    return device_api.password_record(PASSWORD, b"0123456789abcdef") | changes


# -- set-up


def test_a_new_device_says_so_and_takes_a_password_from_its_own_network(gateway):
    session = gateway.get("/api/session").json()
    assert (session["setup"], session["logged_in"], session["salt"], session["name"]) == (True, False, "", "gate")
    assert gateway.post("/api/password", record()).status == 200
    session = gateway.get("/api/session").json()
    assert (session["setup"], session["salt"], session["iterations"]) == (False, b"0123456789abcdef".hex(), 4096)


@pytest.mark.parametrize(
    ("ip", "details", "status"),
    [
        ("192.0.2.9", ("192.0.2.1", "255.255.255.0"), 200),
        ("192.0.3.9", ("192.0.2.1", "255.255.254.0"), 200),
        ("192.0.3.9", ("192.0.2.1", "255.255.255.0"), 403),
        ("10.0.0.1", ("192.0.2.1", "255.255.255.0"), 403),
        ("127.0.0.1", ("192.0.2.1", "255.255.255.0"), 200),
        ("10.9.8.7", ("10.0.2.15", None), 200),
        ("172.31.0.1", (None, None), 200),
        ("172.32.0.1", (None, None), 403),
        ("192.168.9.9", ("192.0.2.1", "255.255.255.255"), 200),
        ("169.254.1.1", (None, None), 200),
        ("8.8.8.8", ("10.0.2.15", None), 403),
    ],
)
def test_the_first_password_comes_from_the_local_network_only(gateway, ip, details, status):
    gateway.link.known = (*details, None, None, None, None)
    assert gateway.post("/api/password", record(), ip=ip).status == status
    assert gateway.get("/api/session").json()["setup"] is (status != 200)


def test_the_second_password_needs_a_session_and_a_proof_of_the_first(locked):
    other = device_api.password_record("other")
    assert locked.post("/api/password", other).status == 403
    cookie = locked.login(PASSWORD)
    assert locked.post("/api/password", other, cookie=cookie).status == 422
    fields, _ = device_api.proof("wrong", locked.get("/api/session").json())
    assert locked.post("/api/password", other | fields, cookie=cookie).status == 403
    locked.uptime.now += 2
    fields, _ = device_api.proof(PASSWORD, locked.get("/api/session").json())
    assert locked.post("/api/password", other | fields, cookie=cookie).status == 200
    assert locked.login("other")


def test_with_a_new_password_all_other_sessions_end(locked):
    first, second = locked.login(PASSWORD), locked.login(PASSWORD)
    fields, _ = device_api.proof(PASSWORD, locked.get("/api/session").json())
    assert locked.post("/api/password", record() | fields, cookie=second).status == 200
    assert locked.get("/api/session", cookie=first).json()["logged_in"] is False
    assert locked.get("/api/session", cookie=second).json()["logged_in"] is True


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"salt": ""}, "salt"), ({"salt": "00" * 7}, "salt"), ({"salt": "00" * 33}, "salt"),
        ({"salt": "xx" * 8}, "salt"), ({"iterations": "4096"}, "iterations"),
        ({"salt": 1}, "salt"), ({"stored_key": "00" * 31}, "stored_key"), ({"server_key": None}, "server_key"),
        ({"iterations": 1000}, "iterations"), ({"iterations": True}, "iterations"),
        ({"iterations": 10**9}, "iterations"), ({"salt": "0 " * 8}, "salt"), ({"salt": "\u0661" * 16}, "salt"),
    ],
)  # fmt: skip
def test_a_password_record_that_is_wrong_is_refused_beside_its_field(gateway, changes, field):
    response = gateway.post("/api/password", record(**changes))
    assert response.status == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert gateway.get("/api/session").json()["setup"] is True


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b'"x"', b"{", b"\xff\xff", b"[" * 500])
def test_what_is_no_object_is_400(gateway, body):
    if body:
        assert gateway.post("/api/password", body).status == 400
    assert gateway.get("/api/session").json()["setup"] is True


def test_what_is_kept_is_not_the_password_and_survives_a_restart(locked, tmp_path):
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert PASSWORD.encode() not in kept
    locked.restart()
    assert locked.login(PASSWORD)


# -- login


def test_login_gives_a_cookie_and_the_devices_own_proof(locked):
    fields, signature = device_api.proof(PASSWORD, locked.get("/api/session").json())
    response = locked.post("/api/login", fields)
    assert response.json() == {"signature": signature}
    assert response.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict")
    cookie = response.headers["set-cookie"].partition(";")[0]
    assert len(cookie) == len("session=") + 32
    session = locked.get("/api/session", cookie=cookie).json()
    assert session["logged_in"]


def test_login_is_refused_before_a_password_is_set(gateway):
    fields, _ = device_api.proof("", gateway.get("/api/session").json() | {"salt": "00" * 16})
    assert gateway.post("/api/login", fields).status == 403


def test_an_exchange_that_was_overheard_opens_nothing(locked):
    fields, _ = device_api.proof(PASSWORD, locked.get("/api/session").json())
    assert locked.post("/api/login", fields).status == 200
    for change in ({}, {"client_nonce": fields["client_nonce"].upper()}, {"nonce": fields["nonce"].upper()}):
        assert locked.post("/api/login", fields | change).status == 403
        locked.uptime.now += 10


def test_a_nonce_is_valid_for_two_minutes_and_its_own_address(locked):
    session = locked.get("/api/session", ip="192.0.2.8").json()
    fields, _ = device_api.proof(PASSWORD, session)
    assert locked.post("/api/login", fields, ip="192.0.2.9").status == 403
    locked.uptime.now += 121
    assert locked.post("/api/login", fields, ip="192.0.2.8").status == 403
    forged = {**session, "nonce": "00" * 24}
    assert locked.post("/api/login", device_api.proof(PASSWORD, forged)[0], ip="192.0.2.8").status == 403


def test_a_flood_of_nonces_leaves_other_nonces_valid(locked):
    session = locked.get("/api/session", ip="192.0.2.8").json()
    for _ in range(300):
        locked.get("/api/session", ip="192.0.2.66")
    assert locked.post("/api/login", device_api.proof(PASSWORD, session)[0], ip="192.0.2.8").status == 200


def fail(gateway, ip="192.0.2.9"):
    """The status of a login by a wrong password."""
    fields, _ = device_api.proof("wrong", gateway.get("/api/session", ip=ip).json())
    return gateway.post("/api/login", fields, ip=ip).status


def attempt(gateway, ip="192.0.2.9"):
    """The response to a login by the right password."""
    fields, _ = device_api.proof(PASSWORD, gateway.get("/api/session", ip=ip).json())
    return gateway.post("/api/login", fields, ip=ip)


def test_delays_grow_with_failures_but_not_for_the_address_of_a_session(locked):
    waits = []
    assert attempt(locked, "192.0.2.77").status == 200
    for _ in range(11):
        assert fail(locked) == 403
        early = attempt(locked)
        assert early.status == 429
        waits.append(int(early.headers["retry-after"]))
        assert locked.get("/api/session").json()["wait_s"] == waits[-1]
        assert attempt(locked, "192.0.2.77").status == 200, "who has logged in before does not wait"
        locked.uptime.now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert attempt(locked).status == 200
    assert locked.get("/api/session").json()["wait_s"] == 0


def test_the_delay_of_an_address_is_not_shed_by_failures_of_others(locked):
    for _ in range(8):
        assert fail(locked) == 403
        locked.uptime.now += locked.get("/api/session").json()["wait_s"]
    assert fail(locked) == 403
    wait_s = locked.get("/api/session").json()["wait_s"]
    assert wait_s == 256
    for k in range(100, 140):
        ip = f"192.0.2.{k}"
        locked.uptime.now += locked.get("/api/session", ip=ip).json()["wait_s"]
        assert fail(locked, ip) == 403
        if locked.uptime.now < 100 + 256:
            assert fail(locked) == 429
    assert len(locked.service.logins.failures) <= logins.FAILURES_MAX


def guesses(gateway, addresses, duration_s):
    """How many wrong passwords are looked at when so many addresses try all the time."""
    end_s = gateway.uptime.now + duration_s
    count = 0
    prove = gateway.service.logins
    while gateway.uptime.now < end_s:
        for k in range(addresses):
            ip = f"10.0.{k // 250}.{k % 250}"
            if prove.wait_s(ip) == 0:
                with pytest.raises(Refused):
                    prove.verify(ip, {"client_nonce": "00" * 16, "nonce": prove.new_nonce(ip), "proof": "00" * 32})
                count += 1
        gateway.uptime.now += 1
    return count


@pytest.mark.parametrize(("addresses", "most"), [(1, 30), (12, 300), (250, 300)])
def test_addresses_in_plenty_guess_about_once_a_minute(locked, addresses, most):
    assert guesses(locked, addresses, 3600) <= most
    assert len(locked.service.logins.failures) <= logins.FAILURES_MAX


def test_login_works_while_other_addresses_guess(locked):
    """At once where he has logged in before; elsewhere after the delay that he is told, a minute at most."""
    attempt(locked, "192.0.2.77")
    guesses(locked, 250, 3600)
    again = attempt(locked, "192.0.2.77")
    assert again.status == 200
    cookie = again.headers["set-cookie"].partition(";")[0]
    fields, _ = device_api.proof(PASSWORD, locked.get("/api/session", cookie=cookie, ip="192.0.2.78").json())
    changed = locked.send("POST", "/api/password", record() | fields, cookie=cookie, ip="192.0.2.78")
    assert changed.status == 200, "a session does not wait either"
    refused = attempt(locked, "192.0.2.79")
    if refused.status != 200:
        wait_s = int(refused.headers["retry-after"])
        assert (refused.status, wait_s <= 60) == (429, True)
        locked.uptime.now += wait_s
        assert attempt(locked, "192.0.2.79").status == 200


def test_the_delay_for_all_is_forgiven(locked):
    for k in range(40):
        locked.uptime.now += 60
        fail(locked, f"192.0.2.{k}")
    assert attempt(locked, "192.0.2.200").status == 200
    for k in range(40):
        fail(locked, f"192.0.3.{k}")
    assert attempt(locked, "192.0.2.201").status == 429
    locked.uptime.now += 3600
    assert attempt(locked, "192.0.2.201").status == 200
    fail(locked, "192.0.3.41")
    assert attempt(locked, "192.0.2.202").status == 200


def test_many_good_logins_delay_no_login(locked):
    for _ in range(50):
        assert attempt(locked).status == 200
    assert attempt(locked, "192.0.2.200").status == 200
    assert len(locked.service.logins.spent) <= logins.SPENT_MAX


def test_no_nonce_is_good_twice_however_many_logins_follow(locked):
    sessions_ = [locked.get("/api/session").json() for _ in range(30)]
    exchanges = [device_api.proof(PASSWORD, session)[0] for session in sessions_]
    assert locked.post("/api/login", exchanges[29]).status == 200
    used = {29}
    for k in range(29):
        if locked.post("/api/login", exchanges[k]).status == 200:
            used.add(k)
        for one in used:
            assert locked.post("/api/login", exchanges[one]).status == 403
    assert len(used) > logins.SPENT_MAX


@pytest.mark.parametrize("field", ["client_nonce", "nonce", "proof"])
@pytest.mark.parametrize("value", [None, 1, [], {}, "", "zz", "00", "0" * 300, "\u00e4" * 32])
def test_fields_of_a_login_may_be_anything_and_open_nothing(locked, field, value):
    fields, _ = device_api.proof(PASSWORD, locked.get("/api/session").json())
    assert locked.post("/api/login", fields | {field: value}).status in (403, 422)


# -- sessions


def test_a_session_ends_after_an_hour_without_use_and_not_before(locked):
    cookie = locked.login(PASSWORD)
    for _ in range(5):
        locked.uptime.now += 3599
        assert locked.get("/api/session", cookie=cookie).json()["logged_in"]
    locked.uptime.now += 3600
    assert not locked.get("/api/session", cookie=cookie).json()["logged_in"]


def test_the_least_recently_used_of_five_sessions_goes(locked):
    cookies = [locked.login(PASSWORD) for _ in range(4)]
    assert locked.get("/api/session", cookie=cookies[0]).json()["logged_in"]
    cookies.append(locked.login(PASSWORD))
    alive = [locked.get("/api/session", cookie=cookie).json()["logged_in"] for cookie in cookies]
    assert alive == [True, False, True, True, True]


def test_logging_out_ends_this_session_and_no_other(locked):
    one, other = locked.login(PASSWORD), locked.login(PASSWORD)
    response = locked.post("/api/logout", {}, cookie=one)
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert not locked.get("/api/session", cookie=one).json()["logged_in"]
    assert locked.get("/api/session", cookie=other).json()["logged_in"]


def test_cookies_are_random_and_kept_as_hashes_only(locked):
    cookies = {locked.login(PASSWORD) for _ in range(5)}
    assert len(cookies) == 5
    kept = repr(locked.service.sessions._sessions)
    assert not any(cookie.partition("=")[2] in kept for cookie in cookies)


@pytest.mark.parametrize(
    "cookie", ["session=", "session", "session=x", "Session=", ";;;", "a=b; session=zz", "session=" + "0" * 32]
)
def test_other_cookies_are_no_session(locked, cookie):
    locked.login(PASSWORD)
    assert not locked.get("/api/session", cookie=cookie).json()["logged_in"]


def test_the_cookie_is_found_among_others(locked):
    cookie = locked.login(PASSWORD)
    assert locked.get("/api/session", cookie=f"theme=dark; {cookie}; x=y").json()["logged_in"]
    for lines in ((cookie, "a=b"), ("a=b", cookie), ("a=b; c=d", f"e=f;{cookie}", "g=h")):
        response = locked.ask("GET", "/api/session", [f"Cookie: {line}" for line in lines])
        assert response.json()["logged_in"], "in one of several lines"


def test_a_login_while_logged_in_replaces_the_session(locked):
    one = locked.login(PASSWORD)
    fields, _ = device_api.proof(PASSWORD, locked.get("/api/session").json())
    other = locked.post("/api/login", fields, cookie=one).headers["set-cookie"].partition(";")[0]
    assert not locked.get("/api/session", cookie=one).json()["logged_in"]
    assert locked.get("/api/session", cookie=other).json()["logged_in"]


# -- requests of other sites


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((OURS,), 200),
        ((OURS, "Origin: http://gateway"), 200),
        ((OURS, "Origin: https://gateway"), 200),
        ((), 403),
        ((OURS, "Origin: http://evil.example"), 403),
        ((OURS, "Origin: null"), 403),
        ((OURS, "Origin: http://gateway:81"), 403),
        ((OURS, "Origin: "), 403),
        ((OURS, "Origin: http://gateway, http://evil.example"), 403),
    ],
)
def test_state_is_changed_by_our_own_page_and_by_programs_only(gateway, headers, status):
    response = gateway.ask("POST", "/api/password", headers, json.dumps(record()).encode())
    assert response.status == status
    assert gateway.get("/api/session").json()["setup"] is (status != 200)
    assert not any(name.startswith("access-control") for name in response.headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.1", 200), ("192.0.2.1:8080", 200), ("gate", 200), ("GATE:80", 200), ("gate.local", 200),
        ("localhost:8080", 200), ("127.0.0.1", 200), ("127.0.0.1.", 200), ("[fe80::1]:80", 200), ("gate.", 200),
        ("gate.fritz.box", 200), ("GATE.lan:8080", 200), ("gate.home.arpa.", 200), ("other.lan", 200),
        ("meters.example.org", 200), ("Meters.Example.org.:8443", 200),
        ("rebound.evil.example", 421), ("192.0.2.1.evil.example", 421), ("evil.example:80", 421),
        ("gateevil.example", 421),
        ("x.gate.evil.example", 421), ("local.evil.example", 421), ("x.local.evil.example", 421),
        ("evil.example.", 421), ("x.meters.example.org", 421), ("lan.evil.example", 421), ("evillan.example", 421),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/session", "/api/status"])
def test_the_device_answers_to_its_own_names_only(gateway, host, status, path):
    gateway.config["names"] = ["Meters.example.org"]
    gateway.restart()
    assert gateway.ask("GET", path, host=host).status == status


def test_a_name_that_only_begins_with_the_host_name_changes_nothing_without_a_login(make):
    """It may be that of an attacker who has turned it on the device: DNS rebinding."""
    gateway = make(commissioning=True)
    host = "gate.evil.example"
    body = json.dumps(record()).encode()
    assert gateway.post("/api/password", body, host=host).status == 421
    assert gateway.get("/api/session").json()["setup"] is True
    assert gateway.post("/api/scan", host=host).status == 421
    assert gateway.buses.scans == []
    gateway.set_password()
    fields, _ = device_api.proof(PASSWORD, gateway.get("/api/session", host=host).json())
    response = gateway.post("/api/login", fields, host=host)
    assert response.status == 200
    cookie = response.headers["set-cookie"].partition(";")[0]
    assert gateway.post("/api/scan", cookie=cookie, host=host).status == 200
    for host in ("gate.lan", "gate", "192.0.2.1", "gate.local."):
        assert gateway.post("/api/scan", host=host).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://meters.example.org", 200), ("https://Meters.example.org:8443", 200), ("http://gateway", 200),
        ("https://evil.example", 403), ("https://meters.example.org.evil.example", 403), ("null", 403),
        ("https://evil.example/meters.example.org", 403), ("meters.example.org", 403),
    ],
)  # fmt: skip
def test_a_page_of_a_configured_name_may_change_state_behind_a_proxy(gateway, origin, status):
    gateway.config["names"] = ["meters.example.org"]
    gateway.restart()
    body = json.dumps(record()).encode()
    assert gateway.ask("POST", "/api/password", (OURS, f"Origin: {origin}"), body).status == status


@pytest.mark.parametrize("path", ["/api/login", "/api/logout", "/api/password"])
def test_get_changes_nothing(locked, path):
    cookie = locked.login(PASSWORD)
    response = locked.get(path, cookie=cookie)
    assert (response.status, response.headers["allow"]) == (405, "POST")
    assert locked.get("/api/session", cookie=cookie).json()["logged_in"]


def test_the_tables_of_the_guard_are_bounded(locked):
    for _ in range(12):
        locked.login(PASSWORD)
        locked.uptime.now += 30
    assert len(locked.service.sessions) == sessions.SESSIONS_MAX
    assert len(locked.service.logins.spent) <= logins.SPENT_MAX
