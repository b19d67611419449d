"""The limiters, on a clock that is an argument; tests carry the numbers of the rules in that module.

`LimiterMachine` checks every grant by brute force against all that was granted before; with
``TICKRING_HYPOTHESIS=random`` in more than 10^5 steps. The mutants at the end are limiters with one rule
broken: each must be found.
"""

from __future__ import annotations

import heapq
import os
import random
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from workers.contract.errors import BadRequest
from workers.contract.headers import header, retry_after
from workers.contract.protocols import HTTPMethod, Priority, RateLimitContext
from workers.rest.quota import ANSWER_SOON, SLOTS, BookingWindow, Quota
from workers.rest.ratelimit import SHARES, SHORTEST_WAIT, BucketLimiter, Window, WindowLimiter

GET, POST, DELETE = HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.DELETE
CANCEL, NEW, QUERY, SNAPSHOT, BACKGROUND = Priority

STEPS = 50
EXAMPLES = 3000 if os.environ.get("TICKRING_HYPOTHESIS") == "random" else 60


def weigh(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
    return int((params or {}).get("w", 1))


def orders(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
    return int(method is POST)


def limiter(budget: int = 100, limit: int | None = None, **options: Any) -> WindowLimiter:
    window = Window(
        name="weight", per=60.0, limit=limit or budget, budget=budget, weigh=weigh, used_header="X-Used"
    )
    return WindowLimiter([window], **options)


def ask(limits: WindowLimiter, weight: int, now: float, priority: Priority = CANCEL) -> float:
    return limits.acquire(GET, "/x", {"w": weight}, now, priority)


def fill(limits: WindowLimiter, now: float, priority: Priority, weight: int = 1) -> int:
    granted = 0
    while not ask(limits, weight, now, priority):
        granted += weight
    return granted


# -- windows --------------------------------------------------------------------------------------------
def test_rule_1_no_span_of_a_minute_holds_more_than_the_budget() -> None:
    limits, chance, now, spent = limiter(100), random.Random(1), 0.0, []
    for _ in range(20_000):
        now += chance.expovariate(5.0)
        weight = chance.randint(1, 30)
        while wait := ask(limits, weight, now):
            assert SHORTEST_WAIT <= wait <= 60.0
            now += wait
        spent.append((now, weight))
    assert overshoot(spent, 60.0, 100) == 0


def overshoot(granted: list[tuple[float, int]], per: float, budget: int) -> int:
    """The most by which a span of `per` seconds passes the budget; those that begin with a grant suffice."""
    most = total = first = 0
    for at, weight in granted:
        total += weight
        while granted[first][0] + per <= at:
            total -= granted[first][1]
            first += 1
        most = max(most, total - budget)
    return most


def test_rule_1_exactly_the_budget_is_given_and_again_after_the_window() -> None:
    limits = limiter(100)
    assert fill(limits, 0.0, CANCEL) == 100
    assert ask(limits, 1, 59.999) > 0
    assert fill(limits, 60.0, CANCEL) == 100


def test_rule_2_all_windows_are_booked_or_none() -> None:
    limits = WindowLimiter(
        [
            Window(name="weight", per=60.0, limit=10, weigh=weigh),
            Window(name="orders", per=10.0, limit=2, weigh=orders),
        ]
    )
    for _ in range(2):
        assert limits.acquire(POST, "/order", None, 0.0, CANCEL) == 0
    for _ in range(100):  # refused by the second window, and the first one does not pay for it
        assert limits.acquire(POST, "/order", None, 1.0, CANCEL) == 9.0
    for _ in range(8):
        assert limits.acquire(GET, "/x", None, 1.0, CANCEL) == 0
    for _ in range(100):  # refused by the first window
        assert limits.acquire(POST, "/order", None, 10.0, CANCEL) == 50.0
    assert limits.acquire(POST, "/order", None, 60.0, CANCEL) == 0


def test_rule_2_per_endpoint_limits_are_windows_that_weigh_the_others_nothing() -> None:
    limits = WindowLimiter(
        [
            Window(name="all", per=1.0, limit=100),
            Window(
                name="/slow", per=1.0, limit=2, weigh=lambda method, endpoint, params: endpoint == "/slow"
            ),
        ]
    )
    granted = [not limits.acquire(GET, "/slow", None, 0.0, CANCEL) for _ in range(5)]
    assert granted == [True, True, False, False, False]
    assert limits.acquire(GET, "/fast", None, 0.0, CANCEL) == 0


def test_rule_3_the_venues_own_count_holds_back_even_if_ours_does_not() -> None:
    limits = limiter(100, limit=1000)
    assert ask(limits, 1, 0.0) == 0
    limits.observe(200, {"x-used": "960"}, 1.0, 0.5)
    assert ask(limits, 40, 2.0) == 0
    assert ask(limits, 1, 2.0) == ANSWER_SOON  # 960 + 40 are the limit, unless the answers say otherwise
    for _ in range(2):
        limits.release(GET, "/x", 2.0)
    assert ask(limits, 1, 2.0) == 59.0  # and there were none
    assert ask(limits, 1, 61.0) == 0


def test_rule_3_a_count_that_was_never_renewed_is_believed_as_long_as_configured() -> None:
    day = Window(name="day", per=86_400.0, limit=10, used_header="X-Day", trusted_for=3600.0)
    limits = WindowLimiter([day])
    limits.observe(200, {"X-Day": "10"}, 0.0)
    assert limits.acquire(GET, "/x", None, 0.0, CANCEL) == 3600.0
    assert limits.acquire(GET, "/x", None, 3600.0, CANCEL) == 0


@pytest.mark.parametrize("value", ["", "x", "-5", "1e9", "12.5", "٣x"])
def test_rule_3_a_header_that_makes_no_sense_is_left_alone(value: str) -> None:
    limits = limiter()
    limits.observe(200, {"X-Used": value}, 0.0)
    assert ask(limits, 100, 0.0) == 0


def test_rule_4_an_answer_does_not_undo_what_was_booked_after_its_request_was_sent() -> None:
    limits = limiter(1000)
    assert ask(limits, 10, 0.0) == 0  # its answer takes its time
    for _ in range(9):
        assert ask(limits, 100, 1.0) == 0
    limits.observe(200, {"X-Used": "10"}, 2.0, 0.5)
    assert ask(limits, 91, 2.0) > 0
    assert ask(limits, 90, 2.0) == 0


def test_rule_4_an_answer_to_an_earlier_request_is_no_news() -> None:
    limits = limiter(1000)
    limits.observe(200, {"X-Used": "990"}, 2.0, 1.0)
    limits.observe(200, {"X-Used": "5"}, 3.0, 0.5)
    assert ask(limits, 11, 3.0) > 0
    assert ask(limits, 10, 3.0) == 0


def test_rule_4_a_smaller_count_of_a_later_request_is_the_next_window() -> None:
    limits = limiter(100, limit=1000)
    limits.observe(200, {"X-Used": "990"}, 2.0, 1.0)
    limits.observe(200, {"X-Used": "5"}, 4.0, 3.0)
    assert fill(limits, 4.0, CANCEL) == 100


def test_rule_4_what_late_answers_told_is_kept_until_a_second_later_request_says_otherwise() -> None:
    limits = limiter(1000)
    limits.observe(200, {"X-Used": "990"}, 2.0, 1.0)
    for used, sent in ((700, 0.6), (500, 0.5)):  # of the next window, perhaps, and sent before
        limits.observe(200, {"X-Used": str(used)}, 2.5, sent)
    limits.observe(200, {"X-Used": "5"}, 4.0, 3.0)
    assert ask(limits, 301, 4.0) > 0
    assert ask(limits, 300, 4.0) == 0
    limits.observe(200, {"X-Used": "8"}, 6.0, 5.0)
    assert ask(limits, 700, 6.0) == 0


def test_rule_4_requests_may_overtake_one_another_within_the_margin() -> None:
    window = Window(name="weight", per=60.0, limit=100, weigh=weigh, used_header="X-Used", margin=0.5)
    limits = WindowLimiter([window])
    assert ask(limits, 90, 1.0) == 0  # sent first, arrives second
    limits.observe(200, {"X-Used": "5"}, 2.0, 1.4)
    assert ask(limits, 6, 2.0) > 0
    assert ask(limits, 5, 2.0) == 0


def test_rule_4_without_the_time_of_sending_what_came_since_the_last_count_is_kept() -> None:
    limits = limiter(100)
    assert ask(limits, 30, 0.0) == 0
    limits.observe(200, {"X-Used": "30"}, 1.0)
    assert ask(limits, 30, 2.0) == 0
    limits.observe(200, {"X-Used": "40"}, 3.0)
    assert ask(limits, 31, 3.0) > 0
    assert ask(limits, 30, 3.0) == 0


def test_rule_4_the_count_is_exact_once_all_in_flight_were_answered() -> None:
    limits = limiter(100)
    assert ask(limits, 50, 0.0) == 0
    assert ask(limits, 30, 0.0) == 0
    limits.observe(200, {"X-Used": "50"}, 1.0, 0.0)
    limits.release(GET, "/x", 1.0)
    assert ask(limits, 20, 1.0) == ANSWER_SOON  # 50, and perhaps 30 of them are the other's
    limits.observe(200, {"X-Used": "80"}, 1.0, 0.0)
    limits.release(GET, "/x", 1.0)
    assert ask(limits, 20, 1.0) == 0


def test_rule_4_an_answer_that_was_lost_leaves_the_doubt() -> None:
    limits = limiter(100)
    assert ask(limits, 50, 0.0) == 0
    assert ask(limits, 30, 0.0) == 0
    limits.observe(200, {"X-Used": "50"}, 1.0, 0.0)
    limits.release(GET, "/x", 1.0)
    limits.release(GET, "/x", 1.0)
    assert ask(limits, 20, 1.0) == 60.0


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "3"}, 3.0),
        (429, {}, 10.0),
        (418, {}, 120.0),
        (418, {"retry-after": "600"}, 600.0),
        (
            429,
            {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:30 GMT"},
            30.0,
        ),
    ],
)
def test_rule_5_cooldown(status: int, headers: dict[str, str], wait: float) -> None:
    limits = limiter()
    limits.observe(status, headers, 50.0)
    assert ask(limits, 1, 50.0) == wait
    assert limits.blocked_for(51.0) == wait - 1
    assert ask(limits, 1, 50.0 + wait) == 0
    assert limits.hits == 1


