"""OKX's REST limits: each endpoint's own, and our own sum."""

from __future__ import annotations

import pytest

from workers.contract.protocols import HTTPMethod, Priority
from workers.venues.okx.limits import COOLDOWN, ENDPOINTS, UNKNOWN, limits, server_limits

GET, POST = HTTPMethod.GET, HTTPMethod.POST


@pytest.mark.parametrize(("method", "endpoint"), list(ENDPOINTS))
def test_each_endpoint_has_its_own(method: str, endpoint: str) -> None:
    limiter = limits()
    for _ in range(ENDPOINTS[method, endpoint]):
        assert limiter.acquire(HTTPMethod(method), endpoint, None, 0.0, Priority.CANCEL) == 0.0
    assert 0.0 < limiter.acquire(HTTPMethod(method), endpoint, None, 0.0, Priority.CANCEL) <= 2.25
    assert limiter.acquire(HTTPMethod(method), endpoint, None, 2.3, Priority.CANCEL) == 0.0
    # The others are none the less open.
    others = [key for key in ENDPOINTS if key != (method, endpoint)]
    for other, path in others:
        assert limiter.acquire(HTTPMethod(other), path, None, 0.0, Priority.CANCEL) == 0.0


def test_other_endpoints_share_the_smallest_limit() -> None:
    limiter = limits()
    for number in range(UNKNOWN):
        assert limiter.acquire(GET, f"/api/v5/x{number}", None, 0.0, Priority.CANCEL) == 0.0
    assert limiter.acquire(GET, "/api/v5/y", None, 0.0, Priority.CANCEL) > 0.0


def test_the_checksum_is_configured() -> None:
    limiter = limits(30)
    granted = sum(
        limiter.acquire(GET, "/api/v5/market/books", None, 0.0, Priority.CANCEL) == 0.0 for _ in range(40)
    )
    assert granted == 30


def test_the_background_leaves_room() -> None:
    limiter = limits()
    granted = sum(
        limiter.acquire(GET, "/api/v5/market/books", None, 0.0, Priority.BACKGROUND) == 0.0 for _ in range(40)
    )
    assert granted == 20


def test_too_many_requests_end_with_the_window() -> None:
    limiter = limits()
    limiter.observe(429, {}, 5.0)
    assert limiter.acquire(GET, "/api/v5/public/time", None, 5.0) == COOLDOWN
    assert limiter.acquire(GET, "/api/v5/public/time", None, 5.0 + COOLDOWN) == 0.0


def test_documented_limits() -> None:
    documented = {limit.name: (limit.limit, limit.per) for limit in server_limits()}
    assert documented["GET /api/v5/market/books"] == (40, 2.0)
    assert documented["connections"] == (3, 1.0)
    assert documented["subscriptions"] == (480, 3600.0)
    assert not any(limit.reported for limit in server_limits())
