"""A subscription must be acknowledged *and* deliver a first event within a bound."""

from __future__ import annotations

from ws_bench import Bench, event, virtual

from workers.contract.protocols import WebSocketManagerConfig
from workers.websocket.first_events import UNDECIDED, FirstEvents

BTC, ETH = "btcusdt@bookTicker", "ethusdt@bookTicker"
TOP = ("BTC/USDT", "top")


def methods(bench: Bench) -> list[str]:
    return [
        "SUBSCRIBE" if b'"SUBSCRIBE"' in message else "UNSUBSCRIBE"
        for _, message in bench.venue.sent
        if message.startswith(b'{"method"')
    ]


@virtual
async def test_a_topic_without_its_first_event_is_subscribed_again_then_moved_to_a_fresh_connection(
    bench: Bench,
) -> None:
    """FIELD 2.2: siblings are fine and lose nothing. The bound is 20 s, then twice what was waited more."""
    bench.sink = None
    bench.venue.mute = {ETH}
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    await bench.run(19.0)
    assert methods(bench) == ["SUBSCRIBE"]
    await bench.run(2.0)
    assert methods(bench) == ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"]
    assert [each.overdue for each in bench.events if each.overdue] == [(("ETH/USDT", "top"),)]
    assert len(bench.venue.transports) == 1
    await bench.run(42.0)  # 20 + 40
    assert len(bench.venue.transports) == 2
    assert len(bench.venue.live) == 1
    metrics = manager.get_performance_metrics()
    assert (metrics.first_event_misses, metrics.resubscribes, metrics.renewals) == (2, 1, 1)
    assert not bench.losses
    sent = [data for data in bench.handled if b"btc" in data]
    assert len(sent) == len(set(sent)) + 1  # the first event of each connection is number 0


@virtual
async def test_what_delivers_after_all_is_left_alone(bench: Bench) -> None:
    bench.sink = None
    bench.venue.mute = {ETH}
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    await bench.run(15.0)
    bench.venue.mute = set()
    await bench.run(200.0)
    assert manager.get_performance_metrics().first_event_misses == 0
    assert methods(bench) == ["SUBSCRIBE"]


@virtual
async def test_a_fresh_connection_comes_at_the_2nd_4th_and_8th_time_only(bench: Bench) -> None:
    bench.sink = None
    bench.venue.mute = {ETH}
    bench.config = WebSocketManagerConfig(first_event_after=0.1, message_timeout=1000.0)
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    fresh: list[int] = []
    for _ in range(1600):
        before = manager.get_performance_metrics()
        await bench.run(0.2, step=0.1)
        after = manager.get_performance_metrics()
        if after.renewals > before.renewals:
            fresh.append(after.first_event_misses)
    assert fresh[:3] == [2, 4, 8]
    assert not bench.losses
    assert len([each for each in bench.events if each.overdue]) == 1  # reported once, on whichever connection


@virtual
async def test_proof_from_outside_counts_when_there_is_a_sink(bench: Bench) -> None:
    proofs: dict[str, int] = {}
    bench.options["delivered"] = lambda symbol, channel: proofs.get(symbol, -1) if channel == "top" else -1
    proofs |= {"BTC/USDT": 0, "ETH/USDT": int(bench.clock.now * 1e9) - 1}  # of an earlier connection
    manager = await bench.start("BTC/USDT", "ETH/USDT", "S1/USDT", channels=("top", "trades"))
    await bench.run(10.0)
    proofs["ETH/USDT"] = int(bench.clock.now * 1e9)
    await bench.run(12.0)
    assert [each.overdue for each in bench.events if each.overdue] == [(TOP,)]
    assert manager.get_performance_metrics().resubscribes == 1


@virtual
async def test_with_a_sink_and_no_proof_first_events_are_not_watched(bench: Bench) -> None:
    bench.venue.mute = {ETH}
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    await bench.run(300.0)
    assert manager.get_performance_metrics().first_event_misses == 0


@virtual
async def test_trades_owe_no_first_event(bench: Bench) -> None:
    """Nobody trades a quiet symbol for hours: that is no fault of the subscription."""
    bench.sink = None
    bench.venue.mute = {"ethusdt@trade"}
    manager = await bench.start("BTC/USDT", "ETH/USDT", channels=("top", "trades"))
    await bench.run(300.0)
    assert manager.get_performance_metrics().first_event_misses == 0


@virtual
async def test_a_refresh_from_outside_climbs_the_same_ladder(bench: Bench) -> None:
    bench.sink = None
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    manager.refresh(["ETH/USDT"])
    await bench.run(1.0)
    assert methods(bench) == ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"]
    manager.refresh(["ETH/USDT"])
    await bench.run(1.0)
    assert manager.get_performance_metrics().renewals == 1
    bench.venue.now.drop()  # how often is remembered beyond the connection
    await bench.run(2.0)
    manager.refresh(["ETH/USDT"])
    await bench.run(1.0)
    assert manager.get_performance_metrics().resubscribes == 2
    assert manager.get_performance_metrics().renewals == 1