def test_rule_5_a_shorter_cooldown_does_not_shorten_a_longer_one() -> None:
    limits = limiter()
    limits.observe(418, {"Retry-After": "600"}, 0.0)
    limits.observe(429, {"Retry-After": "1"}, 1.0)
    assert limits.blocked_for(1.0) == 599.0


def test_rule_5_who_has_no_orders_left_can_still_cancel() -> None:
    windows = [
        Window(name="weight", per=60.0, limit=100, weigh=weigh, used_header="X-Used"),
        Window(name="orders", per=86_400.0, limit=10, weigh=orders, used_header="X-Orders"),
    ]
    limits = WindowLimiter(windows)
    limits.observe(429, {"X-Used": "50", "X-Orders": "10", "Retry-After": "90000"}, 100.0)
    assert limits.acquire(POST, "/order", None, 200.0, NEW) == 89_900.0
    assert limits.acquire(DELETE, "/order", None, 200.0, CANCEL) == 0
    limits = WindowLimiter(windows)  # it does not say which: everything stops
    limits.observe(429, {"X-Used": "50", "Retry-After": "7200"}, 0.0)
    assert limits.acquire(DELETE, "/order", None, 0.0, CANCEL) == 7200.0
    limits = WindowLimiter(windows)  # a ban stops everything whatever it says
    limits.observe(418, {"X-Used": "50", "X-Orders": "10", "Retry-After": "7200"}, 0.0)
    assert limits.acquire(DELETE, "/order", None, 0.0, CANCEL) == 7200.0


