"""What goes on the wire and what comes back when all is well."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from unittest.mock import patch

from workers.http.client import HttpClient, Timeout
from workers.http.compliance.server import Received, Server, Wire, closed_port, proxy, serve
from workers.http.compliance.trial import Trial, fails, row, same
from workers.http.errors import InvalidRequest, InvalidUrl


async def ok(request: Received, wire: Wire) -> None:
    wire.answer(200, b'{"ok":true}', ("Content-Type", "application/json"))


async def echo(request: Received, wire: Wire) -> None:
    wire.answer(200, request.body)


@row
async def methods(trial: Trial) -> None:
    wanted = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
    async with serve(ok) as server, trial.client() as client:
        for method in wanted[:-1]:
            same((await client.request(method, server.url + "/m")).status_code, 200, method)
        async with serve(_head_only) as other:
            await client.request("HEAD", other.url + "/m")
            server.requests += other.requests
        same([request.method for request in server.requests], wanted)


@row
async def shorthands(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        await client.get(server.url)
        await client.post(server.url, content=b"a")
        await client.put(server.url, content=b"b")
        await client.delete(server.url)
        seen = [(request.method, request.body) for request in server.requests]
        same(seen, [("GET", b""), ("POST", b"a"), ("PUT", b"b"), ("DELETE", b"")])


@row
async def url_bytes(trial: Trial) -> None:
    targets = [
        "/",
        "/a//b/../c/./d",
        "/?b=2&a=1&a=0",
        "/x?q=%2f%2F%7e~%20+&sig=a%3D%3D==",
        "/x?json=%7B%22a%22%3A1%7D&list=[1]&pipe=|&star=*&quote='",
        "//double",
        "/%e4%bd%a0?x=%E4%BD%A0",
        "/p;v=1,2@host:80$!",
    ]
    async with serve(ok) as server, trial.client() as client:
        for target in targets:
            await client.get(server.url + target)
        same([request.target for request in server.requests], targets)


@row
async def url_without_path(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        await client.get(server.url)
        same(server.requests[0].target, "/")


@row
async def url_refused(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        for bad in (
            "no url",
            "/relative",
            "ftp://127.0.0.1/",
            server.url + "/a b",
            server.url + "/a\r\nX: 1",
            server.url + "/\u00e9",
            server.url + "/a#part",
            server.url.replace("//", "//user:password@"),
            "http://",
            "http://127.0.0.1:99999/",
        ):
            error = await fails(InvalidUrl, client.get(bad), sent=False, ours=True)
            assert "password" not in str(error), error
        same(server.requests, [])


@row
async def header_injection_refused(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        ends = {"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X\r\n": "a"}, {"X": "a\0"}
        for bad in (*ends, {"X Y": "a"}, {"": "a"}, {"X": "\ud800key"}):
            await fails(InvalidRequest, client.get(server.url, headers=bad), sent=False, ours=True)
        bad_method = client.request("GET /x HTTP/1.1\r\nX:", server.url)
        await fails(InvalidRequest, bad_method, sent=False, ours=True)
        same(server.requests, [])


@row
async def params_encoded(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        await client.get(server.url + "/p", params={"b": "1 2", "a": "x/y&z=+", "l": ["1", "2"], "n": 5})
        await client.get(server.url + "/p?x=1", params={"a": "2"})
        wanted = ["/p?b=1%202&a=x%2Fy%26z%3D%2B&l=1&l=2&n=5", "/p?x=1&a=2"]
        same([request.target for request in server.requests], wanted)


@row
async def headers_sent(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        given = {"X-Key": "k:1 2", "accept": "text/x", "X-Empty": "", "User-Agent": "me"}
        await client.get(server.url, headers=given)
        request = server.requests[0]
        same(request.one("x-key"), "k:1 2")
        same(request.all("accept"), ["text/x"])
        same(request.all("x-empty"), [""])
        same(request.all("user-agent"), ["me"])
        same(request.one("host"), f"127.0.0.1:{server.port}")


@row
async def nothing_invented(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        await client.post(server.url, content=b"a=1")
        await client.post(server.url)
        await client.get(server.url)
        first, second, third = server.requests
        for request in (first, second, third):
            for name in ("content-type", "expect", "cookie", "authorization", "transfer-encoding", "origin"):
                same(request.all(name), [], name)
            same((request.all("user-agent"), request.all("accept")), (["tickring"], ["*/*"]))
        same(first.one("content-length"), "3")
        same(second.one("content-length"), "0")
        same(third.all("content-length"), [])


@row
async def json_both_ways(trial: Trial) -> None:
    async with serve(echo) as server, trial.client() as client:
        answer = await client.post(server.url, json={"a": [1, "\u00e9"], "b": None})
        same(answer.json(), {"a": [1, "\u00e9"], "b": None})
        same(server.requests[0].one("content-type"), "application/json")
        await client.post(server.url, json=[1], headers={"content-type": "text/x"})
        same(server.requests[1].all("content-type"), ["text/x"])


@row
async def body_of_get_and_delete(trial: Trial) -> None:
    async with serve(echo) as server, trial.client() as client:
        same((await client.delete(server.url, content=b"x=1")).content, b"x=1")
        same((await client.get(server.url, content=b"\x00y")).content, b"\x00y")


@row
async def body_bytes(trial: Trial) -> None:
    body = bytes(range(256)) * 40
    async with serve(echo) as server, trial.client() as client:
        same((await client.post(server.url, content=body)).content, body)
        same((await client.put(server.url, content=b"")).content, b"")


@row
async def large_upload(trial: Trial) -> None:
    body = os.urandom(1 << 20) * 5
    async with serve(echo) as server, trial.client() as client:
        assert (await client.post(server.url, content=body)).content == body


@row
async def large_download(trial: Trial) -> None:
    block = os.urandom(1 << 20)

    async def send(request: Received, wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (50 << 20))
        for _ in range(50):
            wire.write(block)
            await wire.drain()

    async with serve(send) as server, trial.client(timeout=20.0) as client:
        answer = await client.get(server.url)
        same(len(answer.content), 50 << 20)
        assert answer.content == block * 50


@row
async def large_download_chunked(trial: Trial) -> None:
    block = os.urandom(1 << 16)

    async def send(request: Received, wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(800):
            wire.write(b"10000\r\n" + block + b"\r\n")
            await wire.drain()
        wire.write(b"0\r\n\r\n")

    async with serve(send) as server, trial.client(timeout=20.0) as client:
        assert (await client.get(server.url)).content == block * 800


@row
async def status_and_headers(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        wire.answer(int(request.target[1:]), b"said", ("X-Used-Weight", "7"), ("Retry-After", "3"))

    async with serve(send) as server, trial.client() as client:
        for status in (200, 201, 400, 401, 403, 404, 418, 429, 500, 503, 599):
            answer = await client.get(f"{server.url}/{status}")
            same((answer.status_code, answer.content), (status, b"said"))
            same(answer.headers["x-used-weight"], "7")
            same(answer.headers.get("RETRY-AFTER"), "3")
            same(answer.headers.get("absent"), None)
            assert "retry-after" in {name.lower() for name in answer.headers}


@row
async def repeated_headers(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        wire.answer(
            200, b"", ("X-Twice", "1"), ("Set-Cookie", "a=1"), ("x-twice", "2"), ("Set-Cookie", "b=2")
        )

    async with serve(send) as server, trial.client() as client:
        answer = await client.get(server.url)
        same(answer.headers["x-twice"], "1")
        same(answer.headers["set-cookie"], "a=1")


@row
async def text_in_its_charset(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        charset = request.target[1:]
        wire.answer(200, "\u00e9".encode(charset), ("Content-Type", f"text/plain; charset={charset}"))

    async with serve(send) as server, trial.client() as client:
        for charset in ("utf-8", "latin-1", "utf-16-le"):
            same((await client.get(f"{server.url}/{charset}")).text(), "\u00e9", charset)


@row
async def chunked(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        wire.chunks(b"one,", b"two,", b"three")

    async with serve(send) as server, trial.client() as client:
        for _ in range(2):
            same((await client.get(server.url)).content, b"one,two,three")
        same(server.connections, 1)


@row
async def until_close(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
        await wire.drain()
        wire.close()

    async with serve(send) as server, trial.client() as client:
        same((await client.get(server.url)).content, b"all of it")
        same((await client.get(server.url)).content, b"all of it")


async def _head_only(request: Received, wire: Wire) -> None:
    wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-A: 1\r\n\r\n")


@row
async def head_has_no_body(trial: Trial) -> None:
    async with serve(_head_only) as server, trial.client() as client:
        for _ in range(3):
            answer = await client.head(server.url)
            same((answer.status_code, answer.content, answer.headers["x-a"]), (200, b"", "1"))
        same(server.connections, 1)


@row
async def no_body_with_204_and_304(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        if request.target == "/304":
            wire.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: x\r\n\r\n")
        else:
            wire.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serve(send) as server, trial.client() as client:
        for status in (204, 304, 204):
            answer = await client.get(f"{server.url}/{status}")
            same((answer.status_code, answer.content), (status, b""))
        same(server.connections, 1)


@row
async def interim_answers_skipped(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        wire.write(b"HTTP/1.1 103 Early Hints\r\nX-A: early\r\n\r\n")
        wire.answer(200, b"real", ("X-B", "late"))

    async with serve(send) as server, trial.client() as client:
        answer = await client.get(server.url)
        same((answer.status_code, answer.content, answer.headers["x-b"]), (200, b"real", "late"))


@row
async def split_into_single_bytes(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-A: 1\r\n\r\nbody":
            wire.write(bytes((byte,)))
            await wire.drain()
            await asyncio.sleep(0)

    async with serve(send) as server, trial.client() as client:
        answer = await client.get(server.url)
        same((answer.content, answer.headers["x-a"]), (b"body", "1"))


# -- surroundings ---------------------------------------------------------------------------------------
@row
async def environment_ignored(trial: Trial) -> None:
    dead = f"http://127.0.0.1:{closed_port()}"
    names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy")
    with patch.dict(os.environ, dict.fromkeys(names, dead)):
        async with serve(ok) as server, trial.client() as client:
            same((await client.get(server.url)).status_code, 200)
    with patch.dict(os.environ, {"NO_PROXY": "*", "no_proxy": "*"}):
        async with serve(ok) as server, serve(proxy()) as between, trial.client(proxy=between.url) as client:
            same((await client.get(server.url + "/x")).content, f"proxied {server.url}/x".encode())


@row
async def cookies_not_kept(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        wire.answer(200, b"", ("Set-Cookie", "session=1; Path=/"))

    async with serve(send) as server, trial.client() as client:
        for _ in range(2):
            await client.get(server.local)
        same(server.requests[1].all("cookie"), [])


@row
async def basic_auth(trial: Trial) -> None:
    async with serve(ok) as server, trial.client(auth=("user", "p:w\u00e9")) as client:
        await client.get(server.url)
        same(server.requests[0].one("authorization"), "Basic dXNlcjpwOnfDqQ==")


@row
async def socket_options(trial: Trial) -> None:
    async with serve(ok) as server, trial.client() as client:
        await client.get(server.url)
        found = _sockets_to(server)
        assert found, "no socket to the server is open in this process"
        for sock in found:
            with sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "no TCP_NODELAY"
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), "no SO_KEEPALIVE"


def _sockets_to(server: Server) -> list[socket.socket]:
    """Copies of this process's sockets that are connected to `server`."""
    found = []
    for number in [int(name) for name in os.listdir("/proc/self/fd") if _is_socket(int(name))]:
        sock = socket.socket(fileno=os.dup(number))
        try:
            if sock.family == socket.AF_INET and sock.getpeername()[1] == server.port:
                found.append(sock)
                continue
        except OSError:
            pass  # not connected
        sock.close()
    return found


