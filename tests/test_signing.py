"""Signatures: a whole model of the right hands passes, everything else is refused."""

import json
import shutil
import sys

import pytest
from click.testing import CliRunner

from clad import CLAD
from clad.cli import main
from clad.errors import MissingExtraError, ModelError
from clad.signing import SIGNATURE, sign, verify

serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: E402


def write_private(path, key, passphrase=None):
    lock = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
    return path


def write_public(path, key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


@pytest.fixture
def keys(tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    return write_private(tmp_path / "key.pem", key), write_public(tmp_path / "public.pem", key)


@pytest.fixture
def mine(model, tmp_path):
    return shutil.copytree(model, tmp_path / "mine")


def test_a_signed_model_is_verified_and_works(mine, keys, mixed, detector):
    private, public = keys
    sign(mine, private)
    verify(mine, public)
    scores = CLAD.load(mine).decision_function(mixed)
    assert (scores == detector.decision_function(mixed)).all()


def test_an_unsigned_model(mine, keys):
    with pytest.raises(ModelError, match="mine: not signed; see 'clad sign'"):
        verify(mine, keys[1])


def test_another_hand(mine, keys, tmp_path):
    sign(mine, keys[0])
    other = write_public(tmp_path / "other.pem", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(ModelError, match="signature does not fit: another key"):
        verify(mine, other)


def test_a_changed_threshold_needs_a_new_signature(mine, keys):
    private, public = keys
    sign(mine, private)
    done = CliRunner().invoke(main, ["threshold", str(mine), "--alpha", "0.2"])
    assert done.exit_code == 0, done.output
    with pytest.raises(ModelError, match=r"its threshold, too\) was changed"):
        verify(mine, public)
    sign(mine, private)
    verify(mine, public)


def test_a_damaged_model_is_neither_signed_nor_verified(mine, keys):
    private, public = keys
    sign(mine, private)
    weights = next(mine.glob("classifier-*"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"classifier-.*damaged"):
        verify(mine, public)
    with pytest.raises(ModelError, match=r"classifier-.*damaged"):
        sign(mine, private)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a signature"),
        ("[]", "not a signature"),
        ("[" * 100_000, "not a signature"),
        ('{"algorithm": "ed25519", "signature": "%%"}', "not a signature"),
        ('{"algorithm": "ed25519", "signature": 3}', "not a signature"),
        ('{"algorithm": "none", "signature": ""}', "algorithm 'none'; only ed25519"),
        ('{"algorithm": "ed25519", "signature": ""}', "does not fit"),
    ],
)
def test_a_forged_signature_file(mine, keys, text, message):
    (mine / SIGNATURE).write_text(text)
    with pytest.raises(ModelError, match=message):
        verify(mine, keys[1])


def test_what_is_no_ed25519_key(mine, keys, tmp_path):
    private, public = keys
    for wrong in (public, tmp_path / "absent.pem"):
        with pytest.raises(ModelError, match=rf"{wrong.name}: (not a private key|cannot be read)"):
            sign(mine, wrong)
    sign(mine, private)
    with pytest.raises(ModelError, match=r"key\.pem: not a public key"):
        verify(mine, private)
    key = rsa.generate_private_key(65537, 2048)
    with pytest.raises(ModelError, match=r"rsa\.pem: not an Ed25519 key; openssl genpkey"):
        sign(mine, write_private(tmp_path / "rsa.pem", key))
    with pytest.raises(ModelError, match=r"rsa-public\.pem: not an Ed25519 public key"):
        verify(mine, write_public(tmp_path / "rsa-public.pem", key))


def test_a_locked_key(mine, tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    private = write_private(tmp_path / "locked.pem", key, b"open sesame")
    for wrong in (None, "sesame"):
        with pytest.raises(ModelError, match=r"locked\.pem: not a private key in PEM form"):
            sign(mine, private, wrong)
    sign(mine, private, "open sesame")
    verify(mine, write_public(tmp_path / "p.pem", key))


def test_without_the_extra(mine, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    for function, key in zip((sign, verify), keys, strict=True):
        with pytest.raises(MissingExtraError, match=r"pip install 'clad\[sign\]'"):
            function(mine, key)


def test_the_commands(mine, keys):
    private, public = map(str, keys)
    runner = CliRunner()
    refused = runner.invoke(main, ["verify", str(mine), "--key", public])
    assert refused.exit_code == 2
    assert "Error:" in refused.output
    assert "not signed" in refused.output
    signed = runner.invoke(main, ["sign", str(mine), "--key", private])
    assert signed.exit_code == 0, signed.output
    assert json.loads((mine / SIGNATURE).read_bytes())["algorithm"] == "ed25519"
    passed = runner.invoke(main, ["verify", str(mine), "--key", public])
    assert passed.exit_code == 0, passed.output
    assert f"whole, and signed by the owner of {public}" in passed.output