def test_rule_6_each_class_leaves_a_reserve_to_the_more_urgent() -> None:
    limits = limiter(1000)
    given = {priority: fill(limits, 0.0, priority) for priority in reversed(Priority)}
    assert given == {BACKGROUND: 500, SNAPSHOT: 350, QUERY: 50, NEW: 50, CANCEL: 50}


def test_rule_6_the_reserve_holds_for_the_venues_count_too() -> None:
    limits = limiter(1000, limit=2000)
    limits.observe(200, {"X-Used": "1000"}, 0.0, 0.0)
    assert ask(limits, 1, 0.0, BACKGROUND) == 60.0
    assert ask(limits, 1, 0.0, CANCEL) == 0


def test_rule_6_heavier_than_its_share_waits_for_an_empty_window_and_not_for_ever() -> None:
    limits = limiter(100)
    assert ask(limits, 80, 0.0, BACKGROUND) == 0
    assert ask(limits, 80, 1.0, BACKGROUND) == 59.0
    assert ask(limits, 10, 1.0, CANCEL) == 0
    assert ask(limits, 80, 60.0, BACKGROUND) == 1.0
    assert ask(limits, 80, 61.0, BACKGROUND) == 0


def test_rule_6_heavier_than_the_whole_is_refused_at_once() -> None:
    with pytest.raises(BadRequest, match="weighs 101, more than the whole budget of 100") as caught:
        ask(limiter(), 101, 0.0)
    assert not caught.value.sent


