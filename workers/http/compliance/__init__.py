"""The suite that every HTTP adapter passes, ours and yours.

    for name in ROWS:
        await run_row(name, MyClient, folder)

`MyClient` is called with `HttpClientOptions`; `folder` is a directory for certificates. A row raises
`AssertionError` when the adapter fails it and `NotOffered` when it is about something that the adapter says
it does not have (HTTP/2, say). `python -m workers.http.compliance NAME` runs all rows against the adapter
registered as NAME, or against `module:Class`. Loopback only; needs `cryptography`.
"""

from workers.http.compliance import (  # noqa: F401  each registers its rows
    rows_encoding,
    rows_failures,
    rows_proxies,
    rows_redirects,
    rows_tls,
    rows_wire,
)
from workers.http.compliance.trial import ROWS, NotOffered, run_row

__all__ = ["ROWS", "NotOffered", "run_row"]
