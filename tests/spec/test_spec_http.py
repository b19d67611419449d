"""SPEC 3, HTTP client abstraction (under RestManager): every statement, and the test that shows it.

row                                        | test
-------------------------------------------+------------------------------------------------------------
HttpResponse: status_code, headers, ...    | test_3_http_response_status_code_headers_content_text_json
HttpClient: async context manager          | test_3_http_client_is_an_async_context_manager
HttpClient: get, post, put, delete, head   | test_3_get_post_put_delete_head
HttpClientOptions: fields and defaults     | test_3_options_fields_and_defaults
options: verify_ssl                        | test_3_verify_ssl_unless_told_otherwise
options: ssl_context                       | test_3_ssl_context_is_used_as_it_is
options: cert                              | test_3_cert_is_shown_to_the_server
options: timeout=30                        | test_3_timeout_of_30_s
options: max_redirects=10                  | test_3_ten_redirects_and_not_one_more
options: http2                             | test_3_http2_or_a_clear_refusal
options: proxy                             | test_3_proxy_is_gone_through
options: auth                              | test_3_auth_is_basic_authentication
options: **extras                          | test_3_extras_reach_the_adapter_that_knows_them
                                           | test_3_extras_that_nobody_knows_are_refused
HttpClientFactory.create_client(type, ...) | test_3_create_client_of_type_and_options
aiohttp (default), httpx and curl_cffi     | test_3_aiohttp_is_the_default_and_there_are_httpx_and_curl_cffi
lazily loaded                              | test_3_libraries_are_loaded_when_they_are_first_asked_for
one is missing: a clear error              | test_3_a_missing_library_is_a_clear_error
one is missing: a graceful fallback        | test_3_a_missing_library_falls_back_gracefully
register_adapter for a user's own          | test_3_register_adapter_of_ones_own
MultiClient: never for orders              | test_3_multi_client_refuses_what_creates_orders
MultiClient: SINGLE                        | test_3_multi_client_single_is_the_first_one
MultiClient: FAILOVER                      | test_3_multi_client_failover_goes_on_with_what_works
MultiClient: ROUND_ROBIN                   | test_3_multi_client_round_robin_takes_turns
MultiClient: RANDOM                        | test_3_multi_client_random_draws
MultiClient: failure counts                | test_3_multi_client_counts_failures
same errors, same retries                  | test_3_same_errors_and_same_retries_whichever_client
overhead < 5 % against the bare client     | test_3_one_call_is_one_request_and_nothing_else; bench/rest.py
one compliance suite over all adapters     | test_3_one_compliance_suite_over_all_adapters
                                           | test_3_the_compliance_suite_fails_an_adapter_that_is_wrong
nothing hangs on close                     | test_3_a_client_with_requests_in_flight_closes_in_time
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from spec_kit import (
    Received,
    Scripted,
    Wire,
    breaks_off,
    check_names,
    check_table,
    failure,
    fields,
    hangs,
    manager,
    real,
    resets,
    says,
    serve,
    virtual,
)

from workers.contract.errors import OutcomeUnknown, RestConnectionError, RestTimeout, ServerError
from workers.contract.rest import ReplayClass
from workers.contract.tls import TlsOptions
from workers.http import (
    AdapterMissing,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    HttpClientFactory,
    HttpClientOptions,
    HttpError,
    InvalidRequest,
    MultiClient,
    ReadTimedOut,
    Selection,
    TlsFailed,
    TooManyRedirects,
)
from workers.http.base import BaseClient
from workers.http.compliance import ROWS, NotOffered, run_row
from workers.http.compliance.certificates import Authority
from workers.http.compliance.server import closed_port, proxy
from workers.http.message import Response
from workers.rest.retry import ExponentialRetry

ADAPTERS = ("aiohttp", "httpx", "curl_cffi")
over_all = pytest.mark.parametrize("adapter", ADAPTERS)


def test_the_table_is_complete() -> None:
    check_table(sys.modules[__name__], "3")


def test_the_names_of_the_section_are_here(shared: Path) -> None:
    check_names(sys.modules[__name__], "3", (shared / "SPEC.md").read_text())


def client(adapter: str, **options: Any) -> Any:
    options.setdefault("timeout", 5.0)
    return HttpClientFactory.create_client(adapter, HttpClientOptions(**options))


# -- the protocols --------------------------------------------------------------------------------------
@over_all
@real
async def test_3_http_response_status_code_headers_content_text_json(adapter: str) -> None:
    body = '{"name":"\u00e9"}'.encode()
    answer = says(201, body, ("X-Weight", "7"))
    async with serve(Scripted(then=answer)) as server, client(adapter) as http:
        response = await http.get(server.url)
    assert response.status_code == 201
    assert response.headers["x-weight"] == response.headers["X-WEIGHT"] == "7"
    assert response.content == body
    assert response.text() == '{"name":"\u00e9"}'
    assert response.json() == {"name": "\u00e9"}


@over_all
@real
async def test_3_http_client_is_an_async_context_manager(adapter: str) -> None:
    async with serve(Scripted()) as server:
        async with client(adapter) as http:
            await http.get(server.url)
            assert not http.closed
        assert http.closed
        await server.until(lambda server: server.open == 0)
        assert isinstance(await failure(http.get(server.url)), ClientClosed)


@over_all
@real
async def test_3_get_post_put_delete_head(adapter: str) -> None:
    async with serve(Scripted(then=says(200, b""))) as server, client(adapter) as http:
        await http.get(server.url + "/a?b=%2F", params={"c": "d e"})
        await http.post(server.url, json={"a": 1})
        await http.put(server.url, content=b"as given")
        await http.delete(server.url, headers={"X-Own": "1"})
        await http.head(server.url)
    get, post, put, delete, head = server.requests
    assert (get.method, get.target) == ("GET", "/a?b=%2F&c=d%20e")
    assert (post.method, post.body, post.one("content-type")) == ("POST", b'{"a":1}', "application/json")
    assert (put.method, put.body) == ("PUT", b"as given")
    assert (delete.method, delete.one("x-own")) == ("DELETE", "1")
    assert head.method == "HEAD"


# -- options --------------------------------------------------------------------------------------------
def test_3_options_fields_and_defaults() -> None:
    defaults = fields(HttpClientOptions)
    assert {
        name: defaults[name] for name in ("verify_ssl", "ssl_context", "cert", "http2", "proxy", "auth")
    } == {
        "verify_ssl": True,
        "ssl_context": None,
        "cert": None,
        "http2": False,
        "proxy": None,
        "auth": None,
    }
    assert HttpClientOptions().timeout == 30
    assert HttpClientOptions().max_redirects == 10
    assert HttpClientOptions().extras == {}


@over_all
@real
async def test_3_verify_ssl_unless_told_otherwise(adapter: str, tmp_path: Path) -> None:
    context = Authority(tmp_path).issue("good").server_context()
    async with serve(Scripted(), tls=context) as server:
        async with client(adapter) as http:
            assert isinstance(await failure(http.get(server.url)), TlsFailed)
            assert server.requests == []
        async with client(adapter, verify_ssl=False) as http:
            assert (await http.get(server.url)).status_code == 200


@over_all
@real
async def test_3_ssl_context_is_used_as_it_is(adapter: str, tmp_path: Path) -> None:
    import ssl

    authority = Authority(tmp_path)
    own = ssl.create_default_context(cafile=authority.file)
    if adapter == "curl_cffi":
        with pytest.raises(ValueError, match="ssl_context"):
            client(adapter, ssl_context=own)
        return
    context = authority.issue("good").server_context()
    async with serve(Scripted(), tls=context) as server, client(adapter, ssl_context=own) as http:
        assert (await http.get(server.url)).status_code == 200


@over_all
@real
async def test_3_cert_is_shown_to_the_server(adapter: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours = authority.issue("ours")
    context = authority.issue("server").server_context(clients_of=authority.file)
    tls = TlsOptions(authority.file)
    async with serve(Scripted(), tls=context) as server:
        async with client(adapter, tls=tls) as http:
            assert isinstance(await failure(http.get(server.url)), HttpError)
        async with client(adapter, tls=tls, cert=(ours.file, ours.key_file)) as http:
            assert (await http.get(server.url)).status_code == 200


@virtual
async def test_3_timeout_of_30_s() -> None:
    loop = asyncio.get_running_loop()
    async with serve(Scripted(then=hangs)) as server, HttpClientFactory.create_client() as http:
        began = loop.time()
        assert isinstance(await failure(http.get(server.url)), ReadTimedOut)
        assert loop.time() - began == pytest.approx(30.0, abs=0.01)
        began = loop.time()
        await failure(http.get(server.url, timeout=2.0))
        assert loop.time() - began == pytest.approx(2.0, abs=0.01), "unless the request says otherwise"


@over_all
@real
async def test_3_ten_redirects_and_not_one_more(adapter: str) -> None:
    async def count_down(request: Received, wire: Wire) -> None:
        left = int(request.target.strip("/"))
        wire.answer(302 if left else 200, b"", ("Location", f"/{left - 1}"))

    async with serve(count_down) as server, client(adapter) as http:
        assert (await http.get(f"{server.url}/10")).status_code == 200
        assert len(server.requests) == 11
        assert isinstance(await failure(http.get(f"{server.url}/11")), TooManyRedirects)


@over_all
def test_3_http2_or_a_clear_refusal(adapter: str, tmp_path: Path) -> None:
    if adapter == "aiohttp":
        with pytest.raises(ValueError, match=r"aiohttp speaks no HTTP/2; .*httpx.*curl_cffi"):
            client(adapter, http2=True)
        return
    suite("http2", adapter, tmp_path)


@over_all
@real
async def test_3_proxy_is_gone_through(adapter: str) -> None:
    async with serve(proxy()) as between, client(adapter, proxy=between.url) as http:
        answer = await http.get("http://nowhere.test/x?a=1")
    assert answer.text() == "proxied http://nowhere.test/x?a=1"


@over_all
@real
async def test_3_auth_is_basic_authentication(adapter: str) -> None:
    async with serve(Scripted()) as server, client(adapter, auth=("user", "pass")) as http:
        await http.get(server.url)
    assert server.requests[0].one("authorization") == "Basic dXNlcjpwYXNz"


# -- the factory ----------------------------------------------------------------------------------------
class Own(BaseClient):
    """A user's adapter: answers by itself."""

    name = "own"

    async def _exchange(self, call: Any) -> Response:
        return Response(200, {}, repr(sorted(self.options.extras)).encode(), call.url, "")

    async def _shut(self) -> None: ...

    def _connections(self) -> tuple[int, int]:
        return 0, 0


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> type[HttpClientFactory]:
    """What is registered goes with the test."""
    monkeypatch.setattr(HttpClientFactory, "_adapters", dict(HttpClientFactory._adapters))
    return HttpClientFactory