@pytest.mark.parametrize("bad", [{CANCEL: 0.0}, {NEW: 1.5}, {BACKGROUND: 0.9, SNAPSHOT: 0.8}])
def test_rule_6_shares_make_sense(bad: dict[Priority, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        limiter(shares=bad)


def test_rule_7_a_day_of_orders_is_held_in_a_few_hundred_entries() -> None:
    ledger = BookingWindow(86_400.0)
    for number in range(400_000):
        now = number * 0.5  # two days and more
        ledger.expire(now)
        ledger.book(1, now)
        assert len(ledger) <= SLOTS + 1
    ledger.expire(200_000.0)
    assert 172_800 <= ledger.spent <= 172_800 * (1 + 1.5 / SLOTS)


def test_a_window_that_makes_no_sense_is_refused() -> None:
    for bad in ({"per": 0.0}, {"limit": 0}, {"budget": 0}, {"margin": -1.0}):
        with pytest.raises(ValueError, match="needs"):
            Window(**{"name": "x", "per": 1.0, "limit": 1, **bad})  # type: ignore[arg-type]
    window = Window(name="x", per=1.0, limit=1)
    for windows in ([], [window, window]):
        with pytest.raises(ValueError, match="name of its own"):
            WindowLimiter(windows)


def test_context_and_repr_tell_what_the_limiter_does() -> None:
    limits = limiter(budget=60, limit=100)
    limits.observe(200, {"X-Used": "7"}, 0.0)
    assert limits.context("/x").requests_per_second == 1.0
    assert limits.context("/x").burst_capacity == 60
    assert repr(limits) == "WindowLimiter(weight 0/60, venue 7+0/100; hits=0)"


# -- headers --------------------------------------------------------------------------------------------
def test_headers_are_found_whatever_their_case() -> None:
    assert header({"X-Used": "1"}, "x-used") == "1"
    assert retry_after({"retry-after": "2"}) == 2.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "inf"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),  # since when?
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:27:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:29:30 GMT"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "today"}, 0.0),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date_without_the_answers_own_by_our_wall_clock() -> None:
    assert retry_after({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, wall=1792567660.0) == 20.0


# -- a venue that counts --------------------------------------------------------------------------------
class CountingVenue:
    """Counts what arrives in fixed windows, ours and other clients' weight, and tells it in its answers."""

    def __init__(self, per: float) -> None:
        self.per = per
        self.turn = -1
        self.used = 0
        self.worst = 0
        self.ours: list[tuple[float, int]] = []

    def receive(self, at: float, weight: int, ours: bool = True) -> int:
        if at // self.per != self.turn:
            self.turn, self.used = int(at // self.per), 0
        self.used += weight
        if ours:
            self.worst = max(self.worst, self.used)
            self.ours.append((at, weight))
        return self.used


def race(limits: WindowLimiter, seconds: float, weight: int, others: float = 0.0) -> CountingVenue:
    """Unlimited demand; requests travel 10 to 110 ms each way and overtake one another. `others`: weight a
    second of other clients, one at a time."""
    chance, venue = random.Random(7), CountingVenue(60.0)
    events: list[tuple[float, int, str, float]] = []  # (at, tie-breaker, what, number)
    number, now, free_at = 0, 0.0, 0.0
    while True:
        while events and events[0][0] <= free_at:
            now, _, what, value = heapq.heappop(events)
            number += 1
            if what == "other":
                venue.receive(now, 1, ours=False)
                heapq.heappush(events, (now + 1.0 / others, number, "other", 0.0))
            elif what == "arrives":
                used = venue.receive(now, weight)
                heapq.heappush(events, (now + chance.uniform(0.01, 0.11), number, f"answer {used}", value))
            else:
                limits.observe(200, {"X-Used": what.split()[1]}, now, value)
                limits.release(GET, "/x", now)
                free_at = min(free_at, now)  # an answer may make room
        now = free_at
        if now > seconds:
            return venue
        if others and not number:
            heapq.heappush(events, (0.0, -1, "other", 0.0))
        if wait := ask(limits, weight, now):
            free_at = min(now + wait, events[0][0]) if events else now + wait
        else:
            number += 1
            heapq.heappush(events, (now + chance.uniform(0.01, 0.11), number, "arrives", now))
            free_at = now + 0.002


def race_window(limit: int, budget: int | None = None) -> Window:
    return Window(
        name="w", per=60.0, limit=limit, budget=budget, weigh=weigh, used_header="X-Used", margin=0.25
    )


def test_the_venue_never_counts_more_than_its_limit_and_95_percent_of_it_are_used() -> None:
    venue = race(WindowLimiter([race_window(6000)]), 1800.0, weight=5)
    assert venue.worst <= 6000
    assert overshoot(venue.ours, 60.0, 6000) <= 0  # in no sliding minute either
    assert sum(weight for _, weight in venue.ours) >= 0.95 * 6000 * 1800 / 60


def test_with_other_clients_on_the_address_the_limit_holds_too() -> None:
    venue = race(WindowLimiter([race_window(6000)]), 900.0, weight=5, others=40.0)
    assert venue.worst <= 6000 + 40 * 0.25  # what the others sent since the last count
    assert sum(weight for _, weight in venue.ours) >= 0.95 * (6000 - 2400) * 15


def test_negative_control_without_the_header_the_others_push_it_over_the_limit() -> None:
    window = Window(name="w", per=60.0, limit=6000, weigh=weigh, margin=0.25)
    assert race(WindowLimiter([window]), 300.0, weight=5, others=40.0).worst > 6000 + 40


# -- the machine ----------------------------------------------------------------------------------------
class LimiterMachine(RuleBasedStateMachine):
    """Requests of all classes over three windows, with answers that come late, out of order or never."""

    quota: ClassVar[type[Quota]] = Quota
    limiter: ClassVar[type[WindowLimiter]] = WindowLimiter

    WINDOWS = (
        Window(name="weight", per=60.0, limit=300, budget=200, weigh=weigh, used_header="X-Used"),
        Window(name="orders", per=10.0, limit=20, weigh=orders, used_header="X-Orders"),
        Window(name="/slow", per=1.0, limit=3, weigh=lambda method, endpoint, _: endpoint == "/slow"),
    )
    HEADERS: ClassVar = {"X-Used": 0, "X-Orders": 1}

    def __init__(self) -> None:
        super().__init__()
        self.limits = self.limiter(self.WINDOWS)
        self.limits._quotas = tuple(map(self.quota, self.WINDOWS))
        self.limits._counted = {
            quota.window.used_header.lower(): quota
            for quota in self.limits._quotas
            if quota.window.used_header
        }
        self.now = 1000.0
        self.granted: tuple[list[tuple[float, int, Priority]], ...] = ([], [], [])
        self.flying: list[tuple[float, list[int]]] = []  # (sent, the venue's counts when it had it)
        self.floors: list[list[tuple[float, float, int]]] = [[], [], []]  # (sent, told, count) by window
        self.cooled = False
        self.heavy: list[float] = [
            float("-inf")
        ] * 3  # when one was let through that was heavier than its share

    def spent(self, index: int, more_urgent: bool = False) -> int:
        """Brute force: what was granted in the window that ends now."""
        per = self.WINDOWS[index].per
        return sum(
            weight
            for at, weight, priority in self.granted[index]
            if at + per > self.now and (not more_urgent or priority is CANCEL)
        )

    def ask(self, method: HTTPMethod, endpoint: str, weight: int, priority: Priority) -> bool:
        params = {"w": weight}
        weights = [window.weigh(method, endpoint, params) for window in self.WINDOWS]
        before = [self.spent(index) for index in range(3)]
        wait = self.limits.acquire(method, endpoint, params, self.now, priority)
        if wait:
            assert wait >= SHORTEST_WAIT
            if priority is CANCEL:
                self.check_refused_cancel(weights)
            return False
        for index, window in enumerate(self.WINDOWS):
            if not weights[index]:
                continue
            allowed = int(window.whole * SHARES[priority] + 1e-9)
            if weights[index] > allowed:  # rule 6
                assert before[index] == 0
                self.heavy[index] = self.now
            else:
                assert before[index] + weights[index] <= allowed
            self.granted[index].append((self.now, weights[index], priority))
            assert self.spent(index) <= window.whole  # rule 1
            self.check_count(index)
        self.flying.append((self.now, [self.spent(index) for index in range(3)]))
        return True

    def check_count(self, index: int) -> None:
        """Rules 3 and 4: the newest count that is believed, and what was booked since, keep the limit."""
        window = self.WINDOWS[index]
        counts = [each for each in self.floors[index] if self.now < each[1] + window.per]
        if counts:
            sent, _, count = max(reversed(counts), key=lambda each: each[0])  # of equals the last
            since = sum(
                weight for at, weight, _ in self.granted[index] if at > sent and at + window.per > self.now
            )
            assert count + since <= window.limit

    def check_refused_cancel(self, weights: list[int]) -> None:
        """No starvation: while only lower classes fill their share, a cancel that fits the reserve passes."""
        if self.cooled or any(self.floors):
            return
        for index, window in enumerate(self.WINDOWS):
            reserve = window.whole - int(window.whole * SHARES[NEW] + 1e-9)
            longest = window.per * (1 + 1 / SLOTS)  # rule 7
            cancels = sum(
                weight
                for at, weight, priority in self.granted[index]
                if priority is CANCEL and at + longest > self.now
            )
            if self.heavy[index] + longest > self.now or weights[index] + cancels > reserve:
                return
        raise AssertionError("a cancel was refused although the reserve has room for it")

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.25, 1.0, 2.5, 9.75, 10.0, 59.0, 60.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        method=st.sampled_from([GET, POST]),
        endpoint=st.sampled_from(["/x", "/slow"]),
        weight=st.sampled_from([1, 5, 40, 190]),
        priority=st.sampled_from(Priority),
    )
    def one(self, method: HTTPMethod, endpoint: str, weight: int, priority: Priority) -> None:
        self.ask(method, endpoint, weight, priority)

    @rule(
        method=st.sampled_from([GET, POST]),
        priority=st.sampled_from(Priority),
        gap=st.sampled_from([0.0, 0.1]),
    )
    def until_refused(self, method: HTTPMethod, priority: Priority, gap: float) -> None:
        while self.ask(method, "/x", 5, priority):
            self.now += gap

    @rule(weight=st.sampled_from([1, 5]))
    def patient(self, weight: int) -> None:
        """Waits as told, with nothing in flight; the waits are bounded, and the end of them is a grant."""
        while self.flying:
            self.lose(0)
        for _ in range(5):
            before = self.now
            if self.ask(DELETE, "/x", weight, CANCEL):
                return
            wait = self.limits.acquire(DELETE, "/x", {"w": weight}, self.now, CANCEL)
            assert 0 < wait <= 120.0
            self.now = before + wait
        raise AssertionError("waited as told, five times, and never got through")

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 1 << 20))
    def lose(self, which: int) -> None:
        """A request that is never answered; the venue may have counted it."""
        self.flying.pop(which % len(self.flying))
        self.limits.release(GET, "/x", self.now)

    @precondition(lambda self: self.flying)
    @rule(
        which=st.integers(0, 1 << 20),
        after=st.sampled_from([0.0, 0.05, 3.0]),
        others=st.sampled_from([0, 0, 60]),
    )
    def answer(self, which: int, after: float, others: int) -> None:
        sent, counts = self.flying.pop(which % len(self.flying))
        self.now += after
        shown = {name: counts[index] + others for name, index in self.HEADERS.items()}
        self.limits.observe(200, {name: str(count) for name, count in shown.items()}, self.now, sent)
        self.limits.release(GET, "/x", self.now)
        for name, index in self.HEADERS.items():
            newest = max(
                (each for each in self.floors[index] if self.now < each[1] + self.WINDOWS[index].per),
                default=None,
            )
            if newest is None or sent >= newest[0]:
                self.floors[index].append((sent, self.now, shown[name]))

    @rule(status=st.sampled_from([429, 418]), seconds=st.sampled_from([1, 15, 100]))
    def hit(self, status: int, seconds: int) -> None:
        self.limits.observe(status, {"Retry-After": str(seconds)}, self.now)
        assert self.limits.acquire(DELETE, "/x", None, self.now, CANCEL) >= seconds - 1e-9
        self.cooled = True

    @invariant()
    def the_ledgers_hold_what_was_granted(self) -> None:
        """Nothing more (rule 2: not what was refused), nothing less, and not much longer (rule 7)."""
        for index, window in enumerate(self.WINDOWS):
            ledger = self.limits._quotas[index].bookings
            ledger.expire(self.now)
            longest = window.per * (1 + 1 / SLOTS)
            at_most = sum(weight for at, weight, _ in self.granted[index] if at + longest >= self.now)
            assert self.spent(index) <= ledger.spent <= at_most


