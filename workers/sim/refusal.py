"""The error answers of Binance and MEXC: an HTTP status, and a JSON body with code and message."""

from __future__ import annotations

import msgspec


class Refusal(Exception):
    """A REST request is refused.

    Args:
        code, text: the venue's error code and message, the body of the answer.
        status: HTTP status.
    """

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(code, text)
        self.status = status
        self.body = msgspec.json.encode({"code": code, "msg": text})


def missing(name: str) -> Refusal:
    """A mandatory parameter is missing."""
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str) -> Refusal:
    """A parameter contains characters that are not allowed; `legal` is the pattern of the message."""
    return Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
