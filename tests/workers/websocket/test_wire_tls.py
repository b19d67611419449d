"""wss: who is trusted, on both event loops; nothing of ours reaches anybody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from picows import WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from workers.contract import tls
from workers.contract.errors import ConnectionFailed, ConnectTimeout, ErrorClass, HandshakeRefused
from workers.contract.tls import TlsOptions
from workers.contract.websocket import ConnectionContext
from workers.http.compliance.certificates import Authority
from workers.http.compliance.server import Received, Wire, serve
from workers.websocket.connect import open_connection
from workers.websocket.wire import CallbackSink, WireListener

LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"uvloop": uvloop.run, "asyncio": asyncio.run}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    return LOOPS[request.param]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Venue:
    """A wss server that remembers what was asked of it."""

    def __init__(self) -> None:
        self.requests: list[WSUpgradeRequest] = []
        self.port = 0

    def url(self, host: str = "127.0.0.1") -> str:
        return f"wss://{host}:{self.port}/stream"


@asynccontextmanager
async def venue(context: ssl.SSLContext) -> AsyncIterator[Venue]:
    venue = Venue()

    class Peer(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: Any) -> None:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())

    def accept(request: WSUpgradeRequest) -> WSListener:
        venue.requests.append(request)
        return Peer()

    server = await ws_create_server(accept, "127.0.0.1", 0, ssl=context)
    venue.port = server.sockets[0].getsockname()[1]
    try:
        yield venue
    finally:
        server.close()


async def connect(url: str, options: TlsOptions, within: float = 5.0) -> None:
    context = ConnectionContext(url=url, tls=options, connect_timeout=within)
    transport: Any = await open_connection(context, WireListener())
    sock = transport.underlying_transport.get_extra_info("socket")
    assert sock is not None
    transport.disconnect(False)
    await transport.wait_disconnected()


async def refused(url: str, options: TlsOptions) -> ConnectionFailed:
    with pytest.raises(ConnectionFailed) as failure:
        await connect(url, options)
    assert isinstance(failure.value.__cause__, ssl.SSLError)
    return failure.value


Run = Callable[[Coroutine[Any, Any, None]], None]


def test_the_authority_of_the_options_is_trusted(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with venue(authority.issue("good").server_context()) as server:
            for host in ("127.0.0.1", "localhost"):
                await connect(server.url(host), TlsOptions(authority.file))
            assert len(server.requests) == 2

    run(main())


@pytest.mark.parametrize(
    ("hosts", "expired", "trusted", "says"),
    [
        ((), False, False, "unable to get local issuer certificate"),
        (("other.example",), False, True, "IP address mismatch"),
        ((), True, True, "certificate has expired"),
    ],
    ids=["unknown authority", "wrong host", "expired"],
)
def test_a_bad_certificate_is_refused(
    run: Run, authority: Authority, hosts: tuple[str, ...], expired: bool, trusted: bool, says: str
) -> None:
    async def main() -> None:
        context = authority.issue("bad", *hosts, expired=expired).server_context()
        async with venue(context) as server:
            error = await refused(server.url(), TlsOptions(authority.file if trusted else ""))
            assert says in str(error)
            assert error.kind is ErrorClass.REFUSED
            assert server.requests == []

    run(main())


def test_the_system_does_not_vouch_beside_the_options_authority(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        mine, other = Authority(tmp_path), Authority(tmp_path, "another")
        async with venue(other.issue("other").server_context()) as server:
            await refused(server.url(), TlsOptions(mine.file))
            assert server.requests == []

    run(main())


def test_a_pin_is_checked_before_anything_is_sent(run: Run, authority: Authority) -> None:
    async def main() -> None:
        good, other = authority.issue("good"), authority.issue("other")
        async with venue(good.server_context()) as server:
            await connect(server.url(), TlsOptions(authority.file, (other.pin, good.pin)))
            assert len(server.requests) == 1
            error = await refused(server.url(), TlsOptions(authority.file, (other.pin,)))
            assert good.pin in str(error)
            assert other.pin in str(error)
            assert len(server.requests) == 1

    run(main())


def test_control_without_the_check_a_wrong_pin_connects(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "check_pin", lambda *_: None)

    async def main() -> None:
        async with venue(authority.issue("good").server_context()) as server:
            await connect(server.url(), TlsOptions(authority.file, (authority.issue("other").pin,)))

    run(main())


def test_a_server_with_tls_1_1_is_refused(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with serve(_ok, tls=authority.issue("good").outdated_context()) as server:
            url = f"wss://127.0.0.1:{server.port}/"
            with pytest.raises(ConnectionFailed):
                await connect(url, TlsOptions(authority.file))
            assert server.requests == []

        async def alert(wire: Wire) -> None:
            await wire.reader.read(1)
            wire.write(b"\x15\x03\x03\x00\x02\x02\x46")  # fatal, protocol_version
            wire.close()

        async with serve(_ok, greet=alert) as server:
            error = await refused(f"wss://127.0.0.1:{server.port}/", TlsOptions(authority.file))
            assert "PROTOCOL_VERSION" in str(error)

    run(main())


def test_a_plain_server_is_refused(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async def babble(wire: Wire) -> None:
            wire.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with serve(_ok, greet=babble) as server:
            error = await refused(f"wss://127.0.0.1:{server.port}/", TlsOptions(authority.file))
            assert "TLS failed" in str(error)

    run(main())


def test_a_silent_handshake_times_out_and_leaves_nothing(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async def hang(wire: Wire) -> None:
            await wire.hang()

        for pins in ((), (authority.issue("good").pin,)):
            async with serve(_ok, greet=hang) as server:
                url = f"wss://127.0.0.1:{server.port}/"
                with pytest.raises(ConnectTimeout):
                    await connect(url, TlsOptions(authority.file, pins), within=0.1)
                await server.until(lambda s: s.open == 0)

    run(main())


@pytest.mark.parametrize("status", [403, 418, 429, 503])
def test_a_refused_upgrade_is_reported_over_tls_too(run: Run, authority: Authority, status: int) -> None:
    async def refuse(request: Received, wire: Wire) -> None:
        wire.answer(status, b"", ("Retry-After", "7"))

    async def main() -> None:
        async with serve(refuse, tls=authority.issue("good").server_context()) as server:
            with pytest.raises(HandshakeRefused) as failure:
                await connect(f"wss://127.0.0.1:{server.port}/stream", TlsOptions(authority.file))
            assert (failure.value.status, failure.value.retry_after) == (status, 7.0)
            assert server.requests[0].target == "/stream"

    run(main())


def test_frames_pass(run: Run, authority: Authority) -> None:
    """Also with pins, where another TLS implementation is underneath."""

    async def main() -> None:
        good = authority.issue("good")
        async with venue(good.server_context()) as server:
            for pins in ((), (good.pin,)):
                got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                listener = WireListener(CallbackSink(_into(got)))
                context = ConnectionContext(url=server.url(), tls=TlsOptions(authority.file, pins))
                transport: Any = await open_connection(context, listener)
                transport.send(WSMsgType.BINARY, b"x" * 70_000)
                assert await asyncio.wait_for(got, 5.0) == b"x" * 70_000
                transport.disconnect(False)
                await transport.wait_disconnected()

    run(main())


def _into(got: asyncio.Future[bytes]) -> Callable[[bytes, int], int]:
    def frame(payload: bytes, received: int) -> int:
        got.set_result(payload)
        return 1

    return frame


async def _ok(request: Received, wire: Wire) -> None:
    wire.answer(200)
