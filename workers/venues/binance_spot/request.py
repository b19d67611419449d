"""Binance spot: how REST requests look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.strategies import HTTPMethod, PreparedRequest, RequestContext, RequestStrategy

# Venue docs, "Test connectivity": weight 1, no parameters, answers {}.
PING = "/api/v3/ping"


class BinanceSpotRequests(RequestStrategy):
    """Args:
    context: endpoints and bounds; the venue's API is at ``https://api.binance.com`` or, for data only, at
        ``https://data-api.binance.vision``.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context

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