TestLimiterMachine = LimiterMachine.TestCase
TestLimiterMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)


# -- buckets --------------------------------------------------------------------------------------------
def bucket(rate: float = 10.0, burst: int = 20, **more: Any) -> RateLimitContext:
    return RateLimitContext(requests_per_second=rate, burst_capacity=burst, **more)


def take(limits: BucketLimiter, now: float, endpoint: str = "/x", priority: Priority = CANCEL) -> float:
    return limits.acquire(GET, endpoint, None, now, priority)


def test_a_bucket_gives_its_burst_at_once_and_its_rate_after_that() -> None:
    limits = BucketLimiter(bucket())
    assert sum(not take(limits, 0.0) for _ in range(100)) == 20
    assert take(limits, 0.0) == pytest.approx(0.1)
    now, granted = 0.0, 0
    while now < 100.0:
        wait = take(limits, now)
        granted += not wait
        now += wait
    assert granted == pytest.approx(1000, abs=1)


def test_a_bucket_never_gives_more_than_burst_and_rate_in_any_span() -> None:
    limits, chance, now, granted = BucketLimiter(bucket()), random.Random(3), 0.0, []
    for _ in range(3000):
        now += chance.choice([0.0, 0.0, 0.01, 0.3, 3.0])
        if not take(limits, now):
            granted.append(now)
    for first, start in enumerate(granted):
        for count, end in enumerate(granted[first : first + 100], start=1):
            assert count <= 20 + 10 * (end - start) + 1e-6


