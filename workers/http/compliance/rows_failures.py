"""When it goes wrong: which error, how soon, and how often the server saw the request."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from workers.http.client import Timeout
from workers.http.compliance.rows_wire import ok, still_works
from workers.http.compliance.server import (
    Received,
    Wire,
    black_hole,
    closed_port,
    serve,
)
from workers.http.compliance.trial import Trial, fails, row, same
from workers.http.errors import (
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    HttpError,
    PoolTimedOut,
    ProtocolViolation,
    ReadTimedOut,
)

SOON = 0.08  # seconds: a timeout that is meant to come
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
SECRET = "/order?signature=0123456789abcdef"


# -- before the first byte ------------------------------------------------------------------------------
@row
async def refused(trial: Trial) -> None:
    async with trial.client() as client:
        error = await fails(
            ConnectFailed, client.get(f"http://127.0.0.1:{closed_port()}{SECRET}"), sent=False
        )
        assert not isinstance(error, ConnectTimedOut)
        same(client.stats().in_use, 0)


@row
async def name_not_resolved(trial: Trial) -> None:
    async with trial.client() as client:
        await fails(ConnectFailed, client.post("http://no-such-host.invalid/", content=b"x"), sent=False)


@row
async def connect_timeout(trial: Trial) -> None:
    async with black_hole() as url, trial.client() as client:
        limits = Timeout(total=5.0, connect=SOON)
        await fails(ConnectTimedOut, client.post(url, content=b"x", timeout=limits), sent=False)
        await fails(ConnectTimedOut, client.get(url, timeout=Timeout(total=SOON)), sent=False)
        same(client.stats().in_use, 0)


@row
async def tls_handshake_timeout(trial: Trial) -> None:
    async def hang(wire: Wire) -> None:
        await wire.hang()

    async with serve(ok, greet=hang) as server, trial.client() as client:
        url = f"https://127.0.0.1:{server.port}/"
        for limits in (Timeout(total=5.0, connect=SOON), Timeout(total=SOON)):
            await fails(ConnectTimedOut, client.get(url, timeout=limits), sent=False)
        task = asyncio.ensure_future(client.get(url))
        await server.until(lambda s: s.connections == 3)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.open == 0)  # nothing is left behind


@row
async def pool_timeout(trial: Trial) -> None:
    release = asyncio.Event()

    async def slow(request: Received, wire: Wire) -> None:
        await release.wait()
        await ok(request, wire)

    async with serve(slow) as server, trial.client(pool_per_host=1) as client:
        first = asyncio.ensure_future(client.get(server.url))
        await server.until(lambda s: len(s.requests) == 1)
        for limits in (Timeout(total=5.0, pool=SOON), Timeout(total=SOON)):
            await fails(PoolTimedOut, client.post(server.url, timeout=limits), sent=False)
        release.set()
        same((await first).status_code, 200)
        same(len(server.requests), 1)
        await still_works(client, server.url)


# -- afterwards -----------------------------------------------------------------------------------------
@row
async def read_timeout(trial: Trial) -> None:
    async def silent(request: Received, wire: Wire) -> None:
        if request.target == "/half":
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        if request.target == "/head":
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        if request.target == "/":
            await ok(request, wire)
            return
        await wire.hang()

    async with serve(silent) as server, trial.client() as client:
        for path in ("/silent", "/head", "/half"):
            limits = Timeout(total=5.0, read=SOON)
            await fails(ReadTimedOut, client.post(server.url + path, timeout=limits), sent=True, ours=True)
        await still_works(client, server.url + "/")


@row
async def read_timeout_spares_the_slow(trial: Trial) -> None:
    """`read` is about silence: a body that keeps coming may take longer in all."""

    async def drip(request: Received, wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n")
        for _ in range(16):
            await asyncio.sleep(SOON / 2)
            wire.write(b".")

    async with serve(drip) as server, trial.client() as client:
        limits = Timeout(total=5.0, read=6 * SOON)  # of 8 in all
        same((await client.get(server.url, timeout=limits)).content, b"." * 16)


@row
async def total_timeout(trial: Trial) -> None:
    async def drip(request: Received, wire: Wire) -> None:
        if request.target == "/":
            await ok(request, wire)
            return
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with suppress(OSError):
            while not wire.writer.is_closing():
                wire.write(b".")
                await asyncio.sleep(SOON / 8)

    async with serve(drip) as server, trial.client(timeout=Timeout(total=2 * SOON)) as client:
        started = asyncio.get_running_loop().time()
        await fails(ReadTimedOut, client.get(server.url + "/slow"), sent=True)
        took = asyncio.get_running_loop().time() - started
        assert took < 10 * SOON, f"{took:.3f} s for a timeout of {2 * SOON} s"
        await still_works(client, server.url + "/")


@row
async def total_timeout_spans_redirects(trial: Trial) -> None:
    async def on_and_on(request: Received, wire: Wire) -> None:
        await asyncio.sleep(SOON)
        wire.answer(302, b"", ("Location", "/next"))

    async with serve(on_and_on) as server, trial.client(max_redirects=50) as client:
        await fails(ReadTimedOut, client.get(server.url, timeout=3 * SOON), sent=True)
        assert len(server.requests) <= 5, len(server.requests)


@row
async def reset_after_the_request(trial: Trial) -> None:
    """On a fresh connection; one request on the wire, whatever the method."""

    async def reset(request: Received, wire: Wire) -> None:
        wire.reset()

    for method in METHODS:
        async with serve(reset) as server, trial.client() as client:
            content = b"x=1" if method in ("POST", "PUT", "PATCH") else None
            await fails(ConnectionLost, client.request(method, server.url, content=content), sent=True)
            await asyncio.sleep(0.01)
            same(len(server.requests), 1, method)


@row
async def reset_after_a_request_on_a_kept_connection(trial: Trial) -> None:
    """Where libraries like to send again by themselves."""

    async def second_fails(request: Received, wire: Wire) -> None:
        if request.nth == 2 and request.target == "/reset":
            wire.reset()
        elif request.nth == 2:
            wire.close()
        elif request.method == "HEAD":
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")
        else:
            await ok(request, wire)

    for path in ("/reset", "/close"):
        for method in METHODS:
            async with serve(second_fails) as server, trial.client() as client:
                content = b"x=1" if method in ("POST", "PUT", "PATCH") else None
                await client.request(method, server.url + path, content=content)
                request = client.request(method, server.url + path, content=content)
                await fails(ConnectionLost, request, sent=True)
                await asyncio.sleep(0.01)
                same(len(server.requests), 2, f"{method} {path}: requests on the wire")


@row
async def kept_connection_closed_by_the_server(trial: Trial) -> None:
    """Idle, it is closed: the next request goes out at most once, and fails as what it is if it fails."""

    async def answer_and_go(request: Received, wire: Wire) -> None:
        await ok(request, wire)
        await wire.drain()
        if request.target == "/reset":
            await asyncio.sleep(0.005)  # the answer must arrive before the RST
            wire.reset()
        else:
            wire.close()

    for path in ("/close", "/reset"):
        for method in ("GET", "POST", "DELETE"):
            async with serve(answer_and_go) as server, trial.client() as client:
                for calls in range(1, 5):
                    with suppress(ConnectionLost, ConnectFailed):
                        await client.request(method, server.url + path)
                    await server.until(lambda s: s.open == 0)
                    seen = len(server.requests)
                    assert seen <= calls, f"{method} {path}: {seen} requests on the wire for {calls} calls"


@row
async def reset_before_the_request(trial: Trial) -> None:
    async def greet(wire: Wire) -> None:
        wire.reset()

    async with serve(ok, greet=greet) as server, trial.client() as client:
        error = await fails((ConnectionLost, ConnectFailed), client.post(server.url, content=b"x"))
        assert error.sent or isinstance(error, ConnectFailed), repr(error)
        await asyncio.sleep(0.01)
        assert server.connections <= 1, f"{server.connections} connections"


@row
async def cut_answers(trial: Trial) -> None:
    half = {
        "/status": b"HTTP/1.1 20",
        "/headers": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A",
        "/body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "/chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf",
        "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "/nothing": b"",
    }

    async def cut(request: Received, wire: Wire) -> None:
        path, _, how = request.target.rpartition(".")
        if not path:
            await ok(request, wire)
            return
        wire.write(half[path])
        await wire.drain()
        if how == "reset":
            await asyncio.sleep(0.005)
            wire.reset()
        else:
            wire.close()

    async with serve(cut) as server, trial.client() as client:
        for path in half:
            for how in ("close", "reset"):
                before = len(server.requests)
                await fails(ConnectionLost, client.get(f"{server.url}{path}.{how}"), sent=True)
                same(len(server.requests) - before, 1, path)
        await still_works(client, server.url + "/")


@row
async def garbage(trial: Trial) -> None:
    answers = {
        "/words": b"hello, who is there?\r\n\r\n",
        "/status": b"HTTP/1.1 abc OK\r\n\r\n",
        "/length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "/chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    }

    async def babble(request: Received, wire: Wire) -> None:
        if request.target == "/":
            await ok(request, wire)
            return
        wire.write(answers[request.target])
        await wire.drain()
        await wire.hang()

    async with serve(babble) as server, trial.client() as client:
        for path in answers:
            limits = Timeout(total=2.0, read=1.0)
            await fails(ProtocolViolation, client.get(server.url + path, timeout=limits), sent=True)
        await still_works(client, server.url + "/")


@row
async def answer_nobody_asked_for(trial: Trial) -> None:
    """Bytes after an answer are no answer to the next request: plain or encrypted, in the same write or just
    after it, behind a body or in place of one (HEAD, 204, 304)."""

    async def too_much(request: Received, wire: Wire) -> None:
        if request.connection > 1:
            await ok(request, wire)
            return
        if request.method == "HEAD":
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")
        elif request.target in ("/204", "/304"):
            wire.write(b"HTTP/1.1 %b Told\r\n\r\n" % request.target[1:].encode())
        else:
            await ok(request, wire)
        if request.target == "/later":
            await wire.drain()
        wire.answer(200, b"stray")

    asked = (("GET", "/"), ("GET", "/later"), ("HEAD", "/"), ("GET", "/204"), ("GET", "/304"))
    for tls in (None, trial.certificate.server_context()):
        for method, path in asked:
            async with serve(too_much, tls=tls) as server, trial.trusting() as client:
                with suppress(HttpError):  # read with the answer, they may make it one that cannot be trusted
                    await client.request(method, server.url + path)
                await asyncio.sleep(0.01)
                for _ in range(2):
                    with suppress(HttpError):
                        answer = await client.post(server.url, content=b"order")
                        same(answer.content, b'{"ok":true}', f"{server.scheme}: after {method} {path}")


@row
async def answer_while_idle(trial: Trial) -> None:
    """The same, some time after the answer: a kept connection that speaks is not used again, and the request
    goes out on another one, without an error. `seen`: whether the client had the time to read it."""
    for tls in (None, trial.certificate.server_context()):
        for seen in (True, False):
            wires: list[Wire] = []

            async def keep(request: Received, wire: Wire, wires: list[Wire] = wires) -> None:
                await ok(request, wire)
                wires.append(wire)

            async with serve(keep, tls=tls) as server, trial.trusting() as client:
                await client.get(server.url)
                await asyncio.sleep(0.01)
                wires[0].answer(200, b"stray")
                if seen:
                    await asyncio.sleep(0.01)
                same((await client.post(server.url, content=b"order")).content, b'{"ok":true}')
                same((await client.get(server.url)).content, b'{"ok":true}')
                same(server.connections, 2)
                await server.until(lambda s: s.open == 1)


@row
async def all_that_were_kept_speak(trial: Trial) -> None:
    """None of several connections on which something came is used again, and nothing is sent twice."""
    together = asyncio.Event()
    wires: list[Wire] = []

    async def keep(request: Received, wire: Wire) -> None:
        if request.target == "/together":
            wires.append(wire)
            if len(wires) == 3:
                together.set()
            await together.wait()
        await ok(request, wire)

    async with serve(keep) as server, trial.client() as client:
        await asyncio.gather(*(client.get(server.url + "/together") for _ in range(3)))
        await asyncio.sleep(0.01)
        for wire in wires:
            wire.answer(200, b"stray")
        for _ in range(3):
            same((await client.post(server.url, content=b"order")).content, b'{"ok":true}')
        same((len(server.requests), server.connections), (6, 4))


# -- the caller's will ----------------------------------------------------------------------------------
@row
async def cancelled(trial: Trial) -> None:
    async def slow(request: Received, wire: Wire) -> None:
        if request.target == "/":
            await ok(request, wire)
            return
        if request.target == "/body":
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await wire.hang()

    async with serve(slow) as server, trial.client() as client:
        await client.get(server.url + "/")
        for path in ("/wait", "/body"):
            before = len(server.requests)
            task = asyncio.ensure_future(client.get(server.url + path))
            await server.until(lambda s, before=before: len(s.requests) > before)  # type: ignore[misc]
            await asyncio.sleep(0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()
            await still_works(client, server.url + "/")
        await server.until(lambda s: s.open <= 1)


@row
async def cancelled_while_waiting_for_a_place(trial: Trial) -> None:
    release = asyncio.Event()

    async def slow(request: Received, wire: Wire) -> None:
        await release.wait()
        await ok(request, wire)

    async with serve(slow) as server, trial.client(pool_per_host=1) as client:
        first = asyncio.ensure_future(client.get(server.url))
        await server.until(lambda s: len(s.requests) == 1)
        waiting = [asyncio.ensure_future(client.get(server.url)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        release.set()
        waiting[1].cancel()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        same((await waiting[2]).status_code, 200)
        await still_works(client, server.url)


@row
async def cancelled_while_connecting(trial: Trial) -> None:
    async with black_hole() as url, serve(ok) as server, trial.client() as client:
        task = asyncio.ensure_future(client.get(url))
        await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await still_works(client, server.url)


@row
async def close_with_requests_in_flight(trial: Trial) -> None:
    async def hang(request: Received, wire: Wire) -> None:
        await wire.hang()

    async with serve(hang) as server, black_hole() as nowhere:
        client = trial.client(pool_per_host=2, timeout=30.0)
        tasks = [asyncio.ensure_future(client.get(server.url)) for _ in range(4)]
        tasks.append(asyncio.ensure_future(client.get(nowhere)))
        await server.until(lambda s: len(s.requests) == 2)
        await asyncio.sleep(0.01)
        started = asyncio.get_running_loop().time()
        await client.close(grace=0.05)
        took = asyncio.get_running_loop().time() - started
        assert took < 1.5, f"closing took {took:.2f} s"
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        for error in errors:
            assert isinstance(error, ClientClosed), repr(error)
        same([error.sent for error in errors if isinstance(error, HttpError)], [True, True] + [False] * 3)
        await server.until(lambda s: s.open == 0)


@row
async def closed_by_two(trial: Trial) -> None:
    """The less patient decides, and the request still ends as one that was closed."""

    async def hang(request: Received, wire: Wire) -> None:
        await wire.hang()

    async with serve(hang) as server:
        client = trial.client(timeout=30.0)
        task = asyncio.ensure_future(client.get(server.url))
        await server.until(lambda s: len(s.requests) == 1)
        closers = [asyncio.ensure_future(client.close(grace)) for grace in (20.0, 0.0, 0.0)]
        async with asyncio.timeout(3.0):
            await fails(ClientClosed, task, sent=True)
            await asyncio.gather(*closers)


@row
async def close_lets_finish(trial: Trial) -> None:
    async def slow(request: Received, wire: Wire) -> None:
        await asyncio.sleep(SOON)
        await ok(request, wire)

    async with serve(slow) as server:
        client = trial.client()
        task = asyncio.ensure_future(client.get(server.url))
        await server.until(lambda s: len(s.requests) == 1)
        await client.close(grace=2.0)
        same((await task).status_code, 200)


@row
async def use_after_close(trial: Trial) -> None:
    async with serve(ok) as server:
        client = trial.client()
        await client.get(server.url)
        await client.close()
        await client.close()
        assert client.closed
        await fails(ClientClosed, client.get(server.url), sent=False, ours=True)
        same(len(server.requests), 1)
        await server.until(lambda s: s.open == 0)


@row
async def errors_hide_the_query(trial: Trial) -> None:
    """It may hold a signature, and a header a key; nor do they stand in the library's own error."""
    answers = [
        b"hello, who is there?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA B\0: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
        b"",
    ]

    async def babble(request: Received, wire: Wire) -> None:
        wire.write(answers[len(server.requests) - 1])
        await wire.drain()
        wire.close()

    async with serve(babble) as server, trial.client() as client:
        urls = [server.url + SECRET for _ in answers]
        for url in (*urls, f"http://127.0.0.1:{closed_port()}{SECRET}", "http://x y" + SECRET):
            error = await fails(HttpError, client.get(url, headers={"X-Key": "fedcba9876543210"}), ours=True)
            for text in _words(error):
                assert "0123456789abcdef" not in text, text
                assert "fedcba9876543210" not in text, text
        same(len(server.requests), len(answers))


def _words(error: BaseException | None) -> list[str]:
    """All that an error and what led to it say, to whoever logs it."""
    words = []
    while error is not None:
        words += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    return words
