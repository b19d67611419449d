"""Publishes what Binance USD-M futures have beyond spot: mark price, funding, liquidations, contract info."""

from __future__ import annotations

from functools import partial

from workers.sim.binance import futures_payloads as payloads
from workers.sim.binance.names import CONTRACTS
from workers.sim.binance.publisher import BinancePublisher
from workers.sim.hub import Hub
from workers.sim.market import Trade
from workers.sim.synthetic import Symbol

CADENCES = {"@100ms": 1, "": 3, "@500ms": 5}
"""``@depth`` is updated every 250 ms by the venue, every 300 ms here."""


class FuturesPublisher(BinancePublisher):
    """See `synthetic.MarketPublisher`."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        super().__init__(symbol, hub, payloads, CADENCES, top=False)
        self._liquidation: Trade | None = None

    def on_liquidation(self, now_ns: int, trade: Trade) -> None:
        """Kept until the next second: ``@forceOrder`` publishes the last one of each second."""
        self._liquidation = trade

    def on_listing_changed(self, now_ns: int) -> None:
        """``!contractInfo``, one stream for all contracts."""
        if self._hub.has_subscribers(CONTRACTS):
            self._hub.publish(CONTRACTS, payloads.contract(self._symbol.listing, now_ns // 1_000_000))

    def every_second(self, now_ns: int) -> None:
        """``@markPrice@1s`` and ``@forceOrder``, after the streams that spot has too."""
        super().every_second(now_ns)
        now_ms = now_ns // 1_000_000
        listing, funding = self._symbol.listing, self._symbol.funding
        if funding is not None:
            mark = funding.at(now_ms)
            self.publish(
                "markPrice@1s", partial(payloads.mark_price, self._name, now_ms, mark, listing.price_decimals)
            )
        liquidation, self._liquidation = self._liquidation, None
        if liquidation is not None:
            price, size = self._market.price_text(liquidation.price), self._market.size_text(liquidation.size)
            self.publish(
                "forceOrder", partial(payloads.liquidation, self._name, now_ms, liquidation, price, size)
            )
