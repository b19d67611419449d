"""A quiet market in short: nothing to complain about, and what all views say is one thing.

Kinds: a healthy market that raises alarms (a critical alert and one a symbol, complaints every half minute,
and `/readyz` 200 over tops that are not there); one entry of the configuration that takes the others along.
The full size, 200 symbols for ten minutes, is ``make quiet``."""

from __future__ import annotations

import shutil

import pytest

from tests.quiet.market import Plan, Report, market
from workers.sim.dialects import FEEDS

SECONDS = 8.0
SYMBOLS = 24


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: the package prometheus)"
)
@pytest.mark.parametrize("channels", [(), ("top",)])
@pytest.mark.parametrize("feed", FEEDS)
def test_a_quiet_market_raises_no_alarm(feed: str, channels: tuple[str, ...]) -> None:
    plan = Plan.make(feed, SYMBOLS, channels=channels)
    with market(plan, interval="1s") as made:
        report = made.prove(SECONDS)
    assert report.problems == []
    assert report.firing == sorted(f"{name} {symbol}" for name, symbol in plan.expected)
    assert report.compared >= 3


@pytest.mark.parametrize("feed", FEEDS)
def test_everything_is_live_soon_and_as_soon_again(feed: str) -> None:
    """Forty quiet symbols; the second start is within a minute of the first, on the same weight."""
    with market(Plan.make(feed, 40, faulty=False)) as made:
        report = made.measure(2, within=30.0)
    print(f"{feed}: everything LIVE after {report.live_after} s")
    assert report.problems == []
    assert len(report.live_after) == 2


def test_a_problem_is_told_a_few_times_and_not_at_every_look() -> None:
    report = Report("feed", 1)
    for number in range(100):
        report.problem(f"look {number}: not ready")
    report.problem("another")
    assert len(report.problems) == 4


def test_a_line_that_is_not_true_is_a_problem() -> None:
    """The control: what the allowance does not have, and what it has but not so often."""
    with market(Plan.make("kraken", SYMBOLS)) as made:
        halted = f"{made.plan.halted} is halted: the venue does not trade it now"
        made._log.write_text(f"{halted}\n" * 2)
        made._read_log()
        assert made.report.problems == []
        made._log.write_text(f"{halted}\n" * 3 + "BTC/USD: no first event for 30 s\n")
        made._read_log()
        assert len(made.report.problems) == 2
