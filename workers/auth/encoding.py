"""Query and body as they are signed and sent: encoded once, here, and never again after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

# RFC 3986, section 2.3: what is never encoded.
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

encode_json = msgspec.json.Encoder().encode
"""A body; `msgspec.Raw` goes in as it stands."""


def encode_query(params: Sequence[tuple[str, str]]) -> str:
    """``a=1&b=%20``: everything but RFC 3986's unreserved characters in percent form, UTF-8, in order.

    A blank is %20 and never "+", which some venues read as a plus sign. UnicodeEncodeError for half a
    surrogate pair.
    """
    text = "&".join(map("=".join, params))
    # Without the unreserved bytes only our own separators are left, unless something must be encoded.
    if text.encode().translate(None, _UNRESERVED) == (b"=&" * len(params))[:-1]:
        return text
    return urlencode(params, quote_via=quote)


def encode_body(json_data: Any) -> bytes:
    """The JSON body, or nothing for None."""
    return b"" if json_data is None else encode_json(json_data)
