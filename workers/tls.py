"""How a TLS connection is to be made, for WebSocket and HTTP alike."""

from __future__ import annotations

import msgspec


class TlsOptions(msgspec.Struct, frozen=True):
    """TLS 1.2 at least, the whole chain and the host name verified; this adds to it, never takes away.

    Attributes:
        ca_file: PEM file of authorities to trust instead of the system's; empty: the system's.
        pins: base64 SHA-256 digests of SubjectPublicKeyInfo (RFC 7469 2.4); when there are any, the server's
            own certificate must match one of them.
    """

    ca_file: str = ""
    pins: tuple[str, ...] = ()
