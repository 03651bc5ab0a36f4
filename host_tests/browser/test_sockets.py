"""What an open page costs: the sockets that tabs hold, seen and hidden, by the gateway's own ledger."""

import contextlib

import pytest

from host_tests.browser.visit import Ledger
from host_tests.system.rig import HOST, wait_for

IDLE_S = 3  # http.idle_timeout_s: longer than the page's pauses
UNSERVED_S = 10  # docs/reference/http.md: connection that never asks


@pytest.fixture
def rig(make_rig):
    return make_rig(config={"http": {"idle_timeout_s": IDLE_S}})


@pytest.fixture
def ledger(rig):
    with contextlib.closing(Ledger(rig)) as made:
        yield made


def open_page(rig, tabs):
    tab = tabs.open(f"http://{HOST}:{rig.http_port}/")
    tabs.wait_for(tab, "document.querySelectorAll('tr[data-slot]').length > 0")
    return tab


def test_a_tab_holds_one_socket_two_hold_two_at_most_and_hidden_ones_hold_none(rig, ledger, tabs):
    first = open_page(rig, tabs)
    # With the address Chromium opens a spare connection, on which nothing is ever asked.
    assert ledger.most(tabs.pause) <= 2
    wait_for(lambda: tabs.pause() or ledger.browsers() == 1, UNSERVED_S + 2, "the spare one is closed")
    assert ledger.most(tabs.pause) == 1

    # A second tab hides the first.
    second = open_page(rig, tabs)
    assert tabs.evaluate(first, "document.hidden")
    assert 1 <= ledger.most(tabs.pause) <= 2

    asked = tabs.evaluate(first, "performance.getEntriesByType('resource').length")
    tabs.show(tabs.open("about:blank"))
    wait_for(lambda: tabs.pause() or tabs.evaluate(second, "document.hidden"), what="both hidden")
    wait_for(lambda: tabs.pause() or ledger.browsers() == 0, UNSERVED_S + 2, "no connection")
    assert ledger.most(tabs.pause) == 0
    assert tabs.evaluate(first, "performance.getEntriesByType('resource').length") == asked

    tabs.show(first)
    wait_for(lambda: tabs.pause() or ledger.browsers() == 1, what="the page asks again once it is seen")
    assert sum(ledger.document()["evictions"][reason] for reason in ("idle", "busy", "quota")) == 0
