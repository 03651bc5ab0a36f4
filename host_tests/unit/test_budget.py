"""The socket budget: how many there are, who goes when one is needed, and that there is never one too many."""

import random

import pytest

from firmware.net import budget as budget_module
from firmware.net.budget import REASONS, STEP_S, Budget
from firmware.net.past_clients import PastClients
from host_tests.unit.fakes import SIX, TICKS_PERIOD, Uptime

ALL = list(SIX)
GRACE_MS = 1000  # in which a newcomer's first request is awaited


def make(events, limit=16, enabled=ALL, quota=4, tcp=16, udp=16, uptime=None):
    return Budget(limit, tcp, udp, enabled, {"http": quota}, uptime or Uptime(), events)


class Held:
    """A connection as the budget sees it."""

    def __init__(self, budget, kind):
        self.budget = budget
        self.slot = budget.open(kind, ("192.0.2.1", 1000))
        self.slot.connection = self
        self.closed = False

    def close(self):
        assert not self.closed
        self.closed = True
        self.budget.release(self.slot)

    def served(self, times=1):
        for _ in range(times):
            self.budget.served(self.slot)
        return self

    def busy(self, busy=True):
        self.slot.busy = busy
        return self


def connect(budget, kind):
    """What a listener does: asks, then accepts. None when the newcomer has to wait."""
    return Held(budget, kind) if budget.admit(kind) else None


def fill(budget, kind="modbus", served=True):
    held = []
    while budget.in_use() < budget.limit:
        one = connect(budget, kind)
        held.append(one.served() if served else one)
    return held


# -- how many


@pytest.mark.parametrize(
    ("off", "general"),
    [
        ((), 10),
        (("bacnet",), 11),
        (("bacnet", "posting"), 12),
        (("bacnet", "posting", "ntp"), 13),
        (("bacnet", "posting", "ntp", "finder", "http"), 15),
    ],
)
def test_what_the_services_leave_is_general(events, off, general):
    budget = make(events, enabled=[name for name in ALL if name not in off])
    assert budget.general == general
    assert budget.in_use() == 16 - general
    assert len(fill(budget)) == general
    assert budget.in_use() == 16


def test_the_eleventh_client_evicts_the_least_recently_used(events):
    budget = make(events)
    ten = fill(budget)
    ten[0].served()
    eleventh = connect(budget, "modbus")
    assert eleventh is not None
    assert [one.closed for one in ten] == [False, True] + [False] * 8
    assert budget.in_use() == 16


def test_a_configured_limit_above_16_stays_16(events):
    assert make(events, limit=99).limit == 16


def test_services_hold_their_slots_from_boot_on(events):
    budget = make(events, enabled=["http", "modbus", "ntp"])
    assert [slot.kind for slot in budget.ledger()] == ["http", "modbus", "ntp"]
    assert all(slot.role == "service" and not slot.open for slot in budget.ledger())
    assert budget.service_slot("ntp").kind == "ntp"
    assert budget.service_slot("bacnet") is None


@pytest.mark.parametrize("limit", range(2, 17))
def test_one_slot_always_stays_general_and_what_does_not_fit_is_named(events, limit):
    budget = make(events, limit=limit)
    fit = min(len(ALL), limit - 1)
    assert [slot.kind for slot in budget.services] == ALL[:fit]
    assert budget.refused_services == ALL[fit:]
    assert budget.general == limit - fit >= 1
    assert [text.split(" ")[0] for text in events.texts()] == ALL[fit:]
    assert connect(budget, "modbus") is not None


@pytest.mark.parametrize(
    ("tcp", "udp", "refused", "general"),
    [
        (16, 3, [], 10),
        (16, 2, ["ntp"], 11),
        (16, 0, ["bacnet", "finder", "ntp"], 13),
        (5, 16, [], 4),  # one of the five is for posting
        (1, 16, ["posting"], 1),
        (5, 2, ["ntp"], 4),  # a stock Pico W
        (12, 16, [], 10),
    ],
)
def test_a_board_with_fewer_connections_or_udp_sockets_offers_fewer(events, clock, tcp, udp, refused, general):
    budget = make(events, tcp=tcp, udp=udp)
    assert budget.refused_services == refused
    assert budget.general == general
    held = []
    for _ in range(general + 3):
        held.append(connect(budget, "modbus"))
        clock.advance_ms(GRACE_MS)
    assert sum(not one.closed for one in held) == general, "never more than the board can hold"


