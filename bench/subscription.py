"""What does it cost to make a subscription message?"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from bench.harness import Budget, Result, cores, in_turn, main, percentile, pinned, result
from workers.contract.protocols import SubscriptionAction, SubscriptionMessage
from workers.venues.binance.subscription import STREAMS_PER_MESSAGE, BinanceSubscription
from workers.venues.binance_spot.subscription import STREAMS

METHOD = """Question: us per message of create_subscription_messages, the whole public call, once the symbol
map is built: the same topics as before, with other ids, as after a reconnect; one core, channel `top`, at
most 100 streams a message. Each call is timed by itself (two clock reads, about 0.05 us, are in it) and
divided by its messages. `first time`: topics never asked for before, its symbols in the map. Peer: the same
messages by an f-string a stream and json.dumps, as hand-written clients do it. Rounds in turn; value:
median of the rounds' medians; p99 likewise."""

SUBSCRIBE = SubscriptionAction.SUBSCRIBE
SIZES = (1, 10, 200)
TARGET = 1.0


def by_hand(symbols: list[str], first_id: int) -> list[bytes]:
    """The standard library's way."""
    streams = [f"{symbol.replace('/', '').lower()}@{STREAMS['top']}" for symbol in symbols]
    return [
        json.dumps(
            {
                "method": "SUBSCRIBE",
                "params": streams[start : start + STREAMS_PER_MESSAGE],
                "id": first_id + start // STREAMS_PER_MESSAGE,
            },
            separators=(",", ":"),
        ).encode()
        for start in range(0, len(streams), STREAMS_PER_MESSAGE)
    ]


def ask(strategy: BinanceSubscription, symbols: list[str], first_id: int) -> list[SubscriptionMessage]:
    """Ours, of topics that are known from the second time on."""
    return strategy.create_subscription_messages(SUBSCRIBE, symbols, ("top",), first_id=first_id)


def ask_first(strategy: BinanceSubscription, symbols: list[str], first_id: int) -> list[SubscriptionMessage]:
    """Ours, of topics that are new each time."""
    strategy._prepared.clear()
    return ask(strategy, symbols, first_id)


def timed(call: Callable[[int], Sequence[object]], count: int) -> tuple[float, float]:
    """Median and p99, us a message."""
    now, taken = time.perf_counter_ns, []
    for number in range(1, count + 1):
        began = now()
        made = call(number)
        taken.append((now() - began) / len(made) / 1e3)
    taken.sort()
    return percentile(taken, 0.5), percentile(taken, 0.99)


def measure(budget: Budget) -> list[Result]:
    """Each size with its peer."""
    found: list[Result] = []
    for size in SIZES:
        symbols = [f"S{number:03}/USDT" for number in range(size)]
        strategy = BinanceSubscription(STREAMS, {symbol: symbol.replace("/", "") for symbol in symbols})

        again = partial(ask, strategy, symbols)
        first = partial(ask_first, strategy, symbols)
        assert [message.payload for message in again(7)] == by_hand(symbols, 7)
        count = budget.scale(20_000, 200)
        with pinned(cores()[0]):
            rounds = in_turn(
                {
                    "ours": partial(timed, again, count),
                    "first": partial(timed, first, count // 5),
                    "json.dumps": partial(timed, partial(by_hand, symbols), count // 5),
                },
                budget.rounds,
            )
        half = {name: [one[0] for one in taken] for name, taken in rounds.items()}
        high = {name: statistics.median(one[1] for one in taken) for name, taken in rounds.items()}
        found.append(
            result(
                f"subscription message, {size} symbol{'s' * (size > 1)}", "us",
                half["ours"], "f-strings + json.dumps", half["json.dumps"], target=TARGET,
                messages=len(again(1)), p99=high["ours"], peer_p99=high["json.dumps"],
                first_time=statistics.median(half["first"]),
            )
        )  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main("subscription", METHOD, measure))
