"""The venue's way to refuse a REST request: an HTTP status, and a body with its own code."""

from __future__ import annotations

import msgspec


class Refusal(Exception):
    """The venue's error body; HTTP 400 unless said otherwise."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(code, text)
        self.status = status
        self.body = msgspec.json.encode({"code": code, "msg": text})


def missing(name: str) -> Refusal:
    """A parameter that must be there."""
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str) -> Refusal:
    """A parameter with letters that it cannot have."""
    return Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