# -- who goes


def test_a_newcomer_is_let_in_without_harm_while_there_is_room(events):
    budget = make(events)
    held = [connect(budget, "modbus") for _ in range(10)]
    assert not any(one.closed for one in held)
    assert budget.evicted() == 0


def test_those_never_served_go_first_oldest_first(events, clock):
    budget = make(events)
    held = fill(budget, served=False)
    clock.advance_ms(GRACE_MS)
    for k in (0, 1, 3):
        held[k].served()
    for expected in (2, 4, 5):
        connect(budget, "modbus").served()
        assert held[expected].closed
        assert sum(one.closed for one in held) == (2, 4, 5).index(expected) + 1
    assert budget.evictions[budget_module.REASONS.index("unserved")] == 3


def test_then_those_with_nothing_in_flight_least_recently_used_first(events):
    budget = make(events)
    held = fill(budget)
    order = [7, 3, 9, 0, 1, 2, 4, 5, 6, 8]
    for k in order:
        held[k].served()
    held[7].busy()
    for expected in (3, 9, 0):
        connect(budget, "modbus").served()
        assert held[expected].closed
        assert not held[7].closed
    assert budget.evictions[budget_module.REASONS.index("idle")] == 3


def test_one_with_a_request_in_flight_goes_only_when_all_have_one(events):
    budget = make(events)
    held = [one.busy() for one in fill(budget)]
    held[4].busy(False)
    connect(budget, "modbus").served().busy()
    assert [k for k, one in enumerate(held) if one.closed] == [4]
    connect(budget, "modbus").served().busy()
    assert [k for k, one in enumerate(held) if one.closed] == [0, 4]
    assert budget.evictions[budget_module.REASONS.index("busy")] == 1


def test_a_busy_one_that_was_never_served_is_busy(events):
    budget = make(events)
    held = fill(budget)
    held[0].slot.requests = 0
    held[0].busy()
    connect(budget, "modbus")
    assert not held[0].closed
    assert held[1].closed


def test_who_has_just_come_is_spared_and_the_next_waits_until_one_of_them_is_served(events, clock):
    budget = make(events)
    held = fill(budget, served=False)
    assert connect(budget, "modbus") is None
    clock.advance_ms(GRACE_MS - 1)
    assert connect(budget, "modbus") is None
    for one in held[:8]:
        one.served()
    assert connect(budget, "modbus") is None, "two of ten have just come"
    held[8].served()
    assert connect(budget, "modbus") is not None
    assert [k for k, one in enumerate(held) if one.closed] == [0]
    assert budget.postponed == 3


def test_a_burst_of_new_connections_is_served_and_none_closed_unserved(events):
    budget = make(events)
    waiting = 40
    under_way = []
    while waiting or under_way:
        new = connect(budget, "modbus") if waiting else None
        if new:
            waiting -= 1
            under_way.append(new)
        else:
            under_way.pop(0).served()
    assert budget.evictions == [0, 30, 0, 0, 0]


def test_who_only_connects_takes_the_place_of_two_at_most(events, clock):
    budget = make(events)
    held = fill(budget)
    for _ in range(50):
        connect(budget, "modbus")
        connect(budget, "modbus")
        assert connect(budget, "modbus") is None
        clock.advance_ms(GRACE_MS)
    assert [k for k, one in enumerate(held) if one.closed] == [0, 1]


def test_a_browser_that_is_served_keeps_its_place_beside_one_that_never_asks(events, clock):
    budget = make(events)
    pollers = [connect(budget, "modbus").served() for _ in range(8)]
    reader = connect(budget, "http").served()
    silent = connect(budget, "http")
    for _ in range(20):
        assert connect(budget, "http") is None
        clock.advance_ms(GRACE_MS)
        reader.served()
        before, silent = silent, connect(budget, "http")
        assert before.closed
    assert not any(one.closed for one in [*pollers, reader])
    # Another browser that does ask takes the place of the least recently used, as ever.
    silent.served()
    assert connect(budget, "http") is not None
    assert reader.closed