@virtual
async def test_a_symbol_subscribed_later_owes_from_then_on(bench: Bench) -> None:
    bench.sink = None
    bench.venue.mute = {ETH}
    manager = await bench.start()
    await bench.run(100.0)
    await manager.subscribe(["ETH/USDT"])
    await bench.run(18.0)
    assert manager.get_performance_metrics().first_event_misses == 0
    await bench.run(4.0)
    assert manager.get_performance_metrics().first_event_misses == 1


@virtual
async def test_an_event_of_the_old_connection_is_no_proof_of_the_new_one(bench: Bench) -> None:
    bench.sink = None
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    await bench.run(50.0)
    bench.venue.mute = {ETH}
    bench.venue.now.drop()
    await bench.run(22.0)
    assert manager.get_performance_metrics().first_event_misses == 1


def test_patience_triples() -> None:
    waiting = FirstEvents(10.0, lambda symbol, channel: 0)
    waiting.follow([TOP], {TOP: 0.0}, [TOP], 0.0)
    assert [now for now in range(1, 300) if waiting.overdue(float(now))] == [10, 30, 90, 270]


def test_patience_outlives_the_connection_and_is_reported_once() -> None:
    """The kind: a complaint that begins anew with each connection, as each remedy makes one."""
    waiting = FirstEvents(10.0, lambda symbol, channel: proof)
    proof = 0
    late = []
    overdue = []
    for now in range(4000):
        if now % 100 == 0:
            waiting.reset()
            waiting.follow([TOP], {TOP: float(now)}, [TOP], float(now))
        if found := waiting.overdue(float(now)):
            late.append(now)
            overdue += waiting.newly_overdue(found)
    assert late == [10, 30, 90]  # then 270, which no connection of these lasts
    assert overdue == [TOP]
    waiting.reset()
    waiting.follow([TOP], {TOP: 5000.0}, [TOP], 5000.0)
    proof = 5_001_000_000_000
    assert not waiting.overdue(5270.0)
    proof = 0
    waiting.reset()
    waiting.follow([TOP], {TOP: 6000.0}, [TOP], 6000.0)
    assert waiting.overdue(6010.0) == waiting.newly_overdue([TOP]) == [TOP]


def test_what_is_being_found_out_is_asked_again_soon_and_owes_nothing_meanwhile() -> None:
    answers = dict.fromkeys(range(3), UNDECIDED)
    asked: list[tuple[str, str]] = []

    def delivered(symbol: str, channel: str) -> int:
        asked.append((symbol, channel))
        return answers.get(len(asked) - 1, 20_000_000_000)

    waiting = FirstEvents(10.0, delivered)
    waiting.follow([TOP], {TOP: 1.0}, [TOP], 1.0)
    assert [now for now in range(1, 60) if waiting.overdue(float(now)) or len(asked) > 4] == []
    assert len(asked) == 4


def test_what_is_desired_no_more_is_forgotten() -> None:
    waiting = FirstEvents(10.0, lambda symbol, channel: 0)
    waiting.follow([TOP], {}, [TOP], 0.0)
    waiting.retry_replaces_connection("BTC/USDT")
    waiting.follow([], {}, [], 5.0)
    waiting.forget_undesired([])
    assert not waiting.overdue(1000.0)
    assert not waiting.retry_replaces_connection("BTC/USDT")  # the first time again


def test_event_is_the_same_on_every_connection() -> None:
    assert event(BTC, 1) == event(BTC, 1) != event(BTC, 2)


@virtual
async def test_a_refresh_touches_only_the_channels_that_are_silent(bench: Bench) -> None:
    """The trades of the same symbol are healthy: a new subscription would be a hole in them."""
    await bench.start("BTC/USDT", channels=("top", "trades"))
    bench.manager.refresh(["BTC/USDT"], ["top"])
    await bench.run(1.0)
    assert [data for _, data in bench.venue.sent if b"trade" in data] == [bench.venue.sent[0][1]]
    assert methods(bench) == ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"]


@virtual
async def test_who_asks_for_a_refresh_again_and_again_is_given_it_with_growing_patience(bench: Bench) -> None:
    """A stream that died after its first event: somebody outside says so every few seconds, for an hour."""
    bench.sink = None
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    counts = []
    for _ in range(360):
        manager.refresh(["ETH/USDT"], ["top"])
        await bench.run(10.0, BTC, step=5.0)
        metrics = manager.get_performance_metrics()
        counts.append(metrics.resubscribes + metrics.renewals)
    assert counts[:3] == [1, 2, 3]
    assert counts[-1] < 15
    assert metrics.renewals == 3  # the 2nd, 4th and 8th
    assert not bench.losses
