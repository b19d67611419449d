"""Redirects: followed only when asked, and never with more than the next host may know."""

from __future__ import annotations

from workers.http.compliance.server import Handler, Received, Wire, serve
from workers.http.compliance.trial import Trial, fails, row, same
from workers.http.errors import ConnectFailed, RedirectRefused, TooManyRedirects


def _sending_on(status: int, location: str) -> Handler:
    """`/from` goes to `location`; all else is answered with what came in."""

    async def handle(request: Received, wire: Wire) -> None:
        if request.target == "/from":
            wire.answer(status, b"moved", ("Location", location))
        else:
            wire.answer(200, f"{request.method} ".encode() + request.body)

    return handle


@row
async def redirect_methods(trial: Trial) -> None:
    wanted = {
        (301, "GET"): b"GET ",
        (301, "POST"): b"GET ",
        (301, "PUT"): b"PUT x",
        (302, "GET"): b"GET ",
        (302, "POST"): b"GET ",
        (303, "GET"): b"GET ",
        (303, "POST"): b"GET ",
        (303, "PUT"): b"GET ",
        (307, "GET"): b"GET ",
        (307, "POST"): b"POST x",
        (308, "DELETE"): b"DELETE x",
        (308, "POST"): b"POST x",
    }
    for (status, method), answer in wanted.items():
        async with serve(_sending_on(status, "/to?a=%2f")) as server, trial.client() as client:
            content = None if method == "GET" else b"x"
            headers = {"Content-Type": "text/x", "X-Key": "k"}
            got = await client.request(method, server.url + "/from", content=content, headers=headers)
            same(got.content, answer, f"{status} {method}")
            last = server.requests[-1]
            same(last.target, "/to?a=%2f")
            same(last.one("x-key"), "k")
            if answer.startswith(b"GET") and method != "GET":
                same(last.all("content-type") + last.all("content-length"), [])


@row
async def redirect_only_when_asked(trial: Trial) -> None:
    async with serve(_sending_on(302, "/to")) as server:
        async with trial.client() as client:
            answer = await client.get(server.url + "/from", follow_redirects=False)
            same((answer.status_code, answer.headers["location"]), (302, "/to"))
        async with trial.client(max_redirects=0) as client:
            same((await client.get(server.url + "/from")).status_code, 302)
        same(len(server.requests), 2)


@row
async def redirect_loop(trial: Trial) -> None:
    async with serve(_sending_on(302, "/from")) as server, trial.client() as client:
        await fails(TooManyRedirects, client.get(server.url + "/from"), sent=True, ours=True)
        same(len(server.requests), 11, "requests with the default of 10 redirects")


@row
async def redirect_limit(trial: Trial) -> None:
    async def handle(request: Received, wire: Wire) -> None:
        n = int(request.target[1:])
        wire.answer(302 if n else 200, b"", ("Location", f"/{n - 1}"))

    async with serve(handle) as server, trial.client(max_redirects=3) as client:
        same((await client.get(server.url + "/3")).status_code, 200)
        await fails(TooManyRedirects, client.get(server.url + "/4"), ours=True)


@row
async def redirect_locations(trial: Trial) -> None:
    async def handle(request: Received, wire: Wire) -> None:
        where = {
            "/a/from1": "to",
            "/a/from2": "../to",
            "/a/from3": "?q=1",
            "/a/from4": "//127.0.0.1:" + str(port) + "/x",
            "/a/from5": "/y#part",
        }.get(request.target)
        if where is None:
            wire.answer(200)
        else:
            wire.answer(302, b"", ("Location", where))

    async with serve(handle) as server, trial.client() as client:
        port = server.port
        for n in range(1, 6):
            await client.get(f"{server.url}/a/from{n}")
        same([r.target for r in server.requests[1::2]], ["/a/to", "/to", "/a/from3?q=1", "/x", "/y"])


@row
async def redirect_without_location(trial: Trial) -> None:
    async def handle(request: Received, wire: Wire) -> None:
        wire.answer(302, b"lost")

    async with serve(handle) as server, trial.client() as client:
        same((await client.get(server.url)).status_code, 302)


@row
async def redirect_to_another_host_without_credentials(trial: Trial) -> None:
    async def other(request: Received, wire: Wire) -> None:
        wire.answer(200, b"other")

    async with serve(other) as target, serve(_sending_on(302, target.local + "/to")) as server:
        async with trial.client(auth=("user", "secret")) as client:
            headers = {"X-Api-Key": "key", "Cookie": "a=1", "Accept": "text/x", "Authorization-2": "x"}
            same((await client.get(server.url + "/from", headers=headers)).content, b"other")
        first, second = server.requests[0], target.requests[0]
        same(first.one("x-api-key"), "key")
        for name in ("authorization", "cookie", "x-api-key", "authorization-2"):
            same(second.all(name), [], name)
        same(second.one("accept"), "text/x")
        same(second.one("host"), f"localhost:{target.port}")


@row
async def redirect_carries_no_body_elsewhere(trial: Trial) -> None:
    async def other(request: Received, wire: Wire) -> None:
        wire.answer(200, b"other")

    async with serve(other) as target, serve(_sending_on(307, target.url + "/to")) as server:
        async with trial.client() as client:
            request = client.post(server.url + "/from", content=b"signature=1")
            await fails(RedirectRefused, request, sent=True, ours=True)
        same(target.requests, [])


@row
async def redirect_to_nowhere(trial: Trial) -> None:
    for location in ("ftp://127.0.0.1/x", "http://[::1/x", "javascript:alert(1)", "http://a:b@127.0.0.1/"):
        async with serve(_sending_on(302, location)) as server, trial.client() as client:
            await fails(RedirectRefused, client.get(server.url + "/from"), sent=True)


@row
async def redirect_to_a_dead_host_was_sent(trial: Trial) -> None:
    """The first server has seen the request, whatever became of the second."""
    async with serve(_sending_on(302, "http://127.0.0.1:1/")) as server, trial.client() as client:
        await fails(ConnectFailed, client.get(server.url + "/from"), sent=True)
