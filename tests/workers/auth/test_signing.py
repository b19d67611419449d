"""Signers against published answers, the standard library and openssl."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from workers.auth.credentials import Credentials
from workers.auth.encoding import encode_query
from workers.auth.secret import Secret, SecretError
from workers.auth.signing import Ed25519Signer, HmacSigner, RsaSigner, hmac_key, pem_or_hmac

# RFC 4231, sections 4.2 and 4.3: key, data, SHA-256, SHA-512.
RFC_4231 = [
    (
        "Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ),
    (
        "\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
        "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    ),
]

# RFC 8032, section 7.1, tests 1 to 3: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


def pem(key: object, passphrase: str = "") -> Secret:
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    return Secret(
        key.private_bytes(  # type: ignore[attr-defined]
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ).decode()
    )


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


# -- HMAC -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("key", "data", "sha256", "sha512"), RFC_4231)
def test_hmac_by_rfc_4231(key: str, data: bytes, sha256: str, sha512: str) -> None:
    assert HmacSigner(Secret(key)).sign(data) == sha256
    assert HmacSigner(Secret(key), "sha512").sign(data) == sha512


def test_hmac_of_a_long_key_is_keyed_by_its_digest() -> None:
    for size in (63, 64, 65, 127, 128, 129, 300):
        key = "k" * size
        assert HmacSigner(Secret(key)).sign(b"m") == hmac.new(key.encode(), b"m", "sha256").hexdigest()
        assert (
            HmacSigner(Secret(key), "sha512").sign(b"m") == hmac.new(key.encode(), b"m", "sha512").hexdigest()
        )


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=400), st.sampled_from(["sha256", "sha512"]))
def test_hmac_as_the_standard_library(key: bytes, data: bytes, digest: str) -> None:
    expected = hmac.new(key, data, digest).digest()
    url = HmacSigner(
        Secret(base64.urlsafe_b64encode(key).decode()),
        digest,  # type: ignore[arg-type]
        key="base64url",
        output="base64url",
    )
    plain = HmacSigner(
        Secret(base64.b64encode(key).decode()),
        digest,  # type: ignore[arg-type]
        key="base64",
        output="base64",
    )
    assert url.sign(data) == base64.urlsafe_b64encode(expected).decode()
    assert plain.sign(data) == base64.b64encode(expected).decode()
    assert plain.sign(data) == base64.b64encode(expected).decode(), (
        "a signature changes nothing of the signer"
    )


def test_hmac_keys_that_are_none() -> None:
    with pytest.raises(SecretError, match="the secret is empty"):
        HmacSigner(Secret(""))
    for text in ("no base64!", "abc", ""):
        with pytest.raises(SecretError, match=r"is no base64|is empty"):
            HmacSigner(Secret(text), key="base64")


def test_hmac_from_many_threads() -> None:
    signer = HmacSigner(Secret("shared"))
    messages = [b"message %d" % number * 200 for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        signed = list(pool.map(signer.sign, messages))
    assert signed == [hmac.new(b"shared", message, "sha256").hexdigest() for message in messages]


def test_a_key_and_its_texts_are_of_one_pair() -> None:
    key = hmac_key(Credentials.of("k", "s", "p"), "sha512", output="base64").current()
    assert (key.key, key.passphrase) == ("k", "p")
    assert key.signer.sign(b"x") == base64.b64encode(hmac.digest(b"s", b"x", "sha512")).decode()


# -- Ed25519 --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_ed25519_by_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert key.public_key().public_bytes_raw().hex() == public
    for one in (
        Ed25519Signer(pem(key)),
        Ed25519Signer(pem(key, "phrase"), Secret("phrase")),
        pem_or_hmac(Credentials(Secret("k"), pem(key))),
    ):
        assert base64.b64decode(one.sign(bytes.fromhex(message))).hex() == signature


# -- RSA ------------------------------------------------------------------------------------------------
def test_rsa_as_openssl_signs(rsa_key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(pem(rsa_key).reveal())
    for message in (b"", b"symbol=BTCUSDT&timestamp=1", bytes(range(256)) * 9):
        (tmp_path / "message").write_bytes(message)
        expected = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", tmp_path / "key.pem", tmp_path / "message"],
            capture_output=True,
            check=True,
        ).stdout
        for signer in (
            RsaSigner(pem(rsa_key)),
            RsaSigner(pem(rsa_key, "phrase"), Secret("phrase")),
            pem_or_hmac(Credentials(Secret("k"), pem(rsa_key, "phrase"), Secret("phrase"))),
        ):
            assert base64.b64decode(signer.sign(message)) == expected


# -- keys that do not fit -------------------------------------------------------------------------------
def test_the_wrong_kind_of_key_is_named(rsa_key: rsa.RSAPrivateKey) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    ed = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(SecretError, match=r"an RSA key is wanted.*Ed25519PrivateKey"):
        RsaSigner(pem(ed))
    with pytest.raises(SecretError, match=r"an Ed25519 key is wanted.*RSAPrivateKey"):
        Ed25519Signer(pem(rsa_key))
    with pytest.raises(SecretError, match=r"an Ed25519 key is wanted.*ECPrivateKey"):
        pem_or_hmac(Credentials(Secret("k"), pem(curve)))


@pytest.mark.parametrize(
    ("encrypted", "passphrase"),
    [("phrase", ""), ("phrase", "wrong"), ("", "not needed")],
)
def test_a_passphrase_that_does_not_fit(encrypted: str, passphrase: str) -> None:
    key = pem(ed25519.Ed25519PrivateKey.generate(), encrypted)
    with pytest.raises(SecretError, match="no private key in PEM that can be read: "):
        Ed25519Signer(key, Secret(passphrase))


def test_half_a_pem() -> None:
    key = pem(ed25519.Ed25519PrivateKey.generate()).reveal()
    for size in range(len("-----BEGIN"), len(key) - 30, 7):
        with pytest.raises(SecretError, match="half-written"):
            pem_or_hmac(Credentials.of("k", key[:size]))


def test_short_rsa_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.pem"
    subprocess.run(["openssl", "genrsa", "-out", path, "1024"], capture_output=True, check=True)
    with pytest.raises(SecretError, match=r"1024 bits; at least 2048|half-written"):
        RsaSigner(Secret(path.read_text()))


def test_signers_do_not_show_their_keys() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert repr(Ed25519Signer(pem(key))) == "Ed25519Signer()"
    assert repr(HmacSigner(Secret("hidden"))) == "HmacSigner(HMAC-sha256, hex)"


# -- the query ------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=6))
def test_queries_survive_the_way_there_and_back(params: list[tuple[str, str]]) -> None:
    query = encode_query(params)
    assert query == "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in params)
    back = [tuple(map(unquote, pair.split("="))) for pair in query.split("&")] if params else []
    assert back == params


def test_what_is_encoded() -> None:
    params = [("a", "b c"), ("plus", "+"), ("percent", "%"), ("empty", ""), ("a", "again"), ("币", "&=/?#")]
    assert encode_query(params) == ("a=b%20c&plus=%2B&percent=%25&empty=&a=again&%E5%B8%81=%26%3D%2F%3F%23")
    assert encode_query([("az-AZ_09.~", "0.01000000")]) == "az-AZ_09.~=0.01000000"
    assert encode_query([]) == ""
    with pytest.raises(UnicodeEncodeError):
        encode_query([("a", "\ud800")])


def test_bodies_hash_as_they_are_sent() -> None:
    from msgspec import Raw

    from workers.auth.encoding import encode_body

    assert encode_body(None) == b""
    assert encode_body({}) == b"{}"
    assert encode_body(Raw(b'{"hash": "0x123"}')) == b'{"hash": "0x123"}'
    assert hashlib.sha256(encode_body(Raw(b"a=1"))).digest() == hashlib.sha256(b"a=1").digest()
