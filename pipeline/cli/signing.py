"""Keys and signatures of bundles, for keygen, sign and verify."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from export.bundle import signature
from export.bundle.bundle import MANIFEST, SIGNATURE, read_bundle
from mlkd.core.files import write_file

OTHERS = 0o077
KEY = Path("~/.config/edge-tagger/signing.pem")


def find(name: str, dist: Path) -> Path:
    """The bundle of a recipe, or the folder of one."""
    given, shipped = Path(name), dist / Path(name).stem
    if (given / MANIFEST).is_file():
        return given
    if not shipped.is_dir():
        raise ValueError(
            f"bundle: expected a recipe that was exported, or a bundle's folder, got {name!r}; make export"
        )
    return shipped


def write_keys(private: Path) -> tuple[Path, Path]:
    """A new private key in PEM (PKCS8, not encrypted, for its owner's eyes), and its public half beside it, .pub."""
    public = private.with_name(f"{private.name}.pub")
    for file in (private, public):
        if os.path.lexists(file):
            raise ValueError(f"{file}: expected nothing, got a file: a key is never overwritten; name another --out")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    try:
        _write_new(private, secret, 0o600)
    except OSError:
        public.unlink()
        raise
    return private, public


def write_signature(folder: Path, private: Path) -> str:
    """Sign a bundle, verified before; who signed it.  Raises BundleError, or ValueError for a key that is none."""
    key = _read_private(private)
    read_bundle(folder)
    made = key.sign(signature.message((folder / MANIFEST).read_bytes()))
    write_file(folder / SIGNATURE, signature.line(key.public_key(), made))
    return signature.fingerprint(key.public_key())


def _read_private(file: Path) -> Ed25519PrivateKey:
    wanted = "expected an Ed25519 private key in PEM without a passphrase"
    if not file.is_file():
        raise ValueError(f"{file}: {wanted}, got no file; python -m pipeline keygen makes one")
    mode = file.stat().st_mode & 0o777
    if mode & OTHERS:
        raise ValueError(f"{file}: expected a private key that only you can read, got mode {mode:o}; chmod 600 it")
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except Exception:  # ValueError, TypeError of an encrypted one, UnsupportedAlgorithm
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{file}: {wanted}, got something else; take the file that keygen wrote")
    return key


def _write_new(file: Path, content: bytes, mode: int) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:  # half a key is none, and would never be overwritten
        file.unlink()
        raise