def test_a_poller_takes_the_place_of_a_busy_browser_before_that_of_a_poller(events):
    budget = make(events)
    pollers = [connect(budget, "modbus").served() for _ in range(6)]
    browsers = [connect(budget, "http").served() for _ in range(4)]
    for gone in range(3):
        for one in browsers[gone:]:
            one.served()  # so that the pollers are the least recently used
        pollers.append(connect(budget, "modbus").served())
        assert [one.closed for one in browsers] == [True] * (gone + 1) + [False] * (3 - gone)
    assert not any(one.closed for one in pollers)
    # One place is left to browsers; from here on the least recently used goes, whoever it is.
    connect(budget, "modbus")
    assert [k for k, one in enumerate(pollers) if one.closed] == [0]
    assert not browsers[3].closed


def test_a_poller_waits_for_no_browser_whose_request_is_in_flight(events):
    budget = make(events)
    pollers = [connect(budget, "modbus").served() for _ in range(6)]
    browsers = [connect(budget, "http").served().busy() for _ in range(4)]
    assert connect(budget, "modbus") is not None
    assert [k for k, one in enumerate(pollers) if one.closed] == [0]
    assert not any(one.closed for one in browsers)


def test_nobody_with_a_request_in_flight_goes_while_one_has_just_come(events, clock):
    budget = make(events)
    held = [one.busy() for one in fill(budget)]
    held[3].close()
    new = connect(budget, "modbus")
    assert connect(budget, "modbus") is None
    clock.advance_ms(GRACE_MS)
    assert connect(budget, "modbus") is not None
    assert new.closed


def test_bytes_do_not_move_the_clock_only_served_requests_do(events, clock):
    budget = make(events)
    held = fill(budget)
    clock.advance_ms(60_000)
    held[0].slot.received += 1000
    assert held[0].slot.idle_ms() == 60_000
    connect(budget, "modbus")
    assert held[0].closed
    held[1].served()
    assert held[1].slot.idle_ms() == 0


# -- HTTP


def test_a_browsers_second_connection_waits_for_the_first_to_be_served(events, clock):
    budget = make(events, quota=1)
    first = connect(budget, "http")
    assert connect(budget, "http") is None
    assert connect(budget, "modbus") is not None
    first.served()
    assert connect(budget, "http") is not None
    assert first.closed


def test_http_holds_no_more_than_its_quota(events):
    budget = make(events, quota=3)
    browsers = [connect(budget, "http").served() for _ in range(3)]
    fourth = connect(budget, "http")
    assert fourth is not None
    assert [one.closed for one in browsers] == [True, False, False]
    assert budget.evictions[budget_module.REASONS.index("quota")] == 1
    assert budget.in_use() == 6 + 3, "although seven slots are free"


def test_a_browser_beside_pollers_evicts_its_own_connections_only(events):
    budget = make(events)
    pollers = [connect(budget, "modbus").served() for _ in range(9)]
    for _ in range(20):
        assert connect(budget, "http").served() is not None
    assert not any(one.closed for one in pollers)
    assert budget.in_use() == 16


def test_a_second_page_waits_for_the_first_and_closes_no_poller(events):
    budget = make(events)
    pollers = [connect(budget, "modbus").served() for _ in range(9)]
    browser = connect(budget, "http").served().busy()
    assert connect(budget, "http") is None
    assert budget.postponed == 1
    assert not browser.closed
    browser.busy(False)
    assert connect(budget, "http") is not None
    assert browser.closed
    assert not any(one.closed for one in pollers)


def test_listeners_that_wait_are_told_once_when_somebody_was_served_or_left(events):
    class Waiting:
        resumed = 0

        def resume(self):
            self.resumed += 1

    budget = make(events)
    first, second = fill(budget)[:2]
    waiting = Waiting()
    budget.waiting.append(waiting)
    first.served()
    second.served()
    assert waiting.resumed == 1
    budget.waiting.append(waiting)
    second.close()
    assert waiting.resumed == 2
    assert budget.waiting == []


def test_without_a_browser_a_page_closes_the_least_recently_used_idle_poller(events):
    budget = make(events)
    pollers = fill(budget)
    pollers[0].busy()
    assert connect(budget, "http") is not None
    assert [k for k, one in enumerate(pollers) if one.closed] == [1]


