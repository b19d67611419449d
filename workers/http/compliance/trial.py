"""What a row of the suite gets: clients of the adapter under test, certificates, words for expectations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from workers.contract.tls import TlsOptions
from workers.http.client import HttpClient, HttpClientOptions, HttpResponse
from workers.http.compliance.certificates import Authority, Certificate
from workers.http.errors import HttpError

Make = Callable[[HttpClientOptions], HttpClient]
Row = Callable[["Trial"], Awaitable[None]]
ROWS: dict[str, Row] = {}


class NotOffered(Exception):
    """The adapter says that it cannot do this; no fault."""


def row(function: Row) -> Row:
    """Make `function` a row of the suite, under its own name."""
    name = getattr(function, "__name__", "")
    assert name not in ROWS, name
    ROWS[name] = function
    return function


class Trial:
    """One run of one row.

    Args:
        make: the adapter under test.
        folder: a directory for certificates.
    """

    def __init__(self, make: Make, folder: Path) -> None:
        self._make = make
        self.folder = folder
        self._clients: list[HttpClient] = []

    def client(self, **options: Any) -> HttpClient:
        """A client of the adapter under test; 5 s in all by default."""
        options.setdefault("timeout", 5.0)
        client = self._make(HttpClientOptions(**options))
        self._clients.append(client)
        return client

    def optional_client(self, **options: Any) -> HttpClient:
        """The same, for what an adapter may refuse."""
        try:
            return self.client(**options)
        except ValueError as error:
            raise NotOffered(str(error)) from error

    @cached_property
    def authority(self) -> Authority:
        return Authority(self.folder)

    @cached_property
    def certificate(self) -> Certificate:
        return self.authority.issue("good")

    def trusting(self, *pins: str, **options: Any) -> HttpClient:
        """A client that trusts the test authority, and only servers with one of `pins` if there are any."""
        return self.client(tls=TlsOptions(self.authority.file, pins), **options)

    async def end(self) -> None:
        for client in self._clients:
            await client.close(0.0)


async def run_row(name: str, make: Make, folder: Path, within: float = 30.0) -> None:
    """Raises `AssertionError` (or what the adapter let through) when the adapter fails the row, `NotOffered`
    when the row is about something that it does not have."""
    trial = Trial(make, folder)
    try:
        async with asyncio.timeout(within):
            await ROWS[name](trial)
    finally:
        await trial.end()


async def fails(
    kind: type[HttpError] | tuple[type[HttpError], ...],
    request: Awaitable[HttpResponse],
    *,
    sent: bool | None = None,
    ours: bool = False,
) -> HttpError:
    """The error with which `request` must fail; `ours`: found by us, so that there need be no cause."""
    error: HttpError
    try:
        answer = await request
    except HttpError as failure:
        error = failure
    else:
        raise AssertionError(f"{answer!r} instead of {kind}")
    assert isinstance(error, kind), f"{type(error).__name__}({error}) instead of {kind}"
    assert sent is None or error.sent is sent, f"sent={error.sent}: {error!r}"
    assert ours or error.__cause__ is not None, f"no cause: {error!r}"
    return error


def same(got: object, wanted: object, what: str = "") -> None:
    assert got == wanted, f"{what or 'got'}: {got!r}, not {wanted!r}"