@real
async def test_3_extras_reach_the_adapter_that_knows_them(factory: type[HttpClientFactory]) -> None:
    factory.register_adapter("own", Own)
    async with client("own", extras={"impersonate": "somebody"}) as http:
        assert (await http.get("http://x")).text() == "['impersonate']"


@over_all
def test_3_extras_that_nobody_knows_are_refused(adapter: str) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        client(adapter, extras={"nonsense": 1})


def test_3_create_client_of_type_and_options() -> None:
    made = HttpClientFactory.create_client(type="httpx", options=HttpClientOptions(timeout=3.0))
    assert (type(made).__name__, made.options.timeout) == ("HttpxClient", 3.0)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no HTTP client 'requests'; there are: aiohttp, httpx, curl_cffi"):
        HttpClientFactory.create_client("requests")


def test_3_aiohttp_is_the_default_and_there_are_httpx_and_curl_cffi() -> None:
    assert HttpClientFactory.adapters()[:3] == ADAPTERS
    assert type(HttpClientFactory.create_client()).__name__ == "AiohttpClient"
    assert len({type(client(adapter)) for adapter in ADAPTERS}) == 3


def test_3_libraries_are_loaded_when_they_are_first_asked_for() -> None:
    program = """
import sys
libraries = ("aiohttp", "httpcore", "httpx", "curl_cffi")
loaded = lambda: [name for name in libraries if name in sys.modules]
from workers.http import HttpClientFactory
assert not loaded(), loaded()
HttpClientFactory.register_adapter("own", "not.there:Client")
HttpClientFactory.create_client("aiohttp")
assert loaded() == ["aiohttp"], loaded()
HttpClientFactory.create_client("httpx")
assert "curl_cffi" not in loaded(), loaded()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


def without(library: str, adapter: str, patch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    patch.setitem(sys.modules, library, None)
    patch.delitem(sys.modules, f"workers.http.{adapter}_adapter", raising=False)


@pytest.mark.parametrize(("adapter", "library"), [("httpx", "httpcore"), ("curl_cffi", "curl_cffi")])
def test_3_a_missing_library_is_a_clear_error(
    adapter: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(library, adapter, monkeypatch)
    with pytest.raises(AdapterMissing, match=rf"{adapter} is not installed: pip install 'tickring\[http\]'"):
        HttpClientFactory.create_client(adapter)


def test_3_a_missing_library_falls_back_gracefully(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without("curl_cffi", "curl_cffi", monkeypatch)
    made = HttpClientFactory.create_client("curl_cffi", fallback=True)
    assert type(made).__name__ == "AiohttpClient"
    assert "curl_cffi is not installed" in caplog.text
    assert "aiohttp is used instead" in caplog.text


@real
async def test_3_register_adapter_of_ones_own(factory: type[HttpClientFactory]) -> None:
    factory.register_adapter("by-name", "workers.http.aiohttp_adapter:AiohttpClient")
    factory.register_adapter("by-class", Own)
    assert factory.adapters()[3:] == ("by-name", "by-class")
    assert type(factory.create_client("by-name")).__name__ == "AiohttpClient"
    async with manager("http://x", client="by-class") as rest:  # and a service names it
        assert await rest.get("/y", raw=True) == b"[]"
    with pytest.raises(ValueError, match="'module:class' expected"):
        factory.register_adapter("wrong", "no-colon")


# -- MultiClient ----------------------------------------------------------------------------------------
class Fake(Own):
    """Fails as long as it is `down`."""

    def __init__(self) -> None:
        super().__init__()
        self.down: type[HttpError] | None = None
        self.asked = 0

    async def _exchange(self, call: Any) -> Response:
        self.asked += 1
        if self.down is not None:
            raise self.down(f"{call!r}")
        return await super()._exchange(call)


class Three:
    """Three clients behind one."""

    def __init__(self, selection: Selection, **options: Any) -> None:
        self.fakes = [Fake(), Fake(), Fake()]
        self.multi = MultiClient(self.fakes, selection, **options)

    @property
    def asked(self) -> list[int]:
        return [fake.asked for fake in self.fakes]


@real
async def test_3_multi_client_refuses_what_creates_orders() -> None:
    for selection in Selection:
        three = Three(selection)
        for method in ("POST", "PUT", "DELETE"):
            assert isinstance(await failure(three.multi.request(method, "http://x")), InvalidRequest)
        never = three.multi.get("http://x", replay=ReplayClass.NEVER)
        assert isinstance(await failure(never), InvalidRequest)
        assert three.asked == [0, 0, 0], "nothing was sent"
        await three.multi.post("http://x", replay=ReplayClass.BY_CLIENT_ID)
        assert sum(three.asked) == 1


@real
async def test_3_multi_client_single_is_the_first_one() -> None:
    three = Three(Selection.SINGLE)
    await three.multi.get("http://x")
    three.fakes[0].down = ConnectFailed
    assert isinstance(await failure(three.multi.get("http://x")), ConnectFailed)
    assert three.asked == [2, 0, 0]


@real
async def test_3_multi_client_failover_goes_on_with_what_works() -> None:
    three = Three(Selection.FAILOVER)
    three.fakes[0].down = ConnectFailed
    assert (await three.multi.get("http://x")).status_code == 200
    assert three.asked == [1, 1, 0]
    await three.multi.get("http://x")
    assert three.asked == [1, 2, 0], "what worked last"
    three.fakes[1].down = three.fakes[2].down = ConnectionLost
    assert isinstance(await failure(three.multi.get("http://x")), HttpError)
    assert three.asked == [2, 3, 1]


@real
async def test_3_multi_client_round_robin_takes_turns() -> None:
    three = Three(Selection.ROUND_ROBIN)
    for _ in range(6):
        await three.multi.get("http://x")
    assert three.asked == [2, 2, 2]


@real
async def test_3_multi_client_random_draws() -> None:
    draws = iter([0.99, 0.0, 0.5, 0.99])
    three = Three(Selection.RANDOM, chance=lambda: next(draws))
    for _ in range(4):
        await three.multi.get("http://x")
    assert three.asked == [1, 1, 2]


@real
async def test_3_multi_client_counts_failures() -> None:
    three = Three(Selection.FAILOVER)
    three.fakes[0].down = ConnectFailed
    three.fakes[1].down = ReadTimedOut
    await three.multi.get("http://x")
    three.fakes[2].down = ConnectionLost
    await failure(three.multi.get("http://x"))
    assert three.multi.failures == (2, 2, 1)


# -- whichever client -----------------------------------------------------------------------------------
async def garbage(request: Received, wire: Wire) -> None:
    wire.write(b"SMTP, sorry\r\n\r\n")
    await wire.drain()
    wire.close()


# What goes wrong: (step of the server, error of a GET with two attempts)
FAULTS: dict[str, tuple[Any, type[Exception]]] = {
    "refused": (None, RestConnectionError),
    "no answer": (hangs, RestTimeout),
    "reset": (resets, RestConnectionError),
    "cut": (breaks_off, RestConnectionError),
    "no HTTP": (garbage, RestConnectionError),
    "500": (says(500), ServerError),
}


@over_all
@pytest.mark.parametrize("fault", FAULTS)
@real
async def test_3_same_errors_and_same_retries_whichever_client(fault: str, adapter: str) -> None:
    step, kind = FAULTS[fault]
    retry = ExponentialRetry(2, base=0.0)
    async with serve(Scripted(then=step)) as server:
        url = f"http://127.0.0.1:{closed_port()}" if step is None else server.url
        async with manager(url, client=adapter, retry=retry, read_timeout=0.1) as rest:
            error = await failure(rest.get("/x"))
            assert type(error) is kind
            assert (error.attempt, error.sent) == (2, step is not None)
            assert rest.get_metrics().retries == 1
            order = await failure(rest.post("/order", json_data={}))
            assert type(order) is (kind if step is None else OutcomeUnknown)
            assert order.attempt == 1
        assert len(server.requests) == (0 if step is None else 3)


@over_all
@real
async def test_3_one_call_is_one_request_and_nothing_else(adapter: str) -> None:
    """What the abstraction costs is a few calls of functions: no further connection, request or byte of body,
    no task for a request, and the same connection each time."""
    async with serve(Scripted(then=says(200, b"x" * 1000))) as server, client(adapter) as http:
        await http.get(server.url)
        tasks = len(asyncio.all_tasks())
        for _ in range(20):
            assert (await http.get(server.url)).content == b"x" * 1000
        assert len(asyncio.all_tasks()) == tasks
        assert (server.connections, len(server.requests)) == (1, 21)
        stats = http.stats()
        assert (stats.opened, stats.open, stats.in_use, stats.requests) == (1, 1, 0, 21)


def suite(row: str, adapter: str, folder: Path) -> None:
    """A row of the compliance suite, with a folder of its own for certificates."""
    folder = folder / row
    folder.mkdir()
    asyncio.run(
        run_row(row, lambda options: HttpClientFactory.create_client(adapter, options), folder, within=10.0)
    )


@over_all
def test_3_one_compliance_suite_over_all_adapters(adapter: str, tmp_path: Path) -> None:
    """A few rows of it; `tests/workers/http` has them all."""
    assert HttpClientFactory.adapters() == ADAPTERS
    for row in ("methods", "url_bytes", "refused", "json_both_ways", "reuse", "use_after_close"):
        suite(row, adapter, tmp_path)
    assert len(ROWS) > 50
    for row in ("http2", "http2_falls_back"):  # the only ones about what an adapter may not have
        try:
            suite(row, adapter, tmp_path)
        except NotOffered:
            assert adapter == "aiohttp"


def test_3_the_compliance_suite_fails_an_adapter_that_is_wrong(
    factory: type[HttpClientFactory], tmp_path: Path
) -> None:
    factory.register_adapter("own", Own)
    for row in ("methods", "refused", "read_timeout"):
        with pytest.raises((AssertionError, TimeoutError)):
            asyncio.run(run_row(row, lambda options: factory.create_client("own", options), tmp_path, 3.0))


@over_all
@real
async def test_3_a_client_with_requests_in_flight_closes_in_time(adapter: str) -> None:
    loop = asyncio.get_running_loop()
    async with serve(Scripted(then=hangs)) as server:
        http = client(adapter, timeout=60.0)
        flights = [asyncio.ensure_future(http.get(server.url)) for _ in range(5)]
        await server.until(lambda server: len(server.requests) == 5)
        began = loop.time()
        await http.close(grace=0.05)
        assert loop.time() - began < 2.0, "the bound on closing, not how fast it is"
        errors = await asyncio.gather(*flights, return_exceptions=True)
        assert {type(error) for error in errors} == {ClientClosed}
        await server.until(lambda server: server.open == 0)
