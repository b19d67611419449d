"""A worker that is not one: it keeps a segment LIVE and obeys the rules of `workers.worker.worker`, or
breaks one.

Which rule it breaks is the host of ``ws_url``: ``ws://hang`` does not beat after 0.3 s, ``ws://crash`` exits
at once, ``ws://deaf`` ignores SIGTERM, ``ws://config`` says that its settings can not work.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

import msgspec

from shm.instruments import Instrument
from shm.layout import Geometry, InstrumentKind, Reason, State
from shm.segment import open_writer
from workers.config.venue import WorkerConfig


def main() -> int:
    fd = int(sys.argv[sys.argv.index("--fd") + 1])
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(fd, 65536)
    config = msgspec.json.decode(line, type=WorkerConfig)
    assert config.parent_pid == os.getppid()
    mode = config.venue.ws_url.removeprefix("ws://")
    if mode == "crash":
        return 1
    if mode == "config":
        print(f"worker {config.feed}: the venue lists no FOO/BAR", file=sys.stderr, flush=True)
        return 2
    leave: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: None if mode == "deaf" else leave.append(1))
    venue = config.venue
    geometry = Geometry(slots=venue.ring_slots, instruments=venue.max_instruments, depth=venue.depth)
    writer = open_writer(config.instance, config.feed, geometry, venue.heartbeat_limit)
    if not writer.instruments():
        for symbol in venue.symbols:
            writer.add_instrument(
                Instrument(
                    index=0,
                    symbol=symbol,
                    venue_symbol=symbol.replace("/", ""),
                    kind=InstrumentKind.SPOT,
                    price_exp=2,
                    size_exp=4,
                    tick=1,
                    lot=1,
                    min_notional=0,
                    notional_exp=0,
                    multiplier=1,
                    multiplier_exp=0,
                )
            )
    writer.set_state(State.LIVE, Reason.SYNCED)
    for index in range(len(venue.symbols)):
        writer.top(
            index, 10_000, 25_000, 10_010, 30_000, update_id=7, ts_event=1, ts_recv=time.monotonic_ns()
        )
        writer.book_cell(index, [(10_000, 25_000)], [(10_010, 30_000)], update_id=7, ts_event=1, ts_recv=2)
    writer.commit()
    started = time.monotonic()
    while not leave:
        if mode != "hang" or time.monotonic() - started < 0.3:
            writer.heartbeat()
        if select.select([fd], [], [], 0.02)[0] and not os.read(fd, 1):
            os._exit(3)  # the supervisor is gone
    writer.close(unlink=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