def test_an_endpoint_has_a_bucket_of_its_own_and_all_share_one() -> None:
    limits = BucketLimiter(
        bucket(burst=10), {"/orders": bucket(1.0, 2), "/orders/all": bucket(1.0, 3, endpoint_weight=3)}
    )
    assert [not take(limits, 0.0, "/orders/17") for _ in range(3)] == [True, True, False]
    assert [not take(limits, 0.0, "/orders") for _ in range(2)] == [False, False]
    assert [not take(limits, 0.0, "/orders/all") for _ in range(2)] == [True, False]
    assert sum(not take(limits, 0.0, "/ordersome") for _ in range(20)) == 7  # what is left of the ten
    assert limits.context("/orders/17").burst_capacity == 2
    assert limits.context("/x").burst_capacity == 10


def test_a_bucket_refusal_takes_nothing_from_the_other_bucket() -> None:
    limits = BucketLimiter(bucket(burst=10), {"/orders": bucket(1.0, 1)})
    for _ in range(50):
        take(limits, 0.0, "/orders")
    assert sum(not take(limits, 0.0) for _ in range(20)) == 9


def test_a_bucket_leaves_a_reserve_and_starves_nobody() -> None:
    limits = BucketLimiter(bucket(burst=20))
    given = {
        priority: sum(not take(limits, 0.0, priority=priority) for _ in range(30))
        for priority in reversed(Priority)
    }
    assert given == {BACKGROUND: 10, SNAPSHOT: 7, QUERY: 1, NEW: 1, CANCEL: 1}
    limits = BucketLimiter(bucket(burst=1))  # a class whose share is less than one request
    assert take(limits, 0.0, priority=BACKGROUND) == 0
    assert take(limits, 0.0, priority=BACKGROUND) == pytest.approx(0.1)


