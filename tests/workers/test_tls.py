"""TLS contexts and pins."""

from __future__ import annotations

import ssl
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from workers.contract.tls import PinMismatch, TlsOptions, check_pin, client_context, spki_pin
from workers.http.compliance.certificates import Authority


def _der(file: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(file).read_text())


def test_the_pin_is_what_cryptography_says(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = [authority.issue("ec"), authority.issue("many", *[f"host{n}.example" for n in range(200)])]
    for certificate in issued:
        assert spki_pin(_der(certificate.file)) == certificate.pin
    assert issued[0].pin != issued[1].pin
    der = _der(authority.file)
    spki = (
        x509.load_der_x509_certificate(der)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    assert spki_pin(der) == b64encode(sha256(spki).digest()).decode()


def test_the_pin_of_an_rsa_key(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    certificate = Authority(tmp_path).issue("rsa", key=key)
    assert spki_pin(_der(certificate.file)) == certificate.pin


def test_a_wrong_pin_names_the_one_seen(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue("good")
    check_pin(_der(certificate.file), ("x", certificate.pin))
    with pytest.raises(PinMismatch, match="has the pin") as failure:
        check_pin(_der(certificate.file), ("x",))
    assert failure.value.seen == certificate.pin
    with pytest.raises(PinMismatch):
        check_pin(None, (certificate.pin,))


def test_a_context_is_strict() -> None:
    for options in (TlsOptions(), TlsOptions(pins=("A" * 43 + "=",))):
        context = client_context(options)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


def test_a_context_is_shared_by_those_who_ask_the_same() -> None:
    assert client_context(TlsOptions()) is client_context(TlsOptions())
    assert client_context(TlsOptions()) is not client_context(TlsOptions(pins=("A" * 43 + "=",)))
    assert client_context(TlsOptions()) is not client_context(TlsOptions(), None, False)
    # httpcore sets ALPN on its context: nobody else may get that one.
    assert client_context(TlsOptions()) is not client_context(TlsOptions(), None, True, ("http/1.1", "h2"))


def test_verification_off_is_off_for_that_context_only() -> None:
    assert client_context(TlsOptions(), None, False).verify_mode is ssl.CERT_NONE
    assert client_context(TlsOptions()).verify_mode is ssl.CERT_REQUIRED


def test_only_the_authorities_of_the_options_are_trusted(tmp_path: Path) -> None:
    context = client_context(TlsOptions(Authority(tmp_path).file))
    assert [dict(entry[0] for entry in ca["subject"])["commonName"] for ca in context.get_ca_certs()] == [
        "tickring test authority"
    ]


@pytest.mark.parametrize("pin", ["", "abc", "A" * 44, "sha256/" + "A" * 43 + "=", "é"])
def test_a_pin_that_can_never_match_is_refused(pin: str) -> None:
    with pytest.raises(ValueError, match="not the base64 of a SHA-256 digest"):
        TlsOptions(pins=(pin,))
    with pytest.raises(msgspec.ValidationError, match=r"SHA-256"):
        msgspec.convert({"pins": [pin]}, TlsOptions)


def test_files_that_are_of_no_use_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no-such-file"):
        client_context(TlsOptions("no-such-file"))
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ValueError, match=r"empty\.pem"):
        client_context(TlsOptions(str(empty)))
    with pytest.raises(ValueError, match=r"client certificate .*empty\.pem"):
        client_context(TlsOptions(), (str(empty), str(empty)))
