"""A secret is seen nowhere; where it comes from is checked."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from workers.auth.credentials import CredentialFile, Credentials, RotatingCredentials, origin
from workers.auth.secret import HIDDEN, MAX_FILE, Secret, SecretError, redact, source
from workers.auth.signing import Ed25519Signer, HmacSigner, RsaSigner, pem_or_hmac
from workers.contract.protocols import AuthStrategy, HTTPMethod
from workers.services.polymarket import auth as polymarket
from workers.venues.binance_spot import auth as binance_spot
from workers.venues.bybit import auth as bybit
from workers.venues.gateio import auth as gateio
from workers.venues.kraken import auth as kraken
from workers.venues.mexc_spot import auth as mexc_spot
from workers.venues.okx import auth as okx

PLAIN = "c2VjcmV0LXRoYXQtbm9ib2R5LXNlZXM="
PHRASE = "aXRzLXBhc3NwaHJhc2U="


class Naive(Secret):
    """Negative control: a secret that shows itself."""

    def __repr__(self) -> str:
        return f"Naive({self.reveal()})"


def shown(secret: object, caplog: pytest.LogCaptureFixture) -> list[str]:
    """All the ways in which a value gets into a text."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("auth").debug("%s %r %s", secret, secret, {"secret": secret})
    return [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret:>10}",
        "{:^9}".format(secret),  # noqa: UP032
        "%s" % (secret,),  # noqa: UP031
        repr([secret, {"a": secret}]),
        msgspec.json.encode({"secret": secret}, enc_hook=redact).decode(),
        msgspec.msgpack.encode(secret, enc_hook=redact).decode("latin-1"),
        repr(msgspec.to_builtins([secret], enc_hook=redact)),
        json.dumps({"secret": secret}, default=redact),
        caplog.text,
    ]


def test_it_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    texts = shown(Secret(PLAIN), caplog)
    assert not [text for text in texts if PLAIN in text]
    assert all(HIDDEN in text for text in texts)
    assert f"{Secret(PLAIN):>6}" == "   ***"


def test_the_check_notices_one_that_shows_itself(caplog: pytest.LogCaptureFixture) -> None:
    assert any(PLAIN in text for text in shown(Naive(PLAIN), caplog))


@pytest.mark.parametrize(
    "attempt",
    [
        pickle.dumps,
        lambda secret: pickle.dumps(secret, 0),
        msgspec.json.encode,
        json.dumps,
        vars,
        lambda secret: secret.__getstate__(),
    ],
)
def test_it_is_not_taken_elsewhere(attempt: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError) as error:
        attempt(Secret(PLAIN))
    assert PLAIN not in str(error.value)


def test_revealing_is_the_only_way() -> None:
    secret = Secret(PLAIN)
    assert secret.reveal() == PLAIN
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    assert bool(secret)
    assert not Secret("")
    with pytest.raises(TypeError, match="int cannot be encoded"):
        redact(3)


def test_equality_is_by_content_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(1) or real(a, b))
    assert Secret("ä") == Secret("ä")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a")) != hash("a")
    assert len(compared) == 2


def strategies(pair: Credentials) -> list[AuthStrategy]:
    return [
        binance_spot.auth(pair),
        mexc_spot.auth(pair),
        bybit.auth(pair),
        gateio.auth(pair),
        kraken.auth(pair),
        okx.auth(pair),
        polymarket.auth(pair, "0x"),
    ]


def test_nothing_that_holds_a_secret_shows_it() -> None:
    pair = Credentials.of("key-of-it", PLAIN, PHRASE)
    holders: list[Any] = [pair, RotatingCredentials(origin("key-of-it", PLAIN, PHRASE, {}))]
    for strategy in strategies(pair):
        signed = strategy.sign_request(HTTPMethod.POST, "/x", [("a", "b")], {"c": 1}, 1)
        holders += [strategy, signed, strategy._key, strategy._key.current()]  # type: ignore[attr-defined]
    for holder in holders:
        assert PLAIN not in repr(holder)
        assert PHRASE not in repr(holder)


def frames(error: BaseException) -> str:
    """What a crash reporter that keeps locals would send, causes and contexts included; the frames of the
    test itself and of its lambdas, which have the text by right, left out."""
    texts: list[str] = []
    at: BaseException | None = error
    while at is not None:
        texts += traceback.format_exception_only(at)
        for frame, _ in traceback.walk_tb(at.__traceback__):
            if not frame.f_code.co_name.startswith(("test_", "<lambda>")):
                texts += [_shown(value) for value in frame.f_locals.values()]
        at = at.__cause__ or at.__context__
    return "\n".join(texts)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except AttributeError:
        return "half-made"


