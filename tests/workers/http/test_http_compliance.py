"""Every adapter passes every row of the suite; without a protection it fails the row of that protection."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import curl_cffi
import pytest
import uvloop
from yarl import URL

from workers.contract import tls
from workers.http import (
    HttpClientFactory,
    HttpClientOptions,
    HttpError,
    aiohttp_adapter,
    base,
    encoding,
    httpx_adapter,
)
from workers.http import curl_cffi_adapter as curl
from workers.http.client import HttpClient
from workers.http.compliance import ROWS, NotOffered, run_row
from workers.http.places import Places

ADAPTERS = ("aiohttp", "httpx", "curl_cffi")
NOT_OFFERED = {("aiohttp", "http2"), ("aiohttp", "http2_falls_back"), ("aiohttp", "http2_refusals")}
LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"uvloop": uvloop.run, "asyncio": asyncio.run}


def _make(name: str) -> Callable[[HttpClientOptions], HttpClient]:
    return lambda options: HttpClientFactory.create_client(name, options)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("row", ROWS)
def test_row(row: str, adapter: str, loop: str, tmp_path: Path) -> None:
    try:
        LOOPS[loop](run_row(row, _make(adapter), tmp_path))
    except NotOffered:
        assert (adapter, row) in NOT_OFFERED
    else:
        assert (adapter, row) not in NOT_OFFERED


LIBCURL = tuple(int(part) for part in re.findall(r"\d+", curl_cffi.__curl_version__)[:2])


# -- negative controls ----------------------------------------------------------------------------------
Patch = Callable[[pytest.MonkeyPatch], object]


def _session(**changes: Any) -> Patch:
    """aiohttp's session, made otherwise."""

    def change(patch: pytest.MonkeyPatch) -> None:
        made = aiohttp.ClientSession

        def make(**options: Any) -> aiohttp.ClientSession:
            return made(**(options | {key: value() for key, value in changes.items()}))

        patch.setattr(aiohttp, "ClientSession", make)

    return change


def _resends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        aiohttp.ClientSession, "_retry_connection", property(lambda _: True, lambda *_: None), raising=False
    )


def _typed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_adapter, "_TYPED", frozenset())


def _never_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(base.Call, "sent", property(lambda _: False, lambda *_: None))


def _always_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(base.Call, "sent", property(lambda _: True, lambda *_: None))


def _unpinned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tls, "check_pin", lambda *_: None)


def _no_places(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Places, "take", lambda *_: True)
    patch.setattr(Places, "give", lambda *_: None)


def _unbounded(patch: pytest.MonkeyPatch) -> None:
    decode = encoding.decode
    patch.setattr(encoding, "decode", lambda body, names, _: decode(body, names, 1 << 40))


def _trapped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(encoding, "MEMBERS", 10**9)
    patch.setattr(encoding, "LAYERS", 10**9)


def _unverified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_adapter, "client_context", lambda *_: ssl._create_unverified_context())


def _requoted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_adapter, "_exact_url", lambda call: URL(call.url))


def _no_noproxy(patch: pytest.MonkeyPatch) -> None:
    fixed = curl.CurlClient._options_of_all
    patch.setattr(
        curl.CurlClient,
        "_options_of_all",
        lambda self: [each for each in fixed(self) if each[0] is not curl.CurlOpt.NOPROXY],
    )


async def _nothing(*_: Any, **__: Any) -> None: ...


