"""What Binance USD-M futures tell beyond spot: mark price, funding, liquidations."""

from __future__ import annotations

from functools import partial

from workers.sim.binance import futures_payloads as payloads
from workers.sim.binance.names import CONTRACTS
from workers.sim.binance.teller import BinanceTeller
from workers.sim.hub import Hub
from workers.sim.market import Trade
from workers.sim.synthetic import Symbol

CADENCES = {"@100ms": 1, "": 3, "@500ms": 5}
"""``@depth`` is told every 250 ms by the venue, every 300 here."""


class FuturesTeller(BinanceTeller):
    """See `synthetic.Teller`."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        super().__init__(symbol, hub, payloads, CADENCES, top=False)
        self._closed: Trade | None = None

    def liquidated(self, now_ns: int, trade: Trade) -> None:
        """Kept: a second's last one is told."""
        self._closed = trade

    def relisted(self, now_ns: int) -> None:
        """``!contractInfo``, which is one stream of all contracts."""
        if self._hub.has_subscribers(CONTRACTS):
            self._hub.publish(CONTRACTS, payloads.contract(self._symbol.listing, now_ns // 1_000_000))

    def slow(self, now_ns: int) -> None:
        """``@markPrice@1s`` and ``@forceOrder``, and what spot tells, too."""
        super().slow(now_ns)
        now_ms = now_ns // 1_000_000
        listing, funding = self._symbol.listing, self._symbol.funding
        if funding is not None:
            mark = funding.at(now_ms)
            self.publish(
                "markPrice@1s", partial(payloads.mark_price, self._name, now_ms, mark, listing.price_decimals)
            )
        closed, self._closed = self._closed, None
        if closed is not None:
            price, size = self._market.price_text(closed.price), self._market.size_text(closed.size)
            self.publish("forceOrder", partial(payloads.liquidation, self._name, now_ms, closed, price, size))
