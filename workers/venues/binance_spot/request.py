"""Binance spot: how REST requests look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.strategies import HTTPMethod, PreparedRequest, RequestContext, RequestStrategy


class BinanceSpotRequests(RequestStrategy):
    """Args:
    rest_url: base, such as ``https://api.binance.com`` or, for data only, ``https://data-api.binance.vision``.
    timeout: seconds, the deadline of a request with all its attempts.
    """

    def __init__(
        self,
        rest_url: str,
        *,
        timeout: float = 10.0,
        connection_timeout: float = 2.0,
        read_timeout: float = 5.0,
        max_concurrent: int = 10,
    ) -> None:
        self._context = RequestContext(
            base_url=rest_url.rstrip("/"),
            timeout=timeout,
            max_concurrent=max_concurrent,
            connection_timeout=connection_timeout,
            read_timeout=read_timeout,
            default_headers={"Accept": "application/json"},
        )

    def create_request_context(self) -> RequestContext:
        return self._context

    def prepare_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> PreparedRequest:
        texts = tuple((name, _text(value)) for name, value in (params or {}).items() if value is not None)
        return PreparedRequest(path=endpoint, params=texts, headers=headers or {})

    def __repr__(self) -> str:
        return f"BinanceSpotRequests({self._context.base_url})"


def _text(value: object) -> str:
    """Venue docs: booleans are lower-case words, lists are JSON arrays without blanks."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ",".join(f'"{item}"' for item in value) + "]"
    return str(value)