CONTROLS: dict[str, tuple[str, Patch, tuple[str, ...]]] = {
    "aiohttp resends": ("aiohttp", _resends, ("reset_after_a_request_on_a_kept_connection",)),
    "libcurl resends": (
        "curl_cffi",
        lambda patch: patch.setattr(curl, "_before_sending", curl.ffi.NULL),
        ("reset_after_a_request_on_a_kept_connection",),
    ),
    "a URL is re-encoded": ("aiohttp", _requoted, ("url_bytes",)),
    "the environment's proxy": ("aiohttp", _session(trust_env=lambda: True), ("environment_ignored",)),
    "the library's words": (
        "aiohttp",
        lambda patch: patch.setattr(aiohttp_adapter, "_stripped", str),
        ("errors_hide_the_query",),
    ),
    "the environment's no_proxy": ("curl_cffi", _no_noproxy, ("environment_ignored",)),
    "cookies are kept": ("aiohttp", _session(cookie_jar=lambda: None), ("cookies_not_kept",)),
    "headers are invented": ("aiohttp", _typed, ("nothing_invented",)),
    "the library decompresses": ("aiohttp", _session(auto_decompress=lambda: True), ("encodings",)),
    "never sent": ("aiohttp", _never_sent, ("read_timeout", "cut_answers", "reset_after_the_request")),
    "always sent": ("aiohttp", _always_sent, ("connect_timeout", "refused", "tls_unknown_authority")),
    "pins are not checked": ("httpx", _unpinned, ("tls_pin_mismatch", "proxy_does_not_vouch")),
    "nobody is verified": (
        "aiohttp",
        _unverified,
        ("tls_unknown_authority", "tls_wrong_host", "tls_expired", "tls_another_authority"),
    ),
    "bombs go off": ("aiohttp", _unbounded, ("bomb",)),
    "traps are walked into": ("aiohttp", _trapped, ("traps",)),
    "no places": ("aiohttp", _no_places, ("pool_timeout", "pool_bounds_a_host")),
    "stray bytes are believed": (
        "httpx",
        lambda patch: patch.setattr(httpx_adapter, "_drop_if_astray", _nothing),
        ("answer_nobody_asked_for",),
    ),
    "an idle connection speaks": (
        "aiohttp",
        lambda patch: patch.setattr(aiohttp_adapter, "_Connector", aiohttp.TCPConnector),
        ("answer_while_idle",),
    ),
    "bytes read ahead are forgotten": (
        "httpx",
        lambda patch: patch.setattr(httpx_adapter, "_read_ahead", lambda _: False),
        ("answer_nobody_asked_for",),
    ),
    "libcurl looks only now and then": (
        "curl_cffi",
        lambda patch: patch.setattr(curl._Link, "astray", lambda _: False),
        ("answer_while_idle", "all_that_were_kept_speak"),
    ),
    "httpcore resends": (
        "httpx",
        lambda patch: patch.setattr(httpx_adapter, "_SENDING", frozenset()),
        ("http2_refusals",),
    ),
    "credentials travel": (
        "aiohttp",
        lambda patch: patch.setattr(base, "HARMLESS", {"x-api-key", "authorization", "cookie"}),
        ("redirect_to_another_host_without_credentials",),
    ),
    "headers are not checked": (
        "curl_cffi",
        lambda patch: patch.setattr(base, "checked_headers", lambda headers: False),
        ("header_injection_refused",),
    ),
    "closing ends nothing": (
        "aiohttp",
        lambda patch: patch.setattr(base.BaseClient, "close", lambda self, grace=1.0: self._shut()),
        ("use_after_close", "close_with_requests_in_flight"),
    ),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_without_its_protection_an_adapter_fails(
    control: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    adapter, change, rows = CONTROLS[control]
    if control == "libcurl looks only now and then" and LIBCURL < (8, 22):
        pytest.skip("this libcurl looks each time by itself")
    for row in rows:
        folder = tmp_path / row
        folder.mkdir()
        with monkeypatch.context() as patch:
            change(patch)
            with pytest.raises((AssertionError, HttpError, TimeoutError)):
                asyncio.run(run_row(row, _make(adapter), folder, within=2.0))


def test_an_aiohttp_whose_resending_cannot_be_switched_off_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask() -> None:
        async with HttpClientFactory.create_client("aiohttp") as client:
            await client.get("http://127.0.0.1:1/")

    monkeypatch.setattr(aiohttp, "ClientSession", lambda **_: object())
    with pytest.raises(RuntimeError, match="own resending"):
        asyncio.run(ask())
