"""RFC 3339 text -> ns since 1970, in whole numbers: the reference for `rfc3339` of `_decode.pyx`."""

from __future__ import annotations

import re
from datetime import date

# int64 nanoseconds end in April 2262.
FIRST_YEAR, LAST_YEAR = 1970, 2261
_EPOCH = date(1970, 1, 1).toordinal()
_TEXT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))\Z"
)


def to_ns(text: str) -> int | None:
    """ns since 1970, further digits cut off; None: it is no time. A leap second is the begin of the next
    second.

    >>> to_ns("2026-08-16T23:37:05.723653Z")
    1786923425723653000
    >>> to_ns("2026-02-30T00:00:00Z")
    """
    found = _TEXT.match(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if not FIRST_YEAR <= year <= LAST_YEAR or hour > 23 or minute > 59 or second > 60:
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    if found[8]:
        away = int(found[9]) * 3600 + int(found[10]) * 60
        seconds += -away if found[8] == "+" else away
    ns = seconds * 10**9 + int((found[7] or "")[:9].ljust(9, "0"))
    return ns if ns >= 0 else None
