"""Who made a model: Ed25519 signatures over its manifest, which holds the hash of every file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from clad.artifact import MANIFEST, read_bundle, write_json
from clad.errors import MissingExtraError, ModelError

SIGNATURE = "signature.json"
ALGORITHM = "ed25519"
CONTEXT = b"clad model manifest\0"  # a signature for anything else is none for a model


def sign(model: Path, key: Path, passphrase: str | None = None) -> Path:
    """Sign the model in ``model`` with the private key in a PEM file; returns the file written.

    Raises ModelError for a damaged model and for what is no Ed25519 private key, MissingExtraError
    without the extra ``sign``.
    """
    serialization, ed25519 = _cryptography()
    read_bundle(model)  # never put a name to a damaged model
    secret = None if passphrase is None else passphrase.encode()
    try:
        private = serialization.load_pem_private_key(_read(key), secret)
    except (ValueError, TypeError) as error:  # TypeError: a passphrase too many or too few
        raise ModelError(f"{key}: not a private key in PEM form ({error})") from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise ModelError(f"{key}: not an Ed25519 key; openssl genpkey -algorithm ed25519 makes one")
    signature = private.sign(CONTEXT + _read(model / MANIFEST))
    path = model / SIGNATURE
    write_json(path, {"algorithm": ALGORITHM, "signature": base64.b64encode(signature).decode()})
    return path


def verify(model: Path, key: Path) -> None:
    """Check that the model is whole and signed by the owner of the public key in a PEM file.

    Raises ModelError where it is damaged, not signed, changed since or signed by another key.
    """
    serialization, ed25519 = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        public = serialization.load_pem_public_key(_read(key))
    except ValueError as error:
        raise ModelError(f"{key}: not a public key in PEM form ({error})") from None
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise ModelError(f"{key}: not an Ed25519 public key")
    read_bundle(model)
    path = model / SIGNATURE
    if not path.is_file():
        raise ModelError(f"{model}: not signed; see 'clad sign'")
    try:
        entry = json.loads(_read(path))
        signature = base64.b64decode(entry["signature"], validate=True)
        known = entry["algorithm"] == ALGORITHM
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(f"{path}: not a signature of a CLAD model, or a damaged one") from None
    if not known:
        raise ModelError(f"{path}: algorithm {entry['algorithm']!r}; only {ALGORITHM} is known")
    try:
        public.verify(signature, CONTEXT + _read(model / MANIFEST))
    except InvalidSignature:
        raise ModelError(
            f"{model}: the signature does not fit: another key signed it, or the model (its "
            "threshold, too) was changed afterwards"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtraError(
            "signatures need the package cryptography: pip install 'clad[sign]'"
        ) from None
    return serialization, ed25519