def test_a_bucket_cools_down_after_a_hit_and_refuses_what_can_never_pass() -> None:
    limits = BucketLimiter(bucket(cooldown_period=0.5), {"/big": bucket(burst=2, endpoint_weight=3)})
    limits.observe(429, {}, 0.0)
    assert take(limits, 0.0) == 0.5
    limits.observe(418, {"Retry-After": "30"}, 0.0)
    assert take(limits, 0.0) == 30.0
    assert limits.blocked_for(10.0) == 20.0
    assert limits.hits == 2
    with pytest.raises(BadRequest, match="weighs 3, more than the whole burst of 2"):
        take(limits, 0.0, "/big")
    for bad in (bucket(0.0), bucket(burst=0), bucket(cooldown_period=-1.0)):
        with pytest.raises(ValueError, match="needs"):
            BucketLimiter(bad)


# -- mutants --------------------------------------------------------------------------------------------
class ExpiresEarly(BookingWindow):
    """With the first booking of a slot instead of the last."""

    def expire(self, now: float) -> None:
        while self._slots and self._slots[0].first + self._per <= now:
            self.spent -= self._slots.popleft().weight


class OneTooMany(BookingWindow):
    """`>` instead of `>=`."""

    def wait(self, room: int, now: float) -> float:
        return super().wait(room + 1, now)


