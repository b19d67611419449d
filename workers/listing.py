"""A slot that was taken over beside the venue's listing of today: does it still say what is so? Pure."""

from __future__ import annotations

import msgspec

from shm.instruments import Instrument


def successor(slot: Instrument, listed: Instrument) -> Instrument | None:
    """The slot that replaces `slot`, or None: what it says of tick, lot, notional and decimals still holds.

    A slot's exponents never change, and what an order is rounded by must not change under a reader either: a
    new slot says it. Decimals never become fewer, so that a slot that had to be widened is not narrowed again
    with every start.
    """
    price_exp = max(slot.price_exp, listed.price_exp)
    size_exp = max(slot.size_exp, listed.size_exp)
    spec = msgspec.structs.replace(
        listed,
        index=slot.index,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=listed.tick * 10 ** (price_exp - listed.price_exp),
        lot=listed.lot * 10 ** (size_exp - listed.size_exp),
        status=slot.status,
    )
    return None if spec == slot else msgspec.structs.replace(spec, index=0, status=listed.status)
