"""Through an HTTP proxy."""

from __future__ import annotations

from workers.http.client import Timeout
from workers.http.compliance.rows_wire import ok
from workers.http.compliance.server import closed_port, proxy, serve, silent_port
from workers.http.compliance.trial import Trial, fails, row, same
from workers.http.errors import ConnectTimedOut, HttpError, ProxyFailed, TlsFailed

USER = "Basic dXNlcjpwOnc="  # user, p:w


@row
async def proxy_for_plain_http(trial: Trial) -> None:
    async with serve(proxy(user=USER)) as between:
        client = trial.client(proxy=f"http://user:p%3Aw@127.0.0.1:{between.port}")
        answer = await client.get("http://exchange.invalid/a//b?x=%2f")
        same(answer.content, b"proxied http://exchange.invalid/a//b?x=%2f")
        same(between.requests[0].one("host"), "exchange.invalid")


@row
async def proxy_tunnel(trial: Trial) -> None:
    async with serve(ok, tls=trial.certificate.server_context()) as server, serve(proxy()) as between:
        async with trial.trusting(proxy=between.url) as client:
            for _ in range(3):
                same((await client.get(server.url + "/a//b?x=%2f")).status_code, 200)
        same([request.target for request in server.requests], ["/a//b?x=%2f"] * 3)
        same([request.method for request in between.requests], ["CONNECT"], "the tunnel is kept")
        same(between.requests[0].target, f"127.0.0.1:{server.port}")


@row
async def proxy_tunnel_with_auth(trial: Trial) -> None:
    context = trial.certificate.server_context()
    async with serve(ok, tls=context) as server, serve(proxy(user=USER)) as between:
        url = f"http://user:p%3Aw@127.0.0.1:{between.port}"
        async with trial.trusting(proxy=url) as client:
            same((await client.get(server.url)).status_code, 200)
        same(server.requests[0].all("proxy-authorization"), [], "what the server may see of it")
        async with trial.trusting(proxy=between.url) as client:
            await fails(ProxyFailed, client.get(server.url), sent=False)
        same(len(server.requests), 1)


@row
async def proxy_refuses(trial: Trial) -> None:
    context = trial.certificate.server_context()
    async with serve(ok, tls=context) as server:
        for status in (403, 502, 503):
            async with serve(proxy(refuse=status)) as between, trial.trusting(proxy=between.url) as client:
                await fails(ProxyFailed, client.post(server.url, content=b"x"), sent=False)
        async with serve(proxy(reset=True)) as between, trial.trusting(proxy=between.url) as client:
            await fails(ProxyFailed, client.post(server.url, content=b"x"), sent=False)
        same(server.requests, [])


@row
async def proxy_unreachable(trial: Trial) -> None:
    async with trial.trusting(proxy=f"http://127.0.0.1:{closed_port()}") as client:
        for url in ("https://127.0.0.1:1/", "http://127.0.0.1:1/"):
            await fails(ProxyFailed, client.get(url), sent=False)


@row
async def proxy_silent(trial: Trial) -> None:
    async with silent_port() as port, trial.trusting(proxy=f"http://127.0.0.1:{port}") as client:
        limits = Timeout(total=5.0, connect=0.08)
        await fails(ConnectTimedOut, client.get("https://127.0.0.1:1/", timeout=limits), sent=False)


@row
async def proxy_does_not_vouch(trial: Trial) -> None:
    """The server behind a proxy is verified like any other."""
    context = trial.authority.issue("wrong", "other.example").server_context()
    async with serve(ok, tls=context) as server, serve(proxy()) as between:
        async with trial.trusting(proxy=between.url) as client:
            await fails(TlsFailed, client.get(server.url), sent=False)
        async with trial.trusting(trial.certificate.pin, proxy=between.url, verify_ssl=False) as client:
            await fails(TlsFailed, client.get(server.url), sent=False)
        same(server.requests, [])


@row
async def proxy_error_hides_the_password(trial: Trial) -> None:
    url = f"http://user:topsecret@127.0.0.1:{closed_port()}"
    async with trial.client(proxy=url) as client:
        error = await fails(HttpError, client.get("http://127.0.0.1:1/"))
        assert "topsecret" not in str(error), error
        assert "topsecret" not in repr(client), client
