"""What channels owe. The kind of fault: a channel delivers nothing, or nothing more, and it is not logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

import shm
from shm import Scope, State
from shm.channels import CHANNELS
from tests.workers.books.conftest import Lab
from workers.books.sync import StreamSync
from workers.config.venue import VenueConfig
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.venues.binance_spot.sync import BookSync
from workers.venues.venue import Owed, load, names
from workers.worker.events import FeedEvents
from workers.worker.expectations import Expectations

SECOND = 1_000_000_000
S = "AAA/BBB"
MARK = Owed(1.0, 1.0)


class Desk(FeedEvents):
    """One instrument of a publisher, what it owes, and a clock of its own."""

    def __init__(
        self,
        lab: Any,
        *channels: str,
        aggregated: bool = False,
        owes: Mapping[str, Owed] | None = None,
        **keys: Any,
    ) -> None:
        self.lab = lab
        self.index = lab.add(book="book" in channels)
        config = VenueConfig(ws_url="", rest_url="", symbols=[S], channels=list(channels), **keys)
        lab.publisher.set_freshness(30.0, 1.0, 600.0, 4.0)
        self.refreshed: list[tuple[str, float]] = []
        self.began = self.now = 1_000 * SECOND
        self.expectations = Expectations(
            lab.writer,
            lab.publisher,
            config,
            {"mark": MARK} if owes is None else owes,
            aggregated=aggregated,
            moved=lambda index: self.moved,
            events=self,
        )
        self.active = {(S, channel) for channel in channels}
        self.halted = False
        self.moved = 0

    def late(self, symbol: str, channel: str) -> None:
        self.refreshed.append((channel, self.seconds))

    @property
    def seconds(self) -> float:
        return (self.now - self.began) / SECOND

    def send(self, *channels: str) -> None:
        publisher, index = self.lab.publisher, self.index
        for channel in channels:
            if channel == "top":
                publisher.messages.top(index, 100, 1, 101, 3, self.now, 0, self.now)
            else:
                kind = {"mark": MessageKind.MARK, "ticker": MessageKind.TICKER}.get(
                    channel, MessageKind.TRADE
                )
                flags = int(MessageFlag.MARK) if channel == "mark" else 0
                words = (1, 1, 1 if channel == "agg_trades" else 0, 0, 0, 0, 0, 0)
                form = Decoded(DecodeCode.OK, kind, index, 1, 0, flags=flags, payload=words)
                assert publisher.messages.publish_message(form, self.now, b"")

    def run(self, seconds: int, *channels: str, every: int = 1) -> None:
        for n in range(seconds):
            self.now += SECOND
            if n % every == 0:
                self.send(*channels)
            self.expectations.look(self.index, S, self.active, self.now, halted=self.halted)

    def logged(self) -> list[str]:
        events = self.lab.feed.events(1000)
        return [each.text for each in events if each.code in ("overdue", "delivers")]

    def within(self, channel: str) -> float | None:
        """Seconds from the last event, by the segment; None: nothing is owed. KeyError: not subscribed."""
        mapping = self.lab.writer.mapping
        place = self.lab.writer._delivery_at + self.index * 128 + CHANNELS.index(channel) * 16
        at, within = mapping.load(place), mapping.load(place + 8)
        if not at:
            raise KeyError(channel)
        return within / SECOND if within else None


@pytest.fixture
def make_desk(make_lab: Callable[..., Lab]) -> Callable[..., Desk]:
    def make(*channels: str, make_sync: Any = BookSync, **keys: Any) -> Desk:
        return Desk(make_lab(make_sync=make_sync, depth=2), *channels, **keys)

    return make


def test_a_mark_that_stops_is_logged_once_counted_and_subscribed_again_with_backoff(make_desk: Any) -> None:
    desk = make_desk("mark")
    desk.run(100, "mark")
    assert desk.within("mark") == 4.0
    assert desk.logged() == []
    desk.run(200)
    assert desk.logged() == ["mark: owes an event, and delivers nothing"]
    assert desk.lab.counter("first_event_misses") == 1
    assert [(channel, at - 100) for channel, at in desk.refreshed] == [
        ("mark", 5),
        ("mark", 35),
        ("mark", 95),
    ]
    desk.run(2, "mark")
    assert desk.logged()[1:] == ["mark: delivers again"]
    desk.run(6)
    assert len(desk.logged()) == 3


def test_a_mark_that_never_comes(make_desk: Any) -> None:
    desk = make_desk("mark", "ticker")
    desk.run(30, "ticker")
    assert desk.logged() == []
    desk.run(5, "ticker")
    assert desk.logged() == ["mark: owes an event, and delivers nothing"]
    assert desk.refreshed == [("mark", 32.0)]


def test_a_new_subscription_is_no_delivery(make_desk: Any) -> None:
    """The remedy's own gap in the acknowledgements begins neither the complaint nor the patience anew."""
    desk = make_desk("mark")
    desk.run(5, "mark")
    desk.run(40)
    for _ in range(10):
        active, desk.active = desk.active, set()
        desk.run(1)
        with pytest.raises(KeyError):
            desk.within("mark")
        desk.active = active
        desk.run(60)
    assert len(desk.logged()) == 1
    assert len(desk.refreshed) <= 6


