"""Response headers that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping

LONGEST = 259_200.0  # seconds, 3 days: the longest ban known of a venue; more would only be a slip


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by name, whatever its case."""
    value = headers.get(name)
    if value is not None:
        return value
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), None)


def retry_after(headers: Mapping[str, str], wall: float | None = None) -> float:
    """`Retry-After` in seconds from the answer on, `LONGEST` at most; 0.0 when it is absent or nonsense.

    A date (RFC 9110, 10.2.3) is read against the answer's own `Date`, which needs no clock of ours to be
    right; without one against `wall`, seconds since 1970, if given.
    """
    value = header(headers, "Retry-After")
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        until, date = _http_date(value), _http_date(header(headers, "Date"))
        since = wall if date is None else date
        seconds = 0.0 if until is None or since is None else until - since
    return min(seconds, LONGEST) if 0.0 < seconds < float("inf") else 0.0


def _http_date(text: str | None) -> float | None:
    """Seconds since 1970."""
    if text is None:
        return None
    from email.utils import parsedate_to_datetime  # loads half of the standard library; rarely needed

    try:
        return parsedate_to_datetime(text).timestamp()
    except Exception:  # a stranger's text: whatever it does to the parser, it is no date
        return None
