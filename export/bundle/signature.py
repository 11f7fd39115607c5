"""Signs bundles: an Ed25519 signature of manifest.json, which has the hash of every other file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle.manifest import MANIFEST, SIGNATURE
from export.errors import BundleError

if TYPE_CHECKING:  # not installed on every device
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CONTEXT = b"edge-tagger bundle manifest 1\0"  # prefix of the signed bytes: signatures for other purposes do not fit
DO_NOT = "do not use this bundle"
INSTALL = "pip install cryptography"
LONGEST = 1 << 10  # bytes of manifest.sig or of a key


def verify(folder: Path, key: Path) -> None:
    """Raise BundleError unless manifest.json in `folder` is signed with the private key of the public key `key`."""
    public = read_key(key)
    file = folder / SIGNATURE
    if not file.is_symlink() and not file.exists():
        raise BundleError(f"{file}: expected a signature by {key}, got none; {DO_NOT}, or sign it")
    signed_by, signature = _read(file)
    expected = fingerprint(public)
    if signed_by != expected:
        raise BundleError(f"{file}: expected a signature by {expected} ({key}), got one by {signed_by}; {DO_NOT}")
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, message(_plain(folder / MANIFEST)))
    except InvalidSignature:
        raise BundleError(
            f"{folder / MANIFEST}: expected what {signed_by} signed, got something else: it was changed; {DO_NOT}"
        ) from None


def state(folder: Path, key: Path | None = None) -> str:
    """Describe whether a bundle is signed and the signature checked; raises BundleError like `verify`."""
    if key is not None:
        verify(folder, key)
        return f"signed, checked with {key}"
    if not (folder / SIGNATURE).exists():
        return "unsigned"
    checks = "--require-signature KEY checks it"
    is_installed = importlib.util.find_spec("cryptography") is not None
    return f"signed, signature not checked: {checks if is_installed else f'after {INSTALL}, {checks}'}"


def message(manifest: bytes) -> bytes:
    """The bytes to sign for a manifest."""
    return CONTEXT + manifest


def line(key: Ed25519PublicKey, signature: bytes) -> bytes:
    """The content of manifest.sig."""
    return b"ed25519 %s %s\n" % (fingerprint(key).encode(), base64.b64encode(signature))


def fingerprint(key: Ed25519PublicKey) -> str:
    """The first 128 bits of the sha256 of the key's 32 bytes, in hexadecimal."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]


def read_key(file: Path) -> Ed25519PublicKey:
    """Read a public key in PEM (SubjectPublicKeyInfo); BundleError for anything else, or without `cryptography`."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as cause:
        raise BundleError(f"signature: expected the package cryptography to check it, got {cause}; {INSTALL}") from None
    expected = "an Ed25519 public key in PEM"
    try:
        key = load_pem_public_key(_begin(file))
    except OSError as cause:
        raise BundleError(f"{file}: expected {expected}, got: {cause.strerror}; name the right file") from None
    except Exception:  # ValueError, UnsupportedAlgorithm and other errors of cryptography
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{file}: expected {expected}, got something else; take the .pub file that keygen wrote")
    return key


def _read(file: Path) -> tuple[str, bytes]:
    """The fingerprint of the signing key, and the signature."""
    words = _plain(file, LONGEST).split(b" ")
    try:
        algorithm, signed_by, text = words
        signature = base64.b64decode(text.removesuffix(b"\n"), validate=True)
        digits = bytes.fromhex(signed_by.decode("ascii"))
    except (ValueError, binascii.Error):
        algorithm, signature, digits = b"", b"", b""
    if algorithm != b"ed25519" or len(signature) != 64 or len(digits) != 16:
        raise BundleError(f"{file}: expected one line, ed25519 FINGERPRINT SIGNATURE, got something else; {DO_NOT}")
    return digits.hex(), signature


def _plain(file: Path, longest: int = -1) -> bytes:
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"{file}: expected a plain file of the bundle, got something else; {DO_NOT}")
    return _begin(file, longest)


def _begin(file: Path, longest: int = LONGEST) -> bytes:
    with file.open("rb") as stream:
        return stream.read(longest)
