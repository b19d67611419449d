"""How a TLS connection is to be made, for WebSocket and HTTP alike."""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64decode, b64encode
from functools import lru_cache

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

    def __post_init__(self) -> None:
        for pin in self.pins:
            _check_pin(pin)


class PinMismatch(ssl.SSLCertVerificationError):
    """The server's key is none of the pinned ones; `seen` is its pin."""

    def __init__(self, seen: str, pins: tuple[str, ...]) -> None:
        self.seen = seen
        self.reason = "PIN_MISMATCH"
        self.verify_message = f"the server's key has the pin {seen}, expected {' or '.join(pins)}"
        super().__init__(1, self.verify_message)


@lru_cache(maxsize=64)
def client_context(
    options: TlsOptions = TlsOptions(),  # noqa: B008  frozen
    cert: tuple[str, str] | None = None,
    verify: bool = True,
    alpn: tuple[str, ...] = (),
) -> ssl.SSLContext:
    """A context for outgoing connections; the same object for the same arguments, so that connections and
    sessions can be shared.

    Args:
        cert: (certificate file, key file), PEM, to show to the server.
        verify: False switches verification off, pins excepted.
        alpn: protocols to offer. Some libraries set their own on the context that they are given: such a one
            needs a context that nobody else has.

    Raises `ValueError` naming the file that is of no use.
    """
    context = _pinned(options.pins) if options.pins else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(alpn)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if options.ca_file:
            context.load_verify_locations(cafile=options.ca_file)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"tls: cannot use ca_file {options.ca_file!r}: {error}") from error
    if cert is not None:
        try:
            context.load_cert_chain(*cert)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"tls: cannot use the client certificate {cert[0]!r}: {error}") from error
    return context


def spki_pin(certificate: bytes) -> str:
    """The pin of a DER certificate: base64 of the SHA-256 of its SubjectPublicKeyInfo."""
    return b64encode(hashlib.sha256(_subject_public_key_info(certificate)).digest()).decode()


def check_pin(certificate: bytes | None, pins: tuple[str, ...]) -> None:
    """Raises `PinMismatch` unless the certificate's key is one of the pinned ones."""
    seen = "none" if certificate is None else spki_pin(certificate)
    if seen not in pins:
        raise PinMismatch(seen, pins)


def _pinned(pins: tuple[str, ...]) -> ssl.SSLContext:
    """A context whose connections check the pin as the last step of the handshake, when nothing of ours has
    been sent yet."""

    class PinnedObject(ssl.SSLObject):  # asyncio, uvloop
        def do_handshake(self) -> None:
            super().do_handshake()
            check_pin(self.getpeercert(binary_form=True), pins)

    class PinnedSocket(ssl.SSLSocket):  # blocking sockets
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            check_pin(self.getpeercert(binary_form=True), pins)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = PinnedObject
    context.sslsocket_class = PinnedSocket
    return context


def _check_pin(pin: str) -> None:
    try:
        digest = b64decode(pin, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError(f"tls: pin {pin!r} is not the base64 of a SHA-256 digest (44 characters)")


def _subject_public_key_info(certificate: bytes) -> bytes:
    """RFC 5280 4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber,
    signature, issuer, validity, subject, subjectPublicKeyInfo, ... } ... }."""
    start, _ = _contents(certificate, 0)
    at, _ = _contents(certificate, start)
    if certificate[at] == 0xA0:
        at = _end(certificate, at)
    for _ in range(5):
        at = _end(certificate, at)
    return certificate[at : _end(certificate, at)]


def _contents(der: bytes, at: int) -> tuple[int, int]:
    """(start, end) of the contents of the DER element at `at` (X.690 8.1.3)."""
    length = der[at + 1]
    start = at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    return start, start + length


def _end(der: bytes, at: int) -> int:
    return _contents(der, at)[1]
