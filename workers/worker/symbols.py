"""How the venue calls the symbols that are served, and in which slot and exponents they are published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workers.decode.normal import Scale

if TYPE_CHECKING:
    from shm.instruments import Instrument
    from workers.decode.symbols import SymbolDecoder


class Symbols:
    """The one table that the decoders, the strategies and the cold path share; it grows and shrinks.

    Args:
        decoder: the venue's native decoder, which keeps a table of its own; None: it has none.

    Attributes:
        venue_symbols: canonical symbol -> the venue's, of all that have been served.
        scales: venue symbol -> slot and exponents, of what is served now.
    """

    def __init__(self, decoder: SymbolDecoder | None) -> None:
        self._decoder = decoder
        self.venue_symbols: dict[str, str] = {}
        self.scales: dict[str, Scale] = {}

    def register(self, instrument: Instrument) -> None:
        """Decode it into its slot from now on; another slot of the same symbol is left."""
        venue_symbol = instrument.venue_symbol
        self.venue_symbols[instrument.symbol] = venue_symbol
        scale = Scale(instrument.index, instrument.price_exp, instrument.size_exp)
        self.scales[venue_symbol] = scale
        if self._decoder is not None:
            self._decoder.remove_symbol(venue_symbol)
            self._decoder.add_symbol(venue_symbol, *scale)

    def remove(self, instrument: Instrument) -> None:
        """Decode it no more, unless another slot has its symbol by now."""
        scale = self.scales.get(instrument.venue_symbol)
        if scale is not None and scale.instrument == instrument.index:
            del self.scales[instrument.venue_symbol]
            if self._decoder is not None:
                self._decoder.remove_symbol(instrument.venue_symbol)

    def slots(self, topics: Sequence[tuple[str, str]]) -> list[tuple[int, str]]:
        """(slot, channel) of those (symbol, channel) that are served."""
        return [
            (self.scales[venue_symbol].instrument, channel)
            for symbol, channel in topics
            if (venue_symbol := self.venue_symbols.get(symbol)) in self.scales
        ]
