"""A certificate authority for one run, and certificates good and bad, made on the spot."""

from __future__ import annotations

import ipaddress
import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates; all files are in `folder`."""

    def __init__(self, folder: Path, name: str = "tickring test authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = str(folder / f"{name.replace(' ', '-')}.pem")
        Path(self.file).write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        label: str,
        *hosts: str,
        expired: bool = False,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    ) -> Certificate:
        """A certificate for `hosts` (127.0.0.1 and localhost by default)."""
        key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
        now = datetime.now(UTC)
        start, end = (now - timedelta(days=3), now + timedelta(days=20))
        if expired:
            end = now - timedelta(days=2)
        names = [_general_name(host) for host in hosts or ("127.0.0.1", "localhost")]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(label))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        certificate_file = self._folder / f"{label}.pem"
        key_file = self._folder / f"{label}.key"
        certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Certificate(
            str(certificate_file), str(key_file), b64encode(sha256(spki).digest()).decode(), self.file
        )


class Certificate:
    """A certificate with its key, on disk. `pin`: of its public key; `authority`: who signed it."""

    def __init__(self, file: str, key_file: str, pin: str, authority: str) -> None:
        self.file = file
        self.key_file = key_file
        self.pin = pin
        self.authority = authority

    def server_context(self, *, alpn: tuple[str, ...] = (), clients_of: str = "") -> ssl.SSLContext:
        """For a server; `clients_of`: only clients with a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key_file)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if clients_of:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cafile=clients_of)
        return context

    def outdated_context(self) -> ssl.SSLContext:
        """For a server that knows nothing newer than TLS 1.1."""
        context = self.server_context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
