"""Signers: bytes in, the signature as text out. Made once of a secret, used by any thread or task.

One signature takes below 1 us by HMAC, about 25 us by Ed25519 and 250 us by RSA-2048 (`bench/sign.py`), in
which the caller's loop stands still: where a venue has both of the latter, Ed25519 is the one to take.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

from workers.auth.credentials import Credentials, CredentialSource, Keyed
from workers.auth.secret import HIDDEN, Secret, SecretError

Text = Literal["hex", "base64", "base64url"]
KeyText = Literal["text", "base64", "base64url"]

_FROM_URL: dict[int, int] = str.maketrans("-_", "+/")
_TO_URL: dict[int, int] = str.maketrans("+/", "-_")
_ENCODERS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda data: binascii.b2a_base64(data, newline=False).decode(),
    "base64url": lambda data: binascii.b2a_base64(data, newline=False).decode().translate(_TO_URL),
}
_DIGESTS: dict[str, Callable[[bytes], Any]] = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_INNER, _OUTER = bytes(i ^ 0x36 for i in range(256)), bytes(i ^ 0x5C for i in range(256))
MIN_RSA_BITS = 2048


class Signer(Protocol):
    def sign(self, message: bytes) -> str: ...


class HmacSigner:
    """HMAC (RFC 2104) by SHA-256 or SHA-512.

    The two keyed halves are hashed once, here; a signature copies their state (0.6 us instead of 1.5 us for
    `hmac.digest`, which keys anew each time).

    Args:
        secret: the key; `key`: whether its text is the key itself or base64 of it.
        output: how the signature is written.

    Raises SecretError: an empty key, or no base64.
    """

    __slots__ = ("_encode", "_inner", "_name", "_outer")

    def __init__(
        self,
        secret: Secret,
        digest: Literal["sha256", "sha512"] = "sha256",
        *,
        key: KeyText = "text",
        output: Text = "hex",
    ) -> None:
        if not secret:
            raise SecretError("the secret is empty")
        self._inner, self._outer = _keyed(secret, key, _DIGESTS[digest])
        self._encode = _ENCODERS[output]
        self._name = f"HMAC-{digest}, {output}"

    def sign(self, message: bytes) -> str:
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return self._encode(outer.digest())

    def __repr__(self) -> str:
        return f"HmacSigner({self._name})"


class RsaSigner:
    """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), base64.

    Args:
        secret: the private key, PEM, encrypted or not; at least 2048 bits.
        passphrase: of an encrypted PEM.

    Raises SecretError: no PEM, the wrong passphrase, another kind of key, too short.
    """

    __slots__ = ("_digest", "_key", "_scheme")

    def __init__(self, secret: Secret, passphrase: Secret | None = None) -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, rsa

        key = _private_key(secret, passphrase)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SecretError(f"an RSA key is wanted; this PEM holds another kind ({_kind(key)})")
        if key.key_size < MIN_RSA_BITS:
            raise SecretError(f"the RSA key has {key.key_size} bits; at least {MIN_RSA_BITS} are wanted")
        self._key, self._scheme, self._digest = key, padding.PKCS1v15(), hashes.SHA256()

    def sign(self, message: bytes) -> str:
        signature = self._key.sign(message, self._scheme, self._digest)
        return binascii.b2a_base64(signature, newline=False).decode()

    def __repr__(self) -> str:
        return "RsaSigner()"


class Ed25519Signer:
    """Ed25519 (RFC 8032), base64. Arguments and errors as for `RsaSigner`."""

    __slots__ = ("_sign",)

    def __init__(self, secret: Secret, passphrase: Secret | None = None) -> None:
        from cryptography.hazmat.primitives.asymmetric import ed25519

        key = _private_key(secret, passphrase)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise SecretError(f"an Ed25519 key is wanted; this PEM holds another kind ({_kind(key)})")
        self._sign = key.sign

    def sign(self, message: bytes) -> str:
        return binascii.b2a_base64(self._sign(message), newline=False).decode()

    def __repr__(self) -> str:
        return "Ed25519Signer()"


class HmacKey(NamedTuple):
    """What a request is signed with: the texts of its headers and the signer, of one pair."""

    key: str
    passphrase: str
    signer: HmacSigner

    def __repr__(self) -> str:
        return f"HmacKey({HIDDEN})"


def hmac_key(
    credentials: CredentialSource,
    digest: Literal["sha256", "sha512"] = "sha256",
    *,
    key: KeyText = "text",
    output: Text = "hex",
) -> Keyed[HmacKey]:
    """For venues that sign by HMAC alone; arguments and errors as for `HmacSigner`."""

    def make(pair: Credentials) -> HmacKey:
        signer = HmacSigner(pair.secret, digest, key=key, output=output)
        return HmacKey(pair.key.reveal(), pair.passphrase.reveal(), signer)

    return Keyed(credentials, make)


def pem_or_hmac(credentials: Credentials) -> Signer:
    """For venues that have all three: what the secret is, is what signs. Raises SecretError."""
    if not credentials.secret.reveal().startswith("-----BEGIN"):
        return HmacSigner(credentials.secret)
    if _kind(_private_key(credentials.secret, credentials.passphrase)) == "RSAPrivateKey":
        return RsaSigner(credentials.secret, credentials.passphrase)
    return Ed25519Signer(credentials.secret, credentials.passphrase)


def _keyed(secret: Secret, text: KeyText, new: Callable[[bytes], Any]) -> tuple[Any, Any]:
    """RFC 2104, section 2: the key, hashed when longer than a block, filled up with zeros, then xor-ed."""
    key = _key_bytes(secret, text)
    if not key:
        raise SecretError(f"the secret is no {text}, as this venue's secrets are")
    block = new(b"").block_size
    if len(key) > block:
        key = new(key).digest()
    key = key.ljust(block, b"\0")
    return new(key.translate(_INNER)), new(key.translate(_OUTER))


def _key_bytes(secret: Secret, text: KeyText) -> bytes:
    """Empty when it is none. Errors are not passed on: their frames would hold the secret."""
    if text == "text":
        return secret.reveal().encode()
    try:
        return binascii.a2b_base64(
            secret.reveal().translate(_FROM_URL if text == "base64url" else {}), strict_mode=True
        )
    except ValueError:
        return b""


def _private_key(secret: Secret, passphrase: Secret | None) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(
            secret.reveal().encode(), passphrase.reveal().encode() if passphrase else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # TypeError: a passphrase is missing, or given for a key that is not encrypted.
        reason = str(error) if isinstance(error, TypeError) else "half-written, or the passphrase is wrong"
    raise SecretError(f"the secret is no private key in PEM that can be read: {reason}")


def _kind(key: object) -> str:
    return type(key).__name__