def test_a_quiet_market_owes_nothing(make_desk: Any) -> None:
    desk = make_desk("top", "book", "trades", "agg_trades", "ticker", "liquidations")
    desk.lab.live(desk.index)
    desk.run(2_000)
    assert desk.logged() == desk.refreshed == []
    assert [
        desk.within(channel) for channel in ("top", "trades", "agg_trades", "ticker", "liquidations")
    ] == [None] * 5


def test_a_ticker_owes_an_event_after_a_trade(make_desk: Any) -> None:
    desk = make_desk("trades", "ticker")
    desk.run(100)
    desk.run(1, "trades")
    desk.run(29)
    assert desk.logged() == []
    desk.run(5)
    assert desk.logged() == ["ticker: owes an event, and delivers nothing"]
    desk.run(1, "ticker")
    desk.run(300)
    assert len(desk.logged()) == 2


def test_single_and_aggregated_trades_owe_each_other(make_desk: Any) -> None:
    desk = make_desk("trades", "agg_trades")
    desk.run(60, "agg_trades")
    assert desk.logged() == ["trades: owes an event, and delivers nothing"]
    both = make_desk("trades", "agg_trades", aggregated=True)
    both.run(60, "agg_trades")
    assert both.logged() == []


def test_aggregated_trades_count_as_trades_where_there_is_no_other_channel(make_desk: Any) -> None:
    desk = make_desk("trades")
    desk.run(10, "agg_trades")
    assert desk.lab.publisher.received_at(desk.index)[CHANNELS.index("agg_trades")] == desk.now
    desk.send("trades")
    desk.run(1)
    assert desk.within("trades") is None


@pytest.mark.parametrize("channel", ["trades", "ticker"])
def test_a_busy_channel_that_stops_while_others_flow_is_logged(make_desk: Any, channel: str) -> None:
    desk = make_desk("top", channel)
    desk.run(200, "top", channel)
    assert desk.within(channel) is not None
    desk.run(100, "top")
    assert desk.logged() == [f"{channel}: owes an event, and delivers nothing"]


@pytest.mark.parametrize("channel", ["trades", "ticker"])
def test_a_busy_channel_owes_nothing_when_the_whole_market_stops(make_desk: Any, channel: str) -> None:
    desk = make_desk("top", channel)
    desk.run(200, "top", channel)
    desk.run(1_000)
    assert desk.logged() == []
    assert desk.within(channel) is None


def test_trades_that_are_rare_by_nature_owe_nothing(make_desk: Any) -> None:
    desk = make_desk("top", "trades")
    for _ in range(60):
        desk.run(1, "top", "trades")
        desk.run(200, "top")
    assert desk.logged() == []
    assert desk.within("trades") is None


def test_a_halted_market_owes_nothing(make_desk: Any) -> None:
    desk = make_desk("mark")
    desk.run(5, "mark")
    desk.halted = True
    desk.run(100)
    assert desk.logged() == []
    assert desk.within("mark") is None


