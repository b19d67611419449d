"""An arbitrage-shaped reader on `shm` alone: watches the spread of one symbol, and says when not to trade.

    python examples/spread.py --feed binance_spot --symbol BTC/USDT --seconds 10

It attaches once. When the worker dies and is restarted it sees the feed go DOWN or RESYNC and LIVE again on
the same mapping; a price that is not LIVE never reaches `decide`, nor does one of a market that is HALTED,
which is delivered all the same. What the ring lost is counted exactly.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import tickring


def decide(top: tickring.Top) -> float:
    """The spread in basis points: the place where a strategy would compare venues and submit."""
    bid, _, ask, _ = top.exact  # int64 mantissas: comparisons are exact
    return 1e4 * (ask - bid) / bid if top.has_bid and top.has_ask else float("nan")


def say(**event: object) -> None:
    """One JSON line a change."""
    print(json.dumps(event), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--feed", default="binance_spot")
    parser.add_argument("--instance", default=None, help="default: TICKRING_INSTANCE, else 'default'")
    parser.add_argument("--symbol", default="BTC/USDT")
    parser.add_argument("--seconds", type=float, default=10.0, help="0 = until stopped")
    parser.add_argument("--wait", type=float, default=10.0, help="how long to wait for the feed")
    options = parser.parse_args()

    try:
        feed = tickring.attach(options.feed, options.instance, wait=options.wait)
    except tickring.ShmError as error:
        print(f"spread: {error}", file=sys.stderr)
        return 1
    cursor = feed.cursor()
    state = ""
    records = decisions = 0
    spread = float("nan")
    start = reported = time.monotonic()
    try:
        while not options.seconds or time.monotonic() - start < options.seconds:
            cursor.wait(timeout=0.01)
            batch = cursor.poll()
            records += len(batch)
            if batch.lost:
                say(event="lost", records=int(batch.lost), total=cursor.lost)
            try:
                top = feed.top(options.symbol)
                if top.status is tickring.InstrumentStatus.ACTIVE:
                    now = "LIVE"
                    spread = decide(top)
                    decisions += 1
                else:
                    now = top.status.name  # HALTED: delivered, and nobody can trade at it
            except tickring.Stale as stale:
                now = stale.state.name  # do not trade on this leg
            except tickring.UnknownSymbol:
                if feed.state is tickring.State.LIVE:
                    raise
                now = "DOWN"  # a new engine's feed gets its instruments before it is LIVE
            except tickring.Busy:
                continue
            if now != state:
                state = now
                say(event="state", state=now, epoch=feed.epoch, after=round(time.monotonic() - start, 4))
            if time.monotonic() - reported >= 1.0:
                reported = time.monotonic()
                bps = round(spread, 4) if state == "LIVE" else None
                say(event="spread", bps=bps, records=records, lost=cursor.lost)
    except tickring.UnknownSymbol as error:
        print(f"spread: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    say(event="end", records=records, lost=cursor.lost, decisions=decisions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
