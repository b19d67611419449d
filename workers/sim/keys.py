"""API keys of a simulated venue, and the verification of signed requests by Binance's rules.

Written with the standard library and `cryptography` alone, not with the workers' signers: an error shared by
both ends would not be found.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

import msgspec

from workers.sim.refusal import Refusal, illegal, missing

RECV_WINDOW, MAX_RECV_WINDOW = 5000, 60_000
"""ms: how old a timestamp may be by default (`recvWindow` unset), and the highest `recvWindow`."""
AHEAD = 1000
"""ms: how far in the future a timestamp may lie."""
MICROSECONDS = 10**14
"""Timestamps from this number on are in microseconds."""

Params = Mapping[str, str]


class SimKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One API key: `secret` for HMAC-SHA256, or `public_key`, the PEM of an Ed25519 or RSA key."""

    key: str
    secret: str = ""
    public_key: str = ""

    def __post_init__(self) -> None:
        if not self.key or bool(self.secret) == bool(self.public_key):
            raise ValueError("an API key has a name, and either a secret or a public_key")

    def __repr__(self) -> str:
        return f"SimKey({self.key}, {'HMAC' if self.secret else 'PEM'})"


def read_keys(path: Path) -> list[SimKey]:
    """The ``[[keys]]`` of a TOML file.

    Raises:
        ValueError: the file cannot be read or is wrong; the message names the file and the fault.
    """
    try:
        content = tomllib.loads(path.read_text())
        return msgspec.convert(content.get("keys"), list[SimKey])
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}; wanted are [[keys]] with key, and secret or public_key") from None


class Keys:
    """All accepted API keys.

    Raises:
        ValueError: a public key is neither Ed25519 nor RSA.
    """

    def __init__(self, keys: Iterable[SimKey]) -> None:
        self._keys = {key.key: _verifier(key) for key in keys}

    def check(self, key: str, query: str, body: bytes, now_ms: int) -> Params:
        """Verify a signed request and return its parameters.

        Rules (venue docs, "Request security" and "Timing security"):

        1. The signature is over query and body as they were sent, without the parameter `signature`, and
           with nothing between them.
        2. timestamp < server time + 1 s, and server time - timestamp <= recvWindow.

        Raises:
            Refusal: the key is unknown, the time is out of bounds, or the signature is wrong.
        """
        if not key:
            raise Refusal(-2014, "API-key format invalid.", 401)
        verifier = self._keys.get(key)
        if verifier is None:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        text = body.decode("latin-1")
        params = dict(parse_qsl(query, keep_blank_values=True) + parse_qsl(text, keep_blank_values=True))
        _check_time(params, now_ms)
        signature = params.pop("signature", "")
        if not signature:
            raise missing("signature")
        unsigned = _without_signature(query).encode("utf-8", "surrogateescape")
        if not verifier(unsigned + _without_signature(text).encode("latin-1"), signature):
            raise Refusal(-1022, "Signature for this request is not valid.")
        return params


Verifier = Callable[[bytes, str], bool]


def _verifier(key: SimKey) -> Verifier:
    return _hmac(key.secret.encode()) if key.secret else _public_key(key.public_key)


def _hmac(secret: bytes) -> Verifier:
    def verify(message: bytes, signature: str) -> bool:
        expected = hmac.new(secret, message, "sha256").hexdigest()  # lower case, as documented
        return hmac.compare_digest(expected.encode(), signature.encode())

    return verify


def _public_key(pem: str) -> Verifier:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ValueError(f"a public_key is no PEM: {error}") from None
    if not isinstance(key, ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise ValueError(f"a public_key is Ed25519 or RSA, not {type(key).__name__}")

    def verify(message: bytes, signature: str) -> bool:
        try:
            raw = base64.b64decode(signature, validate=True)
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(raw, message)
            else:
                key.verify(raw, message, padding.PKCS1v15(), SHA256())
        except (binascii.Error, InvalidSignature):
            return False
        return True

    return verify


def _without_signature(text: str) -> str:
    """A query or body without the parameter `signature`: the text that was signed."""
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))


def _check_time(params: Params, now_ms: int) -> None:
    window = _whole(params, "recvWindow", RECV_WINDOW)
    if window > MAX_RECV_WINDOW:
        raise Refusal(-1131, "recvWindow must be less than 60000.")
    if "timestamp" not in params:
        raise missing("timestamp")
    timestamp = _whole(params, "timestamp", 0)
    if timestamp >= MICROSECONDS:
        timestamp //= 1000
    if timestamp >= now_ms + AHEAD:
        raise Refusal(-1021, f"Timestamp for this request was {AHEAD}ms ahead of the server's time.")
    if now_ms - timestamp > window:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def _whole(params: Params, name: str, default: int) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise illegal(name, "^[0-9]{1,20}$")
    return int(text)
