"""TLS: who is trusted, and that nothing is sent to anybody else."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from workers.contract.tls import TlsOptions
from workers.http.compliance.certificates import Authority
from workers.http.compliance.rows_wire import ok
from workers.http.compliance.server import Server, Wire, serve
from workers.http.compliance.trial import NotOffered, Trial, fails, row, same
from workers.http.errors import ConnectFailed, HttpError, TlsFailed

_REFUSED_STREAM = 7  # RFC 9113, 7


@row
async def tls_trusted(trial: Trial) -> None:
    context = trial.certificate.server_context()
    async with serve(ok, tls=context) as server, trial.trusting() as client:
        for url in (server.url, server.local, server.url):
            same((await client.get(url)).json(), {"ok": True})
        same(server.connections, 2, "connections to two names")


@row
async def tls_unknown_authority(trial: Trial) -> None:
    async with serve(ok, tls=trial.certificate.server_context()) as server, trial.client() as client:
        await fails(TlsFailed, client.post(server.url, content=b"x"), sent=False)
        same(server.requests, [])


@row
async def tls_another_authority(trial: Trial) -> None:
    other = Authority(trial.folder, "another authority").issue("other")
    async with serve(ok, tls=other.server_context()) as server, trial.trusting() as client:
        await fails(TlsFailed, client.get(server.url), sent=False)
        same(server.requests, [])


@row
async def tls_wrong_host(trial: Trial) -> None:
    context = trial.authority.issue("wrong", "other.example").server_context()
    async with serve(ok, tls=context) as server, trial.trusting() as client:
        for url in (server.url, server.local):
            await fails(TlsFailed, client.get(url), sent=False)
        same(server.requests, [])


@row
async def tls_expired(trial: Trial) -> None:
    context = trial.authority.issue("expired", expired=True).server_context()
    async with serve(ok, tls=context) as server, trial.trusting() as client:
        await fails(TlsFailed, client.get(server.url), sent=False)
        same(server.requests, [])


@row
async def tls_too_old(trial: Trial) -> None:
    async with serve(ok, tls=trial.certificate.outdated_context()) as server, trial.trusting() as client:
        await fails(ConnectFailed, client.get(server.url), sent=False)
        same(server.requests, [])


@row
async def tls_refused_by_the_server(trial: Trial) -> None:
    async def alert(wire: Wire) -> None:
        await wire.reader.read(1)
        wire.write(b"\x15\x03\x03\x00\x02\x02\x46")  # fatal, protocol_version
        wire.close()

    async with serve(ok, greet=alert) as server, trial.trusting() as client:
        await fails(TlsFailed, client.get(f"https://127.0.0.1:{server.port}/"), sent=False)


@row
async def tls_to_a_plain_server(trial: Trial) -> None:
    async def babble(wire: Wire) -> None:
        wire.write(b"220 who are you?\r\n")

    async with serve(ok, greet=babble) as server, trial.trusting() as client:
        await fails(TlsFailed, client.get(f"https://127.0.0.1:{server.port}/"), sent=False)


@row
async def tls_verification_off(trial: Trial) -> None:
    context = trial.authority.issue("wrong", "other.example").server_context()
    async with serve(ok, tls=context) as server, trial.client(verify_ssl=False) as client:
        same((await client.get(server.url)).status_code, 200)


@row
async def tls_pin(trial: Trial) -> None:
    certificate = trial.certificate
    other = trial.authority.issue("other")
    async with serve(ok, tls=certificate.server_context()) as server:
        async with trial.trusting(other.pin, certificate.pin) as client:
            for _ in range(2):
                same((await client.get(server.url)).status_code, 200)
            same(server.connections, 1)
        async with trial.client(verify_ssl=False, tls=TlsOptions(pins=(certificate.pin,))) as client:
            same((await client.get(server.url)).status_code, 200)


@row
async def tls_pin_mismatch(trial: Trial) -> None:
    """The chain is good, the key is another: nothing is sent, and the error says which key was seen."""
    certificate = trial.certificate
    other = trial.authority.issue("other")
    async with serve(ok, tls=certificate.server_context()) as server:
        for options in ({}, {"verify_ssl": False}):
            async with trial.trusting(other.pin, **options) as client:
                error = await fails(TlsFailed, client.post(server.url, content=b"x"), sent=False)
                assert certificate.pin in str(error), error
        same(server.requests, [])


@row
async def tls_pin_nonsense(trial: Trial) -> None:
    message = ""
    try:
        async with trial.trusting("not a pin") as client, serve(ok) as server:
            await client.get(server.url)
    except ValueError as error:
        message = str(error)
    assert "not a pin" in message, f"a pin that can never match was accepted: {message}"


@row
async def tls_client_certificate(trial: Trial) -> None:
    mine = trial.authority.issue("mine")
    context = trial.certificate.server_context(clients_of=trial.authority.file)
    async with serve(ok, tls=context) as server:
        async with trial.trusting(cert=(mine.file, mine.key_file)) as client:
            same((await client.get(server.url)).status_code, 200)
        async with trial.trusting() as client:
            # With TLS 1.3 the refusal comes after our request left: nobody may say that nothing was sent.
            error = await fails(HttpError, client.get(server.url))
            assert error.sent or isinstance(error, TlsFailed), repr(error)
        same(len(server.requests), 1)


@row
async def http2(trial: Trial) -> None:
    client = trial.optional_client(http2=True, tls=TlsOptions(trial.authority.file))
    try:
        wire = _Http2()
    except ImportError as error:
        raise NotOffered("h2 is not installed") from error
    context = trial.certificate.server_context(alpn=("h2",))
    async with serve(ok, tls=context, greet=wire.serve) as server, client:
        for _ in range(3):
            answer = await client.post(server.url + "/a//b?x=%2f", content=b"body", headers={"X-Key": "k"})
            same((answer.status_code, answer.content), (200, b"/a//b?x=%2f body k"))
        same(server.connections, 1)
        assert client.stats().opened == 1


@row
async def http2_falls_back(trial: Trial) -> None:
    client = trial.optional_client(http2=True, tls=TlsOptions(trial.authority.file))
    async with serve(ok, tls=trial.certificate.server_context()) as server, client:
        same((await client.get(server.url)).status_code, 200)
        same(_protocol(server), "HTTP/1.1")


@row
async def http2_refusals(trial: Trial) -> None:
    """RFC 9113 lets a client send again what GOAWAY or REFUSED_STREAM say was not processed. Ours does not:
    the caller decides, and counts."""
    for how in ("/goaway", "/refused"):
        client = trial.optional_client(http2=True, tls=TlsOptions(trial.authority.file))
        try:
            wire = _Http2()
        except ImportError as error:
            raise NotOffered("h2 is not installed") from error
        context = trial.certificate.server_context(alpn=("h2",))
        async with serve(ok, tls=context, greet=wire.serve) as server, client:
            await client.get(server.url)
            await fails(HttpError, client.post(server.url + how, content=b"order"), sent=True, ours=True)
            same(wire.seen.count(how), 1, how)
            same((await client.get(server.url)).status_code, 200)


def _protocol(server: Server) -> str:
    return "HTTP/1.1" if server.requests else "?"


class _Http2:
    """The least of an HTTP/2 server: answers every request as it was configured to. The first for `/goaway`
    or `/refused` it has not processed, it says."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._connection = import_module("h2.connection")
        self._config = import_module("h2.config")
        self._events = import_module("h2.events")

    async def serve(self, wire: Wire) -> None:
        state = self._connection.H2Connection(self._config.H2Configuration(client_side=False))
        state.initiate_connection()
        wire.write(state.data_to_send())
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = {}
        while data := await wire.reader.read(65_536):
            for event in state.receive_data(data):
                self._handle(state, event, heads, bodies)
            wire.write(state.data_to_send())
        wire.ended = True

    def _handle(
        self, state: Any, event: Any, heads: dict[int, dict[str, str]], bodies: dict[int, bytes]
    ) -> None:
        if isinstance(event, self._events.RequestReceived):
            heads[event.stream_id] = {_text(name): _text(value) for name, value in event.headers}
        elif isinstance(event, self._events.DataReceived):
            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
        elif isinstance(event, self._events.StreamEnded):
            head = heads[event.stream_id]
            path = head[":path"]
            self.seen.append(path)
            if self.seen.count(path) == 1 and path == "/goaway":
                state.close_connection(last_stream_id=event.stream_id - 2)
                return
            if self.seen.count(path) == 1 and path == "/refused":
                state.reset_stream(event.stream_id, _REFUSED_STREAM)
                return
            body = b"%b %b %b" % (
                path.encode(),
                bodies.get(event.stream_id, b""),
                head.get("x-key", "").encode(),
            )
            state.send_headers(event.stream_id, [(":status", "200"), ("content-length", str(len(body)))])
            state.send_data(event.stream_id, body, end_stream=True)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