class ForgetsToBook(BookingWindow):
    def book(self, weight: int, now: float) -> None:
        if weight != 40:
            super().book(weight, now)


class NoShares(Quota):
    def wait(self, weight: int, share: float, now: float, in_flight: int) -> float:
        return super().wait(weight, 1.0, now, in_flight)


class SwappedShares(Quota):
    def wait(self, weight: int, share: float, now: float, in_flight: int) -> float:
        return super().wait(weight, 1.5 - share, now, in_flight)


class HeavyAtAnyTime(Quota):
    def wait(self, weight: int, share: float, now: float, in_flight: int) -> float:
        share = 1.0 if weight > self.window.whole * share else share
        return super().wait(weight, share, now, in_flight)


class IgnoresTheVenue(Quota):
    def resync(self, used: int, sent: float | None, now: float) -> None:
        pass


class AnswerUndoesNewerBookings(Quota):
    def resync(self, used: int, sent: float | None, now: float) -> None:
        super().resync(used, now + 1.0, now)


class NotAllOrNone(WindowLimiter):
    def acquire(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        now: float,
        priority: Priority = QUERY,
    ) -> float:
        wait = super().acquire(method, endpoint, params, now, priority)
        if wait:
            self._quotas[0].book(1, now)
        return wait


class ForgetsTheLastWindow(WindowLimiter):
    def acquire(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        now: float,
        priority: Priority = QUERY,
    ) -> float:
        quotas, self._quotas = self._quotas, self._quotas[:2]
        wait = super().acquire(method, endpoint, params, now, priority)
        self._quotas = quotas
        return wait


class NoCooldown(WindowLimiter):
    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        super().observe(200, headers, now, sent)


def with_bookings(kind: type[BookingWindow]) -> type[Quota]:
    def make(self: Quota, window: Window) -> None:
        Quota.__init__(self, window)
        self.bookings = kind(window.per + window.margin)

    return type(f"With{kind.__name__}", (Quota,), {"__init__": make})


@pytest.mark.parametrize(
    "mutant",
    [
        {"quota": with_bookings(ExpiresEarly)},
        {"quota": with_bookings(OneTooMany)},
        {"quota": with_bookings(ForgetsToBook)},
        {"quota": NoShares},
        {"quota": SwappedShares},
        {"quota": HeavyAtAnyTime},
        {"quota": IgnoresTheVenue},
        {"quota": AnswerUndoesNewerBookings},
        {"limiter": NotAllOrNone},
        {"limiter": ForgetsTheLastWindow},
        {"limiter": NoCooldown},
    ],
    ids=lambda mutant: next(iter(mutant.values())).__name__,
)
def test_negative_control_the_machine_finds_each_mutant(mutant: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            type("Mutated", (LimiterMachine,), mutant),
            settings=settings(
                max_examples=1000, stateful_step_count=STEPS, phases=[Phase.generate], derandomize=True
            ),
        )
