"""OKX: how REST requests look."""

from __future__ import annotations

from workers.defaults import PlainRequests

# Venue docs, "Get system time": no parameters, small.
PING = "/api/v5/public/time"


class OkxRequests(PlainRequests):
    """The venue's API is at ``https://www.okx.com``; the bare ``okx.com`` redirects, which loses what signs a
    request. Query and JSON are the plain ones."""
