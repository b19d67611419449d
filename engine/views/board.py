"""What the demo shows, as values and lines of text: prices of several feeds side by side, and where one could
buy and sell best among them. But for `take` it is pure: values in, lines out, as many as there is room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import shm
from engine.views.views import fixed
from shm.errors import ShmError
from shm.layout import InstrumentStatus, State
from shm.readiness import Cell, Subject

LABEL = 6  # columns of a row's name
CELL = 14  # columns of a feed: room for BTC/USDT:USDT
GROUP = 4  # lines of a symbol: markets, bids, asks, the best of them
STYLES = {State.LIVE: "green", State.STALE: "yellow", State.RESYNC: "cyan", State.DOWN: "red"}

Piece = tuple[str, str]  # text and style
Line = list[Piece]


@dataclass(frozen=True, slots=True)
class Quote:
    """A top as it stands: `bid` and `ask` are exact, None where there is none. `state` says whether it is
    delivered, `status` whether it can be traded."""

    feed: str
    symbol: str
    state: State
    bid: Decimal | None = None
    bid_size: Decimal | None = None
    ask: Decimal | None = None
    ask_size: Decimal | None = None
    status: InstrumentStatus = InstrumentStatus.ACTIVE

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def live(self) -> bool:
        """Delivered, and tradable."""
        return self.state is State.LIVE and self.status is InstrumentStatus.ACTIVE

    @property
    def word(self) -> str:
        """The state, or the status of what cannot be traded."""
        return self.state.name if self.status is InstrumentStatus.ACTIVE else self.status.name


@dataclass(frozen=True, slots=True)
class FeedLine:
    """A feed. `books`: (LIVE, all that the venue lists); `messages`: since its start."""

    name: str
    state: State
    messages: int = 0
    books: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Best:
    """Where to buy and where to sell: the lowest ask and the highest bid of all LIVE quotes."""

    buy: Quote
    sell: Quote

    @property
    def basis_points(self) -> Decimal:
        """What selling at the one and buying at the other would bring, of the ask, in 1/10 000."""
        assert self.sell.bid is not None
        assert self.buy.ask is not None
        return 10_000 * (self.sell.bid - self.buy.ask) / self.buy.ask

    def __str__(self) -> str:
        gain = f"{self.basis_points:+.2f} bp"
        return f"buy {self.buy.ask} {self.buy.feed}, sell {self.sell.bid} {self.sell.feed}: {gain}"


def best(quotes: Iterable[Quote]) -> Best | None:
    """None while no quote is LIVE on both sides."""
    live = [quote for quote in quotes if quote.live]
    asks = [(quote.ask, place) for place, quote in enumerate(live) if quote.ask is not None]
    bids = [(quote.bid, -place) for place, quote in enumerate(live) if quote.bid is not None]
    if not asks or not bids:
        return None
    return Best(live[min(asks)[1]], live[-max(bids)[1]])


@dataclass(frozen=True, slots=True)
class Board:
    """All of it at one moment. `quotes`: in the order of feeds and symbols."""

    feeds: Sequence[FeedLine]
    quotes: Sequence[Quote]

    @property
    def groups(self) -> dict[str, list[Quote]]:
        """By what is traded: BTC/USDT, BTC/USD and BTC/USDT:USDT stand side by side."""
        found: dict[str, list[Quote]] = {}
        for quote in self.quotes:
            found.setdefault(quote.base, []).append(quote)
        return found


def number(mantissa: int, exponent: int, step: int) -> Decimal:
    """The exact number, with the decimals of its step (tick or lot) unless it has more itself.

    >>> number(9412340000, 5, 10000), number(9412340001, 5, 10000), number(123, 2, 0)
    (Decimal('94123.4'), Decimal('94123.40001'), Decimal('1.23'))
    """
    while step and exponent and step % 10 == 0 and mantissa % 10 == 0:
        mantissa, exponent, step = mantissa // 10, exponent - 1, step // 10
    return Decimal(fixed(mantissa, exponent))


def take(feeds: Mapping[str, shm.Feed | None]) -> Board:
    """Look at feeds; None: not there yet."""
    lines: list[FeedLine] = []
    quotes: list[Quote] = []
    for name, feed in feeds.items():
        try:
            line, found = _look(name, feed) if feed is not None else (FeedLine(name, State.DOWN), [])
        except ShmError:  # in the middle of a restart: shown the next time
            line, found = FeedLine(name, State.DOWN), []
        lines.append(line)
        quotes += found
    return Board(lines, quotes)


def _look(name: str, feed: shm.Feed) -> tuple[FeedLine, list[Quote]]:
    quotes = []
    books = listed = 0
    for made in feed.instruments:
        book = feed.cell_state(made.symbol, shm.Scope.BOOK)
        cells = {"book": Cell(book, feed.cell_reason(made.symbol, shm.Scope.BOOK))}
        if not Subject(made.symbol, made.status, cells, feed.delivery(made.symbol)).counts:
            continue
        listed += made.status is not InstrumentStatus.NOT_LISTED
        books += book is State.LIVE
        top = feed.top(made.symbol, allow_stale=True)
        price, size = (made.price_exp, made.tick), (made.size_exp, made.lot)
        bid: Decimal | None
        bid_size: Decimal | None
        ask: Decimal | None
        ask_size: Decimal | None
        bid, bid_size, ask, ask_size = (
            number(mantissa, *scale)
            for mantissa, scale in zip(top.exact, (price, size, price, size), strict=True)
        )
        if not top.has_bid:
            bid = bid_size = None
        if not top.has_ask:
            ask = ask_size = None
        state = State(top.state)
        quotes.append(Quote(name, made.symbol, state, bid, bid_size, ask, ask_size, made.status))
    messages = feed.counters().feed["messages"]
    return FeedLine(name, feed.state, messages, (books, listed)), quotes


# -- lines --------------------------------------------------------------------------------------------------
def plain_lines(board: Board) -> list[str]:
    """A line a price, and one a symbol for the best of them."""
    lines = []
    for base, quotes in board.groups.items():
        for quote in quotes:
            bid = f"bid {quote.bid_size} @ {quote.bid}" if quote.bid is not None else "no bid"
            ask = f"ask {quote.ask} @ {quote.ask_size}" if quote.ask is not None else "no ask"
            lines.append(f"{quote.feed:<15} {quote.symbol:<14} {quote.word:<6} {bid}  {ask}")
        if len(quotes) > 1 and (found := best(quotes)) is not None:
            lines.append(f"{base:<15} best: {found}")
    return lines


def board_lines(
    board: Board,
    rates: Mapping[str, float],
    hints: Sequence[str],
    recent: Sequence[str],
    width: int,
    height: int,
) -> list[Line]:
    """At most `height` lines of at most `width` columns: feeds, symbols, hints, then what was logged last.

    What was logged is always there, the newest of it where the screen is full; hints give way to it,
    and symbols but the first. What does not fit is left out and counted: ``... 2 more symbols``.
    """
    shown = board.feeds[: max(1, (width - LABEL) // CELL)]
    lines = _head(shown, len(board.feeds) - len(shown), rates)
    recent = list(recent)[-max(1, (height - len(lines)) // 3) :]
    groups = list(board.groups.items())
    # Hints go before symbols do, but for the first symbol: somebody has to see a price.
    room = height - len(lines) - len(recent)
    kept = min(len(groups), max(1, room // GROUP))
    if kept < len(groups) and kept * GROUP + 1 > room:
        kept = max(1, kept - 1)
    for base, quotes in groups[:kept]:
        lines += _group(base, quotes, shown)
    if kept < len(groups):
        lines.append([(f"... {len(groups) - kept} more symbols", "dim")])
    events: list[Line] = [[(line, "yellow")] for line in recent][-height:]
    lines = lines[: height - len(events)]
    room = height - len(lines) - len(events)
    rest: list[Line] = [[(hint, "dim")] for hint in hints]
    if len(rest) > room:
        fit = max(0, room - 1)
        rest[fit:] = [[(f"... {len(rest) - fit} more lines", "dim")]][:room]
    return [_cut(line, width) for line in (lines + rest + events)[:height]]


def _head(feeds: Sequence[FeedLine], more: int, rates: Mapping[str, float]) -> list[Line]:
    names = [feed.name.split("_", 1) for feed in feeds]
    rows: list[Line] = [
        [("", "")] + [(name[0], "bold") for name in names],
        [("", "")] + [(name[1] if len(name) > 1 else "", "bold") for name in names],
        [("feed", "dim")] + [(feed.state.name, STYLES[feed.state]) for feed in feeds],
        [("books", "dim")] + [(f"{live}/{total} LIVE", "") for live, total in (f.books for f in feeds)],
        [("msg/s", "dim")] + [(f"{rates.get(feed.name, 0.0):,.0f}", "") for feed in feeds],
    ]
    if not any(len(name) > 1 for name in names):
        del rows[1]
    lines = [_columns(row) for row in rows]
    if more:
        lines.append([(f"... {more} more feeds: the terminal is too narrow", "dim")])
    return lines


def _group(base: str, quotes: Sequence[Quote], feeds: Sequence[FeedLine]) -> list[Line]:
    by_feed: dict[str, Quote] = {}
    for quote in quotes:  # a feed with several markets of it: the first one
        by_feed.setdefault(quote.feed, quote)
    found = best(quotes)
    rows: list[Line] = [[(base, "bold")], [("  bid", "dim")], [("  ask", "dim")]]
    for feed in feeds:
        one = by_feed.get(feed.name)
        if one is None:
            cells: list[Piece] = [("-", "dim"), ("", ""), ("", "")]
        elif not one.live:
            style = STYLES[one.state] if one.status is InstrumentStatus.ACTIVE else "yellow"
            cells = [(one.symbol, "dim"), (one.word, style), ("", "")]
        else:
            sell = found is not None and one is found.sell
            buy = found is not None and one is found.buy
            cells = [
                (one.symbol, "dim"),
                ("-" if one.bid is None else str(one.bid), "bold green" if sell else ""),
                ("-" if one.ask is None else str(one.ask), "bold red" if buy else ""),
            ]
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    spread = "  no price is LIVE" if found is None else f"  {found}"
    return [*map(_columns, rows), [(spread, "cyan")]]


def _columns(row: Line) -> Line:
    widths = [LABEL, *[CELL] * (len(row) - 1)]
    return [
        (f"{text[: width - 1]:<{width}}", style) for (text, style), width in zip(row, widths, strict=True)
    ]


def _cut(line: Line, width: int) -> Line:
    """The line without what is beyond the terminal's edge."""
    cut: Line = []
    for text, style in line:
        cut.append((text[:width], style))
        width -= len(cut[-1][0])
    return cut