def test_with_every_poller_busy_the_page_waits_and_nobody_is_hurt(events):
    budget = make(events)
    pollers = [one.busy() for one in fill(budget)]
    for expected in (1, 2):
        assert connect(budget, "http") is None
        assert budget.postponed == expected
    assert not any(one.closed for one in pollers)
    assert budget.evicted() == 0
    pollers[6].busy(False)
    assert connect(budget, "http") is not None
    assert pollers[6].closed


def test_a_poller_may_take_the_place_of_a_browser(events):
    budget = make(events)
    browser = connect(budget, "http").served()
    pollers = [connect(budget, "modbus").served() for _ in range(9)]
    connect(budget, "modbus")
    assert browser.closed
    assert not any(one.closed for one in pollers)


# -- the books


def test_what_is_released_is_free_again(events):
    budget = make(events)
    held = fill(budget)
    held[5].close()
    assert budget.in_use() == 15
    connect(budget, "modbus")
    assert budget.evicted() == 0
    assert sum(one.closed for one in held) == 1


def test_high_water_and_accepted_are_counted(events):
    budget = make(events)
    assert budget.high_water == 6
    held = [connect(budget, "modbus") for _ in range(4)]
    for one in held:
        one.close()
    connect(budget, "modbus")
    assert (budget.high_water, budget.accepted) == (10, 5)


def test_every_eviction_is_counted_by_reason_and_logged(events, clock):
    budget = make(events)
    fill(budget, served=False)
    clock.advance_ms(GRACE_MS)
    connect(budget, "modbus")
    assert budget.evictions == [1, 0, 0, 0, 0]
    assert events.texts() == ["modbus connection closed: unserved"]


def test_the_ledger_names_services_first_then_connections_in_their_order(events):
    uptime = Uptime(77)
    budget = make(events, enabled=["http", "modbus"], uptime=uptime)
    held = [connect(budget, kind) for kind in ("modbus", "http", "modbus")]
    rows = list(budget.ledger())
    assert [(row.kind, row.role) for row in rows] == [
        ("http", "service"), ("modbus", "service"), ("modbus", "connection"), ("http", "connection"),
        ("modbus", "connection"),
    ]  # fmt: skip
    assert rows[2:] == [one.slot for one in held]
    assert {row.opened_s for row in rows[2:]} == {77}


@pytest.mark.parametrize("start", [(1 << 30) - 1, (1 << 30) - 5, (1 << 30) - 12, 0])
def test_the_order_of_use_survives_the_wrap_of_its_counter(events, start):
    budget = make(events)
    budget._use = start
    held = fill(budget)
    for k in (4, 2, 7):
        held[k].served()
    for expected in (0, 1, 3, 5, 6, 8, 9, 4, 2, 7):
        connect(budget, "modbus").served()
        assert held[expected].closed, "not in the order of use"
        assert sum(one.closed for one in held) == (0, 1, 3, 5, 6, 8, 9, 4, 2, 7).index(expected) + 1
    assert 0 <= budget._use < 1 << 30


def test_idle_time_survives_a_wrap_of_the_ticks(events, clock):
    clock.us = (TICKS_PERIOD - 100) * 1000
    budget = make(events)
    one = connect(budget, "modbus").served()
    clock.advance_ms(5000)
    assert one.slot.idle_ms() == 5000


