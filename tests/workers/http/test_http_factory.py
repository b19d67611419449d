"""Clients by name: lazily loaded, a clear line when a library is missing."""

from __future__ import annotations

import doctest
import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import Any

import pytest

import workers.http
from workers.http import AdapterMissing, HttpClientFactory, HttpClientOptions
from workers.http.base import BaseClient
from workers.http.message import Call, Response


class Own(BaseClient):
    """A user's adapter."""

    name = "own"

    async def _exchange(self, call: Call) -> Response:
        return Response(200, {}, call.url.encode(), call.url, "")

    async def _shut(self) -> None: ...

    def _connections(self) -> tuple[int, int]:
        return 0, 0


@pytest.fixture(autouse=True)
def _adapters() -> Iterator[None]:
    before = dict(HttpClientFactory._adapters)
    yield
    HttpClientFactory._adapters.clear()
    HttpClientFactory._adapters.update(before)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The library `request.param` is not installed."""
    missing: str = request.param

    class Missing(MetaPathFinder):
        def find_spec(self, name: str, *_: Any) -> None:
            if name.partition(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    for name in list(sys.modules):
        if name.partition(".")[0] == missing or (
            name.startswith("workers.http.") and name.endswith("_adapter")
        ):
            monkeypatch.delitem(sys.modules, name)
    return missing


def test_importing_the_package_loads_no_library() -> None:
    probe = (
        "import sys, workers.http; print(sorted({'aiohttp', 'httpx', 'httpcore', 'curl_cffi', 'brotli', "
        "'cryptography', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_front_page_is_true() -> None:
    assert doctest.testmod(workers.http) == doctest.TestResults(failed=0, attempted=3)


def test_each_loads_only_its_own() -> None:
    for name, others in (("aiohttp", "httpcore curl_cffi"), ("httpx", "aiohttp curl_cffi")):
        probe = (
            f"import sys; from workers.http import HttpClientFactory as F; F.create_client({name!r}); "
            f"print(sorted(set({others!r}.split()) & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["aiohttp", "httpx", "curl_cffi"])
def test_a_client_by_name(name: str) -> None:
    client = HttpClientFactory.create_client(name, HttpClientOptions(pool=7))
    assert isinstance(client, BaseClient)
    assert (client.name, client.options.pool, client.closed) == (name, 7, False)
    assert "7" in repr(client)


@pytest.mark.parametrize("proxy", ["http://user:hush@proxy:1", "http://user:h@u/sh@proxy:1"])
def test_options_show_no_password(proxy: str) -> None:
    shown = repr(HttpClientOptions(proxy=proxy, auth=("me", "hush"), pool=7))
    assert "hush" not in shown
    assert "u/sh" not in shown
    assert "proxy='http://user:***@proxy:1', auth=('me', '***'), pool=7" in shown
    assert "proxy='http://proxy:1'" in repr(HttpClientOptions(proxy="http://proxy:1"))


def test_the_default_is_aiohttp() -> None:
    client = HttpClientFactory.create_client()
    assert isinstance(client, BaseClient)
    assert client.name == "aiohttp"


def test_a_name_nobody_knows() -> None:
    with pytest.raises(ValueError, match="no HTTP client 'requests'; there are: aiohttp, httpx, curl_cffi"):
        HttpClientFactory.create_client("requests")


@pytest.mark.parametrize(
    ("without", "name"), [("curl_cffi", "curl_cffi"), ("httpcore", "httpx")], indirect=["without"]
)
def test_a_missing_library_is_one_clear_line(without: str, name: str) -> None:
    with pytest.raises(AdapterMissing) as failure:
        HttpClientFactory.create_client(name)
    assert str(failure.value) == f"{name} is not installed: pip install 'tickring[http]'"


@pytest.mark.parametrize("without", ["curl_cffi"], indirect=True)
def test_fallback_only_when_asked_for(without: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        client = HttpClientFactory.create_client("curl_cffi", fallback=True)
    assert isinstance(client, BaseClient)
    assert client.name == "aiohttp"
    assert "curl_cffi is not installed: pip install 'tickring[http]'; aiohttp is used instead" in caplog.text


@pytest.mark.parametrize("without", ["aiohttp"], indirect=True)
def test_the_default_has_no_fallback(without: str) -> None:
    with pytest.raises(AdapterMissing, match="aiohttp is not installed: pip install 'aiohttp'"):
        HttpClientFactory.create_client("aiohttp", fallback=True)


def test_an_adapter_of_ones_own() -> None:
    HttpClientFactory.register_adapter("own", Own)
    assert isinstance(HttpClientFactory.create_client("own"), Own)
    HttpClientFactory.register_adapter("lazy", f"{__name__}:Own")
    assert HttpClientFactory.adapters()[-2:] == ("own", "lazy")


def test_an_adapter_that_is_broken_says_so_itself() -> None:
    HttpClientFactory.register_adapter("broken", "workers.http.no_such_adapter:Client")
    with pytest.raises(ModuleNotFoundError, match="no_such_adapter"):
        HttpClientFactory.create_client("broken", fallback=True)


def test_what_cannot_be_an_adapter() -> None:
    with pytest.raises(ValueError, match="'module:class' expected"):
        HttpClientFactory.register_adapter("own", "module")


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("aiohttp", HttpClientOptions(http2=True), "no HTTP/2"),
        ("aiohttp", HttpClientOptions(extras={"impersonate": "chrome"}), "impersonate"),
        ("httpx", HttpClientOptions(extras={"trust_env": True}), "trust_env"),
        ("httpx", HttpClientOptions(proxy="socks5://127.0.0.1:1"), "proxy"),
        ("curl_cffi", HttpClientOptions(extras={"ja3": 1}), "ja3"),
        ("aiohttp", HttpClientOptions(pool=0), "pool=0"),
    ],
)
def test_an_option_that_cannot_be_fulfilled(name: str, options: HttpClientOptions, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        HttpClientFactory.create_client(name, options)
