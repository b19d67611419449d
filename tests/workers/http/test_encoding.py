"""Where bodies are decompressed, for how long, and what is not worth it; the suite has the rest."""

from __future__ import annotations

import asyncio
import gzip
import threading
from typing import Any

import pytest
from multidict import CIMultiDict

from workers.http import base, encoding
from workers.http.base import BaseClient
from workers.http.client import HttpClientOptions
from workers.http.errors import BodyUnreadable, ReadTimedOut
from workers.http.message import Call, Response

ALL = 1 << 30
EMPTY = gzip.compress(b"", mtime=0)


class Canned(BaseClient):
    """Answers everything with one body."""

    def __init__(self, body: bytes, **options: Any) -> None:
        super().__init__(HttpClientOptions(**options))
        self.body = body

    async def _exchange(self, call: Call) -> Response:
        call.sent = True
        return Response(200, CIMultiDict({"Content-Encoding": "gzip"}), self.body, call.url, "HTTP/1.1")

    async def _shut(self) -> None:
        pass

    def _connections(self) -> tuple[int, int]:
        return 1, 1


class Watched:
    """`encoding.decode` with a note of where it ran: in the loop's thread?, and with which bound."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.runs: list[tuple[bool, int]] = []
        self._decode = encoding.decode
        patch.setattr(encoding, "decode", self)

    def __call__(self, body: bytes, encodings: str, bound: int) -> bytes:
        self.runs.append((threading.current_thread() is threading.main_thread(), bound))
        return self._decode(body, encodings, bound)


def ask(client: BaseClient) -> bytes:
    async def main() -> bytes:
        async with client:
            return (await client.get("http://x/")).content

    return asyncio.run(main())


def test_a_small_body_is_the_loops_work(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    assert ask(Canned(gzip.compress(b"{}"))) == b"{}"
    assert watched.runs == [(True, base.INLINE_UNPACKED)]


def test_what_swells_is_a_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MB out of 100 kB: the loop does the first 1 MB of it at most."""
    watched = Watched(monkeypatch)
    packed = gzip.compress(bytes(100_000_000), 9)
    assert len(packed) < base.INLINE
    assert len(ask(Canned(packed))) == 100_000_000
    assert watched.runs == [(True, base.INLINE_UNPACKED), (False, HttpClientOptions().max_body)]


def test_a_large_body_is_a_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    body = bytes(range(256)) * 2000
    assert ask(Canned(gzip.compress(body, 0))) == body
    assert [in_loop for in_loop, _ in watched.runs] == [False]


def test_a_bound_below_that_is_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    with pytest.raises(BodyUnreadable, match="larger than max_body = 1000"):
        ask(Canned(gzip.compress(bytes(1001)), max_body=1000))
    assert watched.runs == [(True, 1000)]


def test_decompressing_has_no_more_time_than_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    decode = encoding.decode

    def slow(body: bytes, encodings: str, bound: int) -> bytes:
        if threading.current_thread() is not threading.main_thread():
            release.wait(10.0)
        return decode(body, encodings, bound)

    async def main() -> None:
        async with Canned(gzip.compress(bytes(2_000_000)), timeout=0.05) as client:
            with pytest.raises(ReadTimedOut, match="not decompressed in time") as caught:
                await client.get("http://x/")
            assert caught.value.sent
        release.set()

    monkeypatch.setattr(encoding, "decode", slow)
    asyncio.run(main())


@pytest.mark.parametrize("piece", [1, 7, 100, 65_536])
def test_members_are_joined_wherever_the_pieces_end(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(encoding, "PIECE", piece)
    parts = [b"a" * 1000, b"", bytes(range(256)), b"z"]
    packed = b"".join(gzip.compress(part) for part in parts)
    assert encoding.decode(packed, "gzip", ALL) == b"".join(parts)
    for cut in (1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(BodyUnreadable):
            encoding.decode(packed[:cut], "gzip", ALL)


def test_members_and_layers_have_an_end() -> None:
    few = EMPTY * (encoding.MEMBERS - 2) + gzip.compress(b"{}")
    assert encoding.decode(few, "gzip", ALL) == b"{}"
    with pytest.raises(BodyUnreadable, match="members"):
        encoding.decode(EMPTY + EMPTY + few, "gzip", ALL)
    thrice = gzip.compress(gzip.compress(gzip.compress(b"{}")))
    assert encoding.decode(thrice, "gzip, gzip, gzip", ALL) == b"{}"
    with pytest.raises(BodyUnreadable, match="4 encodings"):
        encoding.decode(gzip.compress(thrice), "gzip, gzip, gzip, gzip", ALL)
