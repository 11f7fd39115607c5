"""Keys and signatures from the command line, with files as they are on disk."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from export.bundle import signature
from export.bundle.bundle import read_bundle
from export.errors import BundleError
from pipeline.__main__ import main
from pipeline.cli.signing import write_keys
from tests.helpers import bundles


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of the recipe colours in dist/ of the current folder; keys go to a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    bundles.write_plain(tmp_path / "dist/colours", tmp_path / "model")
    return Path("dist/colours")


def test_keys_are_made_bundles_signed_and_checked(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = Path("home/.config/edge-tagger/signing.pem").absolute()
    public = private.with_name("signing.pem.pub")
    assert main(["keygen"]) == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    fingerprint = signature.fingerprint(signature.read_key(public))
    assert fingerprint in capsys.readouterr().out
    assert main(["verify", "colours"]) == 0
    assert capsys.readouterr().out == "dist/colours: 5 files as the manifest says; unsigned\n"
    assert main(["sign", "colours"]) == 0
    assert capsys.readouterr().out == f"dist/colours: signed by {fingerprint}\n"
    assert read_bundle(dist, key=public).recipe == "colours"
    assert main(["verify", str(dist), "--require-signature", str(public)]) == 0
    assert capsys.readouterr().out.endswith(f"says; signed, checked with {public}\n")
    assert not list(dist.glob("*.partial"))


def test_openssl_agrees(dist: Path) -> None:
    """Another implementation checks what was signed."""
    assert main(["keygen", "--out", "key"]) == 0
    assert main(["sign", "colours", "--key", "key"]) == 0
    _, _, made = (dist / "manifest.sig").read_text().split()
    subprocess.run(["openssl", "base64", "-d", "-A", "-out", "made"], input=made.encode(), check=True)
    Path("message").write_bytes(b"edge-tagger bundle manifest 1\0" + (dist / "manifest.json").read_bytes())
    check = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", "message"]
    ended = subprocess.run([*check, "-sigfile", "made"], capture_output=True, text=True, check=False)
    assert ended.stdout == "Signature Verified Successfully\n", ended.stderr


def test_a_key_is_never_overwritten(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for theirs in ("key", "key.pub"):
        Path(theirs).write_text("theirs")
        assert main(["keygen", "--out", "key"]) == 2
        assert f"{theirs}: expected nothing, got a file: a key is never overwritten" in capsys.readouterr().err
        assert Path(theirs).read_text() == "theirs"
        assert len([*Path().glob("key*")]) == 1
        Path(theirs).unlink()


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    written: list[int] = []

    def full(handle: int) -> None:
        written.append(handle)
        if len(written) == failing:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_keys(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    write_keys(tmp_path / "key")


def test_a_bundle_is_signed_anew_by_another_key(dist: Path) -> None:
    for name in ("first", "second"):
        assert main(["keygen", "--out", name]) == 0
        assert main(["sign", str(dist), "--key", name]) == 0
    read_bundle(dist, key=Path("second.pub"))
    with pytest.raises(BundleError, match="got one by"):
        read_bundle(dist, key=Path("first.pub"))


def test_a_damaged_bundle_is_not_signed(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--out", "key"]) == 0
    (dist / "card.md").write_text("another card")
    assert main(["sign", "colours", "--key", "key"]) == 2
    assert "card.md: expected 11 bytes, got 12" in capsys.readouterr().err
    assert not (dist / "manifest.sig").exists()


def test_a_key_that_others_can_read_is_refused(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--out", "key"]) == 0
    for mode in (0o640, 0o604, 0o620):
        Path("key").chmod(mode)
        assert main(["sign", "colours", "--key", "key"]) == 2
        said = f"key: expected a private key that only you can read, got mode {mode:o}; chmod 600 it"
        assert said in capsys.readouterr().err
    assert not (dist / "manifest.sig").exists()


def test_a_file_that_is_no_private_key_is_refused(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--out", "key"]) == 0
    encrypt = ["openssl", "pkcs8", "-topk8", "-in", "key", "-out", "encrypted", "-passout", "pass:secret"]
    subprocess.run(encrypt, check=True)
    Path("text").write_text("a key")
    shutil.copyfile("key.pub", "public")
    capsys.readouterr()
    for name in ("encrypted", "text", "public", "nothing"):
        if Path(name).exists():
            Path(name).chmod(0o600)
        assert main(["sign", "colours", "--key", name]) == 2
        assert f"{name}: expected an Ed25519 private key in PEM without a passphrase, got" in capsys.readouterr().err


def test_what_is_no_bundle_is_said(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "colour"]) == 2
    said = "bundle: expected a recipe that was exported, or a bundle's folder, got 'colour'; make export"
    assert said in capsys.readouterr().err
    assert main(["verify", "recipes/colours.yaml"]) == 0
    Path("colours").mkdir()  # a folder of images, say
    assert main(["verify", "colours"]) == 0


def test_an_unsigned_bundle_fails_where_a_signature_is_required(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--out", "key"]) == 0
    assert main(["verify", "colours", "--require-signature", "key.pub"]) == 2
    assert "manifest.sig: expected a signature by key.pub, got none" in capsys.readouterr().err