def test_a_top_owes_by_its_rate_and_by_changes_of_its_book(make_desk: Any) -> None:
    desk = make_desk("top", "book")
    lab, publisher = desk.lab, desk.lab.publisher
    lab.live(desk.index)
    desk.now = publisher.proof(desk.index, Scope.BOOK)
    desk.run(1)
    assert desk.within("top") is None  # its book gives it
    assert desk.within("book") == pytest.approx(30.0, abs=1.0)
    publisher.messages.depth_update(desk.index, 11, 11, [(100, 5)], [], 0, desk.now)
    desk.run(1)
    assert desk.within("top") == pytest.approx(30.0, abs=1.0)
    publisher.messages.depth_update(desk.index, 12, 12, [(100, 6)], [], 0, desk.now)
    desk.run(10)
    assert desk.within("top") == pytest.approx(30.0, abs=1.0)  # since the first
    desk.run(1, "top")
    assert desk.within("top") == 30.0
    publisher.proven(desk.index, Scope.BOOK, desk.now + 50 * SECOND)
    publisher.proven(desk.index, Scope.TOP, desk.now + 50 * SECOND)
    desk.run(1)
    assert desk.within("top") == 80.0


def test_a_streamed_book_owes_its_snapshot(make_desk: Any) -> None:
    desk = make_desk("top", "book", make_sync=StreamSync)
    desk.run(1)
    assert desk.within("book") == 30.0
    assert desk.lab.state(desk.index) is State.RESYNC


@pytest.mark.parametrize("channels", [("top",), ("top", "book")])
def test_a_first_top_is_owed_where_the_venue_promises_one_and_nowhere_else(
    make_desk: Any, channels: tuple[str, ...]
) -> None:
    """The kind: what a venue sends is guessed from what else of the symbol is carried."""
    for make_sync in (BookSync, StreamSync):
        desk = make_desk(*channels, make_sync=make_sync)
        desk.run(100)
        assert desk.within("top") is None
        desk = make_desk(*channels, make_sync=make_sync, owes={"top": Owed(1.0)})
        desk.run(1)
        assert desk.within("top") == 30.0
        desk = make_desk(*channels, make_sync=make_sync, owes={"top": Owed(20.0)})
        desk.run(1)
        assert desk.within("top") == 80.0


def test_a_first_top_that_has_moved_in_rest_is_owed(make_desk: Any) -> None:
    desk = make_desk("top")
    desk.run(50)
    desk.moved = desk.now
    desk.run(1)
    assert desk.within("top") == 79.0  # since the acknowledgement: `stale_after` from the move
    desk.moved = 0
    desk.run(1)
    assert desk.within("top") is None


def test_a_dropped_instrument_is_forgotten(make_desk: Any) -> None:
    desk = make_desk("mark")
    desk.run(5, "mark")
    desk.expectations.keep({desk.index})
    assert desk.within("mark") == 4.0
    desk.expectations.keep(())
    with pytest.raises(KeyError):
        desk.within("mark")


def test_a_reader_sees_age_and_expectation(make_desk: Any) -> None:
    desk = make_desk("mark")
    desk.began = desk.now = shm._ring.now() - 10 * SECOND
    desk.run(3, "mark")
    delivery = desk.lab.feed.delivery(S)["mark"]
    assert delivery.within == 4.0
    assert delivery.age == pytest.approx(7.0, abs=2.0)
    assert delivery.overdue


@pytest.mark.parametrize("name", names())
def test_venues_promise_only_channels_that_they_have(name: str) -> None:
    venue = load(name)
    config = VenueConfig(ws_url="", rest_url="", symbols=[])
    promised = venue.data.owes(config)
    assert promised.keys() <= venue.data.channels
    assert ("mark" in promised) == ("mark" in venue.data.channels)


def test_which_venues_send_a_first_top() -> None:
    """By the venues' documents. Kraken's tops are the best of its books, which come with the subscription."""
    config = VenueConfig(ws_url="", rest_url="", symbols=[])
    assert {name for name in names() if "top" in load(name).data.owes(config)} == {"okx"}
    assert {name for name in names() if load(name).books.make_sync(config).top_from_book} == {"kraken"}


def test_which_venues_answers_may_be_published_as_a_top() -> None:
    """OKX's lag up to half a minute, of MEXC's and Kraken's nobody knows."""
    lags = {name: sweep.lag for name in names() if (sweep := load(name).books.sweep) is not None}
    assert lags == {
        "binance_futures": 10.0,
        "binance_spot": 10.0,
        "kraken": None,
        "mexc_spot": None,
        "okx": None,
    }
