"""One-minute candles and the 24 h window, made of the trades. Integer prices (ticks) and sizes (lots)."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

MINUTE_MS = 60_000
DAY = 1440


@dataclass(slots=True)
class Candle:
    """One candle; `start` in ms since 1970.

    `base` is the volume in lots, `quote` in ticks times lots; `taker_*` the part in which the taker bought.
    """

    start: int
    open: int
    high: int
    low: int
    close: int
    base: int = 0
    quote: int = 0
    trades: int = 0
    taker_base: int = 0
    taker_quote: int = 0
    first_trade: int = -1
    last_trade: int = -1

    def add(self, other: Candle) -> None:
        """Add a later candle to this one."""
        self.high, self.low, self.close = max(self.high, other.high), min(self.low, other.low), other.close
        self.base += other.base
        self.quote += other.quote
        self.trades += other.trades
        self.taker_base += other.taker_base
        self.taker_quote += other.taker_quote
        if other.first_trade >= 0:
            if self.first_trade < 0:
                self.first_trade = other.first_trade
            self.last_trade = other.last_trade


class Candles:
    """The one-minute candles of the last 24 hours: random ones (seeded) before the start, then of trades."""

    def __init__(self, price: int, size: int, now_ms: int, seed: int) -> None:
        rng = random.Random(seed)
        start, close = now_ms - now_ms % MINUTE_MS, price
        past: list[Candle] = []
        for index in range(1, DAY):
            begin = max(1, round(close * (1 + rng.gauss(0, 0.0004))))
            high, low = (
                max(begin, close) + rng.randrange(1, 9),
                max(1, min(begin, close) - rng.randrange(1, 9)),
            )
            base = max(1, round(size * rng.uniform(20, 200)))
            candle = Candle(start - index * MINUTE_MS, begin, high, low, close, base, base * close, 50)
            candle.taker_base, candle.taker_quote = base // 2, base // 2 * close
            past.append(candle)
            close = begin
        self.minutes: deque[Candle] = deque(reversed(past), maxlen=DAY)
        self.minutes.append(Candle(start, price, price, price, price))

    def roll(self, now_ms: int) -> None:
        """Start new candles up to the current minute."""
        while now_ms >= self.minutes[-1].start + MINUTE_MS:
            last = self.minutes[-1]
            close = last.close
            self.minutes.append(Candle(last.start + MINUTE_MS, close, close, close, close))

    def trade(self, now_ms: int, number: int, price: int, size: int, taker_buys: bool) -> None:
        """Add a trade with this id (`number`)."""
        self.roll(now_ms)
        candle = Candle(now_ms, price, price, price, price, size, size * price, 1)
        if taker_buys:
            candle.taker_base, candle.taker_quote = size, size * price
        candle.first_trade = candle.last_trade = number
        last = self.minutes[-1]
        if not last.trades:
            last.open = last.high = last.low = price
        last.add(candle)

    def day(self) -> Candle:
        """The last 24 hours as one candle."""
        return merge(list(self.minutes))

    def grouped(self, minutes: int, limit: int) -> list[Candle]:
        """The last `limit` candles of `minutes` each, oldest first."""
        groups: dict[int, list[Candle]] = {}
        for candle in self.minutes:
            groups.setdefault(candle.start // (minutes * MINUTE_MS), []).append(candle)
        out = []
        for key in sorted(groups)[-limit:]:
            one = merge(groups[key])
            one.start = key * minutes * MINUTE_MS
            out.append(one)
        return out


def merge(candles: list[Candle]) -> Candle:
    """Several candles, given oldest first, as one."""
    first = candles[0]
    out = Candle(first.start, first.open, first.high, first.low, first.close)
    for candle in candles:
        out.add(candle)
    return out
