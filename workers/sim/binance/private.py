"""Binance's signed REST endpoints, to test signatures with: no order is matched or kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from workers.sim.keys import Keys, Params
from workers.sim.limits import OrderCount, Window
from workers.sim.refusal import Refusal, missing

SIDES = ("BUY", "SELL")
# Venue docs, "New order": what each type must be given.
TYPES = {
    "LIMIT": ("timeInForce", "quantity", "price"),
    "MARKET": ("quantity",),
    "LIMIT_MAKER": ("quantity", "price"),
}
TIMES_IN_FORCE = ("GTC", "IOC", "FOK")


class Signed(NamedTuple):
    """The parts of a signed request that are verified, as they were sent."""

    key: str
    query: str
    body: bytes


class PrivateRest:
    """Answers signed requests after verifying them.

    Args:
        keys: the accepted API keys.
        symbols: returns the venue symbols that can be traded.
        wall_ns: the venue's wall clock, nanoseconds since 1970.
        clock: seconds, for the limits of new orders.
        accounts: builders of the account endpoints' bodies, by name; given the time in ms.
        orders: limits of new orders, see `limits.OrderCount`.
    """

    def __init__(
        self,
        keys: Keys,
        symbols: Callable[[], Collection[str]],
        wall_ns: Callable[[], int],
        clock: Callable[[], float],
        accounts: Mapping[str, Callable[[int], bytes]],
        orders: Sequence[Window],
    ) -> None:
        self._keys, self._symbols, self._wall_ns, self._clock = keys, symbols, wall_ns, clock
        self._accounts, self._orders = accounts, orders
        self._counts: dict[str, OrderCount] = {}

    def answer(self, endpoint: str, signed: Signed, headers: dict[str, str]) -> bytes:
        """The body of the answer to one request; adds headers to `headers`.

        Raises:
            Refusal: the signature, the time or a parameter is wrong.
        """
        now_ms = self._wall_ns() // 1_000_000
        params = self._keys.check(signed.key, signed.query, signed.body, now_ms)
        if endpoint in self._accounts:
            return self._accounts[endpoint](now_ms)
        if endpoint == "openOrders":
            self._known(params, needed=False)
            return b"[]"
        return self._order_test(params, signed.key, headers)

    def _order_test(self, params: Params, key: str, headers: dict[str, str]) -> bytes:
        """Validate a test order and count it like a real one, so that a client's limiter can be tested."""
        self._known(params, needed=True)
        _among(params, "side", SIDES, -1117, "Invalid side.")
        kind = _among(params, "type", TYPES, -1116, "Invalid orderType.")
        for name in TYPES[kind]:
            if not params.get(name):
                raise missing(name)
        if "timeInForce" in params:
            _among(params, "timeInForce", TIMES_IN_FORCE, -1115, "Invalid timeInForce.")
        count = self._counts.setdefault(key, OrderCount(self._clock, self._orders))
        refused = count.take()
        headers |= count.headers()
        if refused:
            raise Refusal(-1015, f"Too many new orders; current limit is {refused}.", 429)
        return b"{}"

    def _known(self, params: Params, *, needed: bool) -> None:
        symbol = params.get("symbol")
        if symbol is None and needed:
            raise missing("symbol")
        if symbol is not None and symbol not in self._symbols():
            raise Refusal(-1121, "Invalid symbol.")


def _among(params: Params, name: str, allowed: Collection[str], code: int, text: str) -> str:
    value = params.get(name)
    if not value:
        raise missing(name)
    if value not in allowed:
        raise Refusal(code, text)
    return value
