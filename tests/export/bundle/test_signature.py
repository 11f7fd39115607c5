"""Bundles signed by one key, opened with the same, with another, and without any."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from export.bundle import signature
from export.bundle.bundle import read_bundle
from export.errors import BundleError
from tests.helpers import bundles

PRIVATE = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # RFC 8032, 7.1, test 1
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
FINGERPRINT = "21fe31dfa154a261626bf854046fd227"  # printf PUBLIC | xxd -r -p | sha256sum


def write_key(file: Path, private: Ed25519PrivateKey) -> Path:
    file.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return file


def sign(folder: Path, private: Ed25519PrivateKey, context: bytes = b"edge-tagger bundle manifest 1\0") -> None:
    made = private.sign(context + (folder / "manifest.json").read_bytes())
    (folder / "manifest.sig").write_bytes(signature.line(private.public_key(), made))


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path]:
    """A signed bundle and the public key."""
    private = Ed25519PrivateKey.from_private_bytes(PRIVATE)
    folder = bundles.write_plain(tmp_path / "bundle", tmp_path / "model")
    sign(folder, private)
    return folder, write_key(tmp_path / "key.pub", private)


def test_a_signed_bundle_is_read_and_says_so(signed: tuple[Path, Path]) -> None:
    folder, key = signed
    assert read_bundle(folder, key=key).recipe == "colours"
    assert signature.fingerprint(signature.read_key(key)) == FINGERPRINT
    assert signature.state(folder, key) == f"signed, checked with {key}"
    assert signature.state(folder) == "signed, signature not checked: --require-signature KEY checks it"
    (folder / "manifest.sig").unlink()
    assert signature.state(folder) == "unsigned"
    assert read_bundle(folder).recipe == "colours"


def unsigned(folder: Path) -> None:
    (folder / "manifest.sig").unlink()


def by_another_key(folder: Path) -> None:
    sign(folder, Ed25519PrivateKey.generate())


def pretending(folder: Path) -> None:
    """Another key's signature under the name of the right one."""
    sign(folder, Ed25519PrivateKey.generate())
    _, _, made = (folder / "manifest.sig").read_text().split(" ")
    (folder / "manifest.sig").write_text(f"ed25519 {FINGERPRINT} {made}")


def of_something_else(folder: Path) -> None:
    sign(folder, Ed25519PrivateKey.from_private_bytes(PRIVATE), context=b"")


def changed(folder: Path) -> None:
    """Whoever changes the manifest can correct the hash beside it, and the files'."""
    kept = (folder / "manifest.sig").read_bytes()
    bundles.write_plain(folder, folder.parent / "model", provenance="somebody else")
    (folder / "manifest.sig").write_bytes(kept)


def link(folder: Path) -> None:
    (folder / "manifest.sig").rename(folder.parent / "elsewhere")
    (folder / "manifest.sig").symlink_to(folder.parent / "elsewhere")


def dangling(folder: Path) -> None:
    (folder / "manifest.sig").unlink()
    (folder / "manifest.sig").symlink_to("nowhere")


def linked_manifest(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "elsewhere")
    (folder / "manifest.json").symlink_to(folder.parent / "elsewhere")


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def folder_instead(folder: Path) -> None:
    (folder / "manifest.sig").unlink()
    (folder / "manifest.sig").mkdir()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (unsigned, r"manifest\.sig: expected a signature by .*key\.pub, got none; do not use"),
        (by_another_key, rf"expected a signature by {FINGERPRINT} .*, got one by [0-9a-f]{{32}}; do not use"),
        (pretending, rf"manifest\.json: expected what {FINGERPRINT} signed, got something else"),
        (of_something_else, r"manifest\.json: expected what .* signed, got something else"),
        (changed, r"manifest\.json: expected what .* signed, got something else: it was changed; do not use"),
        (link, r"manifest\.sig: expected a plain file"),
        (dangling, r"manifest\.sig: expected a plain file"),
        (folder_instead, r"manifest\.sig: expected a plain file"),
        (linked_manifest, r"manifest\.json: expected a plain file"),
        (no_manifest, r"manifest\.json: expected a plain file"),
    ],
)
def test_what_the_key_has_not_signed_is_refused(
    signed: tuple[Path, Path], harm: Callable[[Path], None], says: str
) -> None:
    folder, key = signed
    harm(folder)
    with pytest.raises(BundleError, match=says):
        signature.verify(folder, key)
    with pytest.raises(BundleError, match=says):
        read_bundle(folder, key=key)
    with pytest.raises(BundleError, match=says):
        signature.state(folder, key)