class Model:
    """Who must go, said once more: a list sorted by the rules."""

    def __init__(self, general, quota):
        self.general = general
        self.quota = quota
        self.rows = []  # [held, kind, requests, busy, order of use, time of use]

    def victim_for(self, kind, now_ms):
        """ "free", "wait" or the row that goes."""
        mine = [row for row in self.rows if row[1] == kind]
        over = kind == "http" and len(mine) >= self.quota
        if len(self.rows) < self.general and not over:
            return "free"
        browsers = [row for row in self.rows if row[1] == "http"]
        if kind != "http":
            if len(browsers) > 1:
                found = self._goes(kind, browsers, True, now_ms)
                if found != "wait" and not found[3]:
                    return found
            return self._goes(kind, self.rows, False, now_ms)
        return self._goes(kind, mine or self.rows, bool(mine), now_ms)

    def _goes(self, kind, candidates, of_browsers, now_ms):
        new = [row for row in candidates if not row[2] and not row[3] and now_ms - row[5] < GRACE_MS]
        unserved = [row for row in candidates if not row[2] and not row[3] and row not in new]
        idle = [row for row in candidates if row[2] and not row[3]]
        busy = [row for row in candidates if row[3]]
        if unserved:
            allowed = unserved
        elif idle:
            spared = max(1, self.general // 5)
            if of_browsers:
                spared = min(spared, max(1, len(candidates) // 2))
            allowed = idle if len(new) < spared else []
        else:
            allowed = busy if not new and kind != "http" else []
        return min(allowed, key=lambda row: row[4]) if allowed else "wait"


@pytest.mark.parametrize("seed", range(12))
def test_a_long_random_life_follows_the_rules_and_never_passes_the_limit(events, clock, seed):
    luck = random.Random(seed)
    quota = luck.randint(1, 8)
    enabled = [name for name in ALL if name in ("http", "modbus") or luck.random() < 0.7]
    budget = make(events, limit=luck.randint(4, 16), enabled=enabled, quota=quota)
    budget._use = luck.choice([0, (1 << 30) - 300])
    model = Model(budget.general, quota)
    order = 0
    for _ in range(1500):
        what = luck.random()
        if what < 0.4 or not model.rows:
            kind = luck.choice(["modbus", "modbus", "http"])
            expected = model.victim_for(kind, clock.us // 1000)
            new = connect(budget, kind)
            assert (new is None) == (expected == "wait")
            if isinstance(expected, list):
                assert expected[0].closed
                model.rows.remove(expected)
            if new is not None:
                order += 1
                model.rows.append([new, kind, 0, False, order, clock.us // 1000])
        elif what < 0.75:
            row = luck.choice(model.rows)
            row[0].served()
            order += 1
            row[2] += 1
            row[4:] = order, clock.us // 1000
        elif what < 0.9:
            row = luck.choice(model.rows)
            row[3] = not row[3]
            row[0].busy(row[3])
        elif what < 0.96:
            row = luck.choice(model.rows)
            row[0].close()
            model.rows.remove(row)
        else:
            clock.advance_ms(luck.randint(1, 2 * GRACE_MS))
        assert [row[0].closed for row in model.rows] == [False] * len(model.rows)
        assert {id(slot.connection) for slot in budget.connections} == {id(row[0]) for row in model.rows}
        assert len(budget.connections) == len(model.rows)
        assert budget.in_use() <= budget.limit <= 16
        assert sum(slot.kind == "http" for slot in budget.connections) <= quota


# -- the last hours


def test_the_past_has_the_most_that_were_open_in_each_step_and_what_was_closed_before_its_time(events, clock):
    uptime = Uptime()
    budget = make(events, enabled=["http", "modbus"], limit=8, uptime=uptime)
    assert list(budget.past()) == [(2, 0)]
    held = [connect(budget, "modbus").served() for _ in range(3)]
    held[0].close()
    uptime.now = 2 * STEP_S + 1  # nothing happens in the second step
    assert list(budget.past()) == [(5, 0), (4, 0), (4, 0)]
    full = fill(budget)
    assert connect(budget, "modbus")
    for one in full[:2]:
        one.close()
    uptime.now = 3 * STEP_S
    assert list(budget.past()) == [(5, 0), (4, 0), (8, 1), (6, 0)]


def test_the_past_ends_after_twelve_hours_however_long_nothing_happens(events, clock):
    uptime = Uptime()
    budget = make(events, enabled=["http"], uptime=uptime)
    one = connect(budget, "http").served()
    uptime.now = 11 * 3600
    one.close()
    assert list(budget.past()) == [(2, 0)] * 67
    uptime.now = 1000 * 3600
    assert list(budget.past()) == [(1, 0)] * 72


def test_more_than_255_connections_closed_in_a_step_stay_255(events, clock):
    budget = make(events, limit=2, enabled=["modbus"])
    for _ in range(300):
        connect(budget, "modbus").served()
    assert list(budget.past()) == [(2, 255)]


# -- who was connected


def connection_of(budget, address, kind="modbus", port=1000):
    """A connection that was opened, with its ledger's slot."""
    assert budget.admit(kind)
    one = Held.__new__(Held)
    one.budget, one.closed = budget, False
    one.slot = budget.open(kind, (address, port))
    one.slot.connection = one
    return one


def past_clients(budget):
    names = ("kind", "address", "first_s", "last_s", "requests", "connections", "closed", "most", "reason")
    return [dict(zip(names, row, strict=True)) for row in budget.past_clients.rows()]


def test_a_client_that_has_gone_is_kept_with_its_times_and_requests(events):
    uptime = Uptime(100)
    budget = make(events, uptime=uptime)
    first = connection_of(budget, "192.0.2.7").served(3)
    uptime.now = 110
    second = connection_of(budget, "192.0.2.7", port=1001).served(2)
    assert past_clients(budget) == []
    uptime.now = 150
    second.close()
    uptime.now = 160
    first.close()
    connection_of(budget, "192.0.2.7", "http").close()
    assert past_clients(budget) == [
        {
            "kind": 1, "address": "192.0.2.7", "first_s": 100, "last_s": 160, "requests": 5, "connections": 2,
            "closed": 0, "most": 2, "reason": 0,
        },
        {
            "kind": 0, "address": "192.0.2.7", "first_s": 160, "last_s": 160, "requests": 0, "connections": 1,
            "closed": 0, "most": 1, "reason": 0,
        },
    ]  # fmt: skip


def test_a_client_that_was_closed_is_kept_with_the_reason_and_the_next_end_by_itself_has_none(events, clock):
    budget = make(events, limit=7)
    assert budget.general == 1
    connection_of(budget, "192.0.2.1").served()
    newcomer = connection_of(budget, "192.0.2.2").served()
    newcomer.close()
    rows = {row["address"]: (row["closed"], row["reason"]) for row in past_clients(budget)}
    assert rows == {"192.0.2.1": (1, 1 + REASONS.index("idle")), "192.0.2.2": (0, 0)}
    connection_of(budget, "192.0.2.1").close()
    assert past_clients(budget)[0]["reason"] == 0
    assert (past_clients(budget)[0]["connections"], past_clients(budget)[0]["closed"]) == (2, 1)


def test_a_client_more_than_there_are_rows_takes_the_place_of_the_one_gone_longest(events):
    uptime = Uptime()
    budget = make(events, uptime=uptime)
    for k in range(30):
        uptime.now = k
        connection_of(budget, f"10.0.0.{k}").close()
    rows = past_clients(budget)
    assert len(rows) == 24
    assert {row["address"] for row in rows} == {f"10.0.0.{k}" for k in range(6, 30)}
    assert budget.past_clients.lost == 6
    uptime.now = 50
    connection_of(budget, "10.0.0.6").close()  # comes back: its row becomes the newest
    uptime.now = 51
    connection_of(budget, "10.0.1.1").close()
    assert "10.0.0.6" in {row["address"] for row in past_clients(budget)}
    assert "10.0.0.7" not in {row["address"] for row in past_clients(budget)}


def test_bytes_of_other_columns_are_no_client(events):
    uptime = Uptime(0x04030201)  # the bytes 1 2 3 4: as an address
    budget = make(events, uptime=uptime)
    connection_of(budget, "9.9.9.2").close()
    connection_of(budget, "1.2.3.4").close()
    connection_of(budget, "1.2.3.4").close()
    assert [(row["address"], row["connections"]) for row in past_clients(budget)] == [("9.9.9.2", 1), ("1.2.3.4", 2)]


def test_counts_of_a_client_stop_at_what_their_bytes_hold(events):
    past = PastClients()
    for _ in range(0x10001):
        past.note(1, "192.0.2.1", 5, 6, 0x3FFFFFFF, 300, 2)
    assert list(past.rows()) == [(1, "192.0.2.1", 5, 6, 0x3FFFFFFF, 0xFFFF, 0xFFFF, 255, 2)]


@pytest.mark.parametrize("address", ["", "::1", "1.2.3", "1.2.3.400", "a.b.c.d"])
def test_an_address_of_another_kind_is_kept_as_zeros(address):
    past = PastClients()
    past.note(1, address, 5, 6, 7, 1, 0)
    assert [row[1] for row in past.rows()] == ["0.0.0.0"]


def test_without_memory_a_connection_is_released_all_the_same_and_counted(events, monkeypatch):
    budget = make(events)
    one = connection_of(budget, "192.0.2.7")

    def note(*row):
        raise MemoryError

    monkeypatch.setattr(budget.past_clients, "note", note)
    one.close()
    assert budget.connections == []
    assert budget.past_clients.lost == 1