def _is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(number).st_mode)
    except OSError:  # the listing's own, closed by now
        return False


@row
async def reuse(trial: Trial) -> None:
    for tls in (None, trial.certificate.server_context()):
        async with serve(ok, tls=tls) as server, trial.trusting(pool_per_host=10) as client:

            async def some(url: str = server.url, client: HttpClient = client) -> None:
                for _ in range(50):
                    await client.get(url)

            await asyncio.gather(*(some() for _ in range(10)))
            stats = client.stats()
            same((stats.requests, stats.in_use), (500, 0))
            same(stats.opened, server.connections, "opened")
            assert server.connections <= 10, f"{server.connections} connections for 500 requests"


@row
async def hundred_at_once(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        await asyncio.sleep(0)
        wire.answer(200, request.target.encode())

    async with serve(send) as server, trial.client(pool_per_host=100) as client:
        answers = await asyncio.gather(*(client.get(f"{server.url}/{n}") for n in range(100)))
        same([answer.content for answer in answers], [b"/%d" % n for n in range(100)])
        same(client.stats().in_use, 0)


@row
async def pool_bounds_a_host(trial: Trial) -> None:
    now = most = 0

    async def send(request: Received, wire: Wire) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        wire.answer(200)

    async with serve(send) as server, trial.client(pool_per_host=3) as client:
        await asyncio.gather(*(client.get(server.url) for _ in range(30)))
        assert most <= 3, f"{most} at once"
        assert server.connections <= 3, f"{server.connections} connections"


@row
async def overflow_is_not_kept(trial: Trial) -> None:
    """A burst waits for nothing and leaves what is kept; what fits in it never opens a connection."""
    there = 0
    all_there = asyncio.Event()

    async def send(request: Received, wire: Wire) -> None:
        nonlocal there
        if request.target == "/burst":
            there += 1
            if there == 35:
                all_there.set()
            await all_there.wait()
        wire.answer(200)

    async def some() -> None:
        for _ in range(30):
            await client.get(server.url)

    async with serve(send) as server, trial.client(pool_per_host=50, keep_per_host=10) as client:
        await asyncio.gather(*(client.get(server.url + "/burst") for _ in range(35)))
        same((server.connections, client.stats().opened), (35, 35))
        await server.until(lambda server: (server.open, client.stats().open) == (10, 10))
        await asyncio.gather(*(some() for _ in range(10)))
        same((server.connections, server.open), (35, 10), "after a steady load")
        same((client.stats().open, client.stats().in_use), (10, 0))


async def still_works(client: HttpClient, url: str) -> None:
    """After a failure: no place is lost, and the next request gets its own answer."""
    same(client.stats().in_use, 0, "in_use")
    same((await client.get(url, timeout=Timeout(total=5.0))).content, b'{"ok":true}')
