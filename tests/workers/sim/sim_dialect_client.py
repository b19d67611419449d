"""A client of any dialect: it subscribes with `Dialect.subscribe_request`, and decodes with the dialect's
`CaptureDecoder`.

What it receives is kept as capture rows, so that its session can be replayed.
"""

from __future__ import annotations

import base64
from typing import Any

import aiohttp
import msgspec
from sim_client import until

from workers.capture.reader import Row
from workers.sim import SimVenue
from workers.sim.book import Depth, Diff, Fold


class DialectClient:
    """One connection.

    Attributes:
        frames: streams and payloads, in the order in which they came.
        broken: payloads that could not be decoded.
        folds: the book of each stream; None or absent before its snapshot.
        rows: everything that was sent and received, as rows of a capture.
    """

    def __init__(self, venue: SimVenue) -> None:
        self.venue, self.dialect = venue, venue.dialect
        self.decoder = self.dialect.decoder()
        self.session = aiohttp.ClientSession()
        self.ws: Any = None
        self.rows: list[Row] = []
        self.frames: list[tuple[str, bytes]] = []
        self.broken: list[bytes] = []
        self.folds: dict[str, Fold | None] = {}
        self.received = 0
        self._others = 0

    async def __aenter__(self) -> DialectClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.ws is not None:
            await self.ws.close()
        await self.session.close()

    async def subscribe(self, streams: list[str], *, wait: list[str] | None = None) -> None:
        """Connect, subscribe, and wait until the subscriptions are in force.

        Args:
            streams: the streams to subscribe to.
            wait: those to wait for, if some of them do not exist.
        """
        target, messages = self.dialect.subscribe_request(streams)
        self._others = self.venue.hub.counters["sent"]
        self.ws = await self.session.ws_connect(self.venue.ws_url + target, max_msg_size=0, autoping=False)
        self._row(Row(self._now(), "ws", 0, "open", url=self.venue.ws_url + target))
        for message in messages:
            await self.ws.send_str(message.decode())
            self._row(Row(self._now(), "ws", 0, "out", text=message.decode()))
        await until(lambda: all(map(self.venue.hub.has_subscribers, streams if wait is None else wait)))

    def _now(self) -> int:
        return 1_700_000_000_000_000_000 + len(self.rows) * 1_000_000

    def _row(self, row: Row) -> None:
        self.rows.append(row)
        if row.kind != "ws":
            return
        try:
            found = list(self.decoder.frames(row))
        except (ValueError, msgspec.MsgspecError):
            self.broken.append(row.payload())
            return
        for stream, payload in found:
            try:
                book = self.decoder.book_event(stream, payload)
            except (ValueError, msgspec.MsgspecError):
                self.broken.append(payload)
            else:
                self.frames.append((stream, payload))
                self._fold(stream, book)

    def _fold(self, stream: str, book: Depth | Diff | None) -> None:
        fold = self.folds.get(stream)
        if isinstance(book, Depth):
            self.folds[stream] = Fold(book)
        elif isinstance(book, Diff) and fold is not None:
            if self.decoder.snapshot_in_stream:
                fold.put(book, self.decoder.max_levels(stream))
            else:
                assert fold.apply(book), f"{stream}: a gap before {book.first_id}, book at {fold.last_id}"

    async def receive_all(self) -> None:
        """Receive all that the venue has sent so far (no other connection may be served meanwhile)."""
        self.venue.hub.flush()
        while self.received < self.venue.hub.counters["sent"] - self._others:
            message = await self.ws.receive(timeout=3)
            if message.type is aiohttp.WSMsgType.TEXT:
                self._row(Row(self._now(), "ws", 0, "in", text=message.data))
            elif message.type is aiohttp.WSMsgType.BINARY:
                self._row(Row(self._now(), "ws", 0, "in", b64=base64.b64encode(message.data).decode()))
            elif message.type is not aiohttp.WSMsgType.PING:
                raise AssertionError(f"the connection ended: {message}")
            self.received += message.type is not aiohttp.WSMsgType.PING

    async def start(self, symbol: str) -> None:
        """Get a book's snapshot by REST, if it does not come in the stream, and apply the changes since."""
        path = self.dialect.snapshot_path
        if path is None:
            return
        stream = self.stream(symbol)
        async with self.session.get(self.venue.rest_url + path(symbol)) as answer:
            assert answer.status == 200, await answer.text()
            row = Row(
                self._now(), "http", url=str(answer.url), method="GET", status=200, text=await answer.text()
            )
        self._row(row)
        found = self.decoder.rest_snapshot(row)
        assert found is not None
        assert found[0] == symbol
        fold = self.folds[stream] = Fold(found[1])
        heard = [self.decoder.book_event(stream, payload) for name, payload in self.frames if name == stream]
        for diff in heard:
            if isinstance(diff, Diff) and diff.last_id > fold.last_id:
                assert fold.apply(diff), f"{stream}: the snapshot {found[1].last_id} is too old"

    def stream(self, symbol: str, channel: str = "book") -> str:
        return self.dialect.streams(symbol)[channel]

    def payloads(self, stream: str) -> list[bytes]:
        return [payload for name, payload in self.frames if name == stream]

    def diffs(self, stream: str) -> list[bytes]:
        """The changes in a book's stream, without the snapshots."""
        found = self.payloads(stream)
        return [one for one in found if isinstance(self.decoder.book_event(stream, one), Diff)]

    def book(self, symbol: str) -> Depth:
        fold = self.folds[self.stream(symbol)]
        assert fold is not None, f"no snapshot of {symbol}"
        return fold.depth()