@pytest.mark.parametrize(
    "attempt",
    [
        lambda text: HmacSigner(Secret(text), key="base64"),
        lambda text: HmacSigner(Secret(text), "sha512", key="base64url"),
        lambda text: RsaSigner(Secret(text)),
        lambda text: Ed25519Signer(Secret(text), Secret(PHRASE)),
        lambda text: pem_or_hmac(Credentials.of("k", "-----BEGIN " + text)),
        lambda text: kraken.auth(Credentials.of("k", text)),
        lambda text: polymarket.auth(Credentials.of("k", text, PHRASE), "0x"),
    ],
)
def test_no_frame_of_an_error_holds_it(attempt: Callable[[str], object]) -> None:
    text = "not base64, yet very secret!"
    with pytest.raises(SecretError) as error:
        attempt(text)
    assert "very secret" not in frames(error.value)
    assert PHRASE not in frames(error.value)


def test_the_check_of_frames_notices_a_local() -> None:
    def naive(secret: Secret) -> None:
        key = secret.reveal()
        raise SecretError(f"wrong length {len(key)}")

    with pytest.raises(SecretError) as error:
        naive(Secret(PLAIN))
    assert PLAIN in frames(error.value)


# -- sources -----------------------------------------------------------------------------------------------
def test_literals_and_variables() -> None:
    assert source("plain", {}).read() == Secret("plain")
    assert source("odd:colon", {}).read() == Secret("odd:colon")
    assert source("env:NAME", {"NAME": " of env\n"}).read() == Secret("of env")
    assert PLAIN not in repr(source(PLAIN, {}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write file:/path or env:NAME"),
        ("file:", "file: names nothing"),
        ("env:", "env: names nothing"),
        ("flie:/run/secrets/x", r"flie:/... is no source of secrets; write file:/path"),
        ("env:/run/secrets/x", r"env:/... is no source"),
    ],
)
def test_a_source_that_is_none(text: str, message: str) -> None:
    with pytest.raises(SecretError, match=message):
        source(text, {})


def test_a_variable_that_is_not_set_or_empty() -> None:
    for environ in ({}, {"NAME": " "}):
        with pytest.raises(SecretError, match="env:NAME: the variable is not set"):
            source("env:NAME", environ).read()


def write(path: Path, text: str | bytes, mode: int = 0o640) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_a_file_without_its_line_end(tmp_path: Path) -> None:
    path = write(tmp_path / "s", "from a file\r\n")
    assert source(f"file:{path}", {}).read() == Secret("from a file")
    assert repr(source(f"file:{path}", {})) == f"file:{path}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_modes_that_are_narrow_enough(tmp_path: Path, mode: int) -> None:
    assert source(f"file:{write(tmp_path / 's', 'x', mode)}", {}).read().reveal() == "x"


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o642, 0o750, 0o777])
def test_wider_modes_are_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretError, match=f"its mode is {mode:04o}.*chmod 0640"):
        source(f"file:{write(tmp_path / 's', 'x', mode)}", {}).read()


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * (MAX_FILE + 1)])
def test_content_that_is_no_secret(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SecretError, match="empty, longer than 65536 bytes, or no text"):
        source(f"file:{write(tmp_path / 's', content)}", {}).read()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name, message in (("none", "No such file"), ("fifo", "no regular file"), (".", "no regular file")):
        with pytest.raises(SecretError, match=message):
            source(f"file:{tmp_path / name}", {}).read()
    with pytest.raises(SecretError, match="No such file"):
        source(f"file:{tmp_path / 'none'}", {}).stamp()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('key = "k"\nsecret = "s', "no TOML; half-written"),
        ('key = "k"\n', r"wanted are key, secret and perhaps passphrase, not \['key'\]"),
        ('key = "k"\nsecret = "s"\nsecrte = "s"', "wanted are"),
        ('key = "k"\nsecret = 7', "are texts that are not empty"),
        ('key = ""\nsecret = "s"', "are texts that are not empty"),
    ],
)
def test_a_credential_file_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(SecretError, match=message):
        CredentialFile(str(write(tmp_path / "c.toml", content))).read()


def test_a_credential_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", f'key = "k"\nsecret = "{PLAIN}"\npassphrase = "p"')
    assert CredentialFile(str(path)).read() == Credentials.of("k", PLAIN, "p")
    assert CredentialFile(str(write(path, 'key = "k"\nsecret = "s"'))).read() == Credentials.of("k", "s")