def test_nothing_of_an_unsigned_manifest_is_read(signed: tuple[Path, Path]) -> None:
    folder, key = signed
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"expected what .* signed"):
        read_bundle(folder, key=key)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"ed25519", b"rsa4096"),
        lambda text: text.removesuffix(b"==\n"),
        lambda text: text + b" more",
        lambda text: text.replace(b"21fe", b"21f"),
        lambda text: text.replace(b"21fe", b"21f\xff"),
        lambda text: text[:-20] + b"\n",
        lambda text: text.replace(text.split()[2], text.split()[2][4:]),
        lambda text: text.replace(text.split()[1], b"21fe"),
        lambda text: text + b"\n" * 2000,
        lambda text: b"",
        lambda text: bytes(3000),
    ],
)
def test_a_malformed_signature_is_refused(signed: tuple[Path, Path], change: Callable[[bytes], bytes]) -> None:
    folder, key = signed
    file = folder / "manifest.sig"
    before = file.read_bytes()
    assert before != change(before)
    file.write_bytes(change(before))
    with pytest.raises(BundleError, match=r"manifest\.sig: expected one line, ed25519 FINGERPRINT SIGNATURE"):
        signature.verify(folder, key)


def private_key(file: Path) -> None:
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    made = Ed25519PrivateKey.generate()
    file.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def rsa_key(file: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = rsa.generate_private_key(65537, 1024).public_key()
    file.write_bytes(made.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def text_file(file: Path) -> None:
    file.write_text("a key")


@pytest.mark.parametrize("write", [private_key, rsa_key, text_file])
def test_a_file_that_is_no_public_key_is_refused(signed: tuple[Path, Path], write: Callable[[Path], None]) -> None:
    folder, key = signed
    write(key)
    with pytest.raises(BundleError, match=r"key\.pub: expected an Ed25519 public key in PEM, got something else"):
        signature.verify(folder, key)


def test_a_key_that_is_not_there_is_said(signed: tuple[Path, Path]) -> None:
    with pytest.raises(BundleError, match=r"key: expected an Ed25519 public key in PEM, got: No such file"):
        signature.verify(signed[0], Path("key"))


def test_without_cryptography_hashes_are_checked_and_a_signature_cannot_be(
    signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a Python that lacks it, as on a device."""
    folder, key = signed
    program = f"""import sys
sys.path.insert(0, {str(Path(signature.__file__).parents[2])!r})
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError("No module named 'cryptography'", name=name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from export.bundle import bundle, signature
folder = Path({str(folder)!r})
print(bundle.read_bundle(folder).recipe)
try:
    bundle.read_bundle(folder, key=Path({str(key)!r}))
except bundle.BundleError as cause:
    print(cause)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [
        "colours",
        "signature: expected the package cryptography to check it, got No module named 'cryptography'; "
        "pip install cryptography",
    ]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    after = "after pip install cryptography, --require-signature KEY checks it"
    assert signature.state(folder) == f"signed, signature not checked: {after}"


def test_a_signature_is_no_file_of_the_manifest_but_any_other_is_refused(signed: tuple[Path, Path]) -> None:
    folder, key = signed
    shutil.copyfile(folder / "manifest.sig", folder / "manifest.sig2")
    with pytest.raises(BundleError, match=r"manifest\.sig2: expected only files of the manifest"):
        read_bundle(folder, key=key)
