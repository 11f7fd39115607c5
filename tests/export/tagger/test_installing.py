"""Versions that come and go in a folder."""

import os
import re
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from export.bundle import signature
from export.bundle.bundle import read_bundle
from export.errors import BundleError
from export.tagger.installing import Installed, install, rollback
from tests.helpers.versions import back, card, fails, names, passes, put


def test_the_last_good_one_is_kept_and_older_ones_go(versions: dict[str, Path], tmp_path: Path) -> None:
    to, seen = tmp_path / "deep/in/tagger", []
    for name in "abc":
        was = card(to)
        done = put(versions[name], to)
        assert done.version == (versions[name] / "manifest.sha256").read_text()[:32]
        assert (card(to), card(to, "previous")) == (name, was)
        assert done.was == (seen[-1] if seen else None)
        seen.append(done.version)
    assert names(to) == [".lock", "current", "previous", "versions"]
    assert names(to / "versions") == sorted(seen[1:])
    assert (to / "current").readlink() == Path("versions", seen[2])  # the folder may be moved
    assert back(to) == Installed(version=seen[1], was=seen[2])
    assert (card(to), card(to, "previous")) == ("b", "c")
    assert back(to) == Installed(version=seen[2], was=seen[1])
    assert (card(to), card(to, "previous")) == ("c", "b")


def test_equal_files_are_not_copied_again(versions: dict[str, Path], tmp_path: Path) -> None:
    assert put(versions["a"], tmp_path / "to").shared == 0
    old = tmp_path / "to/current"
    done = put(versions["b"], tmp_path / "to")
    files = read_bundle(versions["b"]).files
    assert (done.copied, done.shared) == (1, len(files) - 1)
    new, old = tmp_path / "to/current", tmp_path / "to/previous"
    assert (new / "models/fp32.onnx").samefile(old / "models/fp32.onnx") is True
    assert (new / "card.md").samefile(old / "card.md") is False
    assert os.access(new / "tagger.pyz", os.X_OK)


def test_a_damaged_file_is_copied_and_its_version_is_not_kept(versions: dict[str, Path], tmp_path: Path) -> None:
    to = tmp_path / "to"
    put(versions["a"], to)
    put(versions["b"], to)
    (to / "current/card.md").write_text("the card of e")
    program = to / "current/tagger.pyz"
    content = program.read_bytes()
    program.unlink()
    program.write_bytes(content[:-1] + b"?")
    done = put(versions["c"], to)
    assert done.copied == 2  # its card and its program
    assert (card(to), card(to, "previous")) == ("c", "a")


def test_where_files_cannot_have_two_names_they_are_copied(
    versions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Path) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    put(versions["a"], tmp_path)
    assert put(versions["b"], tmp_path).shared == 0
    assert card(tmp_path) == "b"


def test_the_same_version_again_copies_nothing_and_mends_what_was_damaged(
    versions: dict[str, Path], tmp_path: Path
) -> None:
    to = tmp_path / "to"
    put(versions["a"], to)
    first = put(versions["b"], to)
    inode = (to / "current").stat().st_ino
    assert put(versions["b"], to, check=fails) == Installed(version=first.version, was=first.version)
    assert (to / "current").stat().st_ino == inode
    (to / "current/card.md").write_text("the card of e")
    assert put(versions["b"], to).copied == 1
    assert (card(to), card(to, "previous")) == ("b", "a")
    assert put(versions["a"], to).copied == 0  # it is still there
    assert (card(to), card(to, "previous")) == ("a", "b")


def test_what_is_switched_to_was_checked_whole(versions: dict[str, Path], tmp_path: Path) -> None:
    seen = []

    def check(folder: Path, key: Path | None) -> None:
        seen.append((read_bundle(folder).files, card(tmp_path)))

    for name in "ab":
        install(versions[name], tmp_path, check=check)
    rollback(tmp_path, check=check)
    files = {name: read_bundle(versions[name]).files for name in "ab"}
    assert seen == [(files["a"], None), (files["b"], "a"), (files["a"], "b")]


@pytest.mark.parametrize("theirs", ["thesis.txt", "versions/1.0", "versions/.hidden", "current/file", "previous"])
def test_a_folder_of_somebody_else_is_refused_untouched(versions: dict[str, Path], tmp_path: Path, theirs: str) -> None:
    file = tmp_path / "to" / theirs
    file.parent.mkdir(parents=True)
    file.write_text("years of work")
    named = re.escape(str(tmp_path / "to" / theirs.removesuffix("/file")))
    with pytest.raises(BundleError, match=rf"^{named}: expected only files of install in .*/to, got this"):
        put(versions["a"], tmp_path / "to")
    assert [path for path in (tmp_path / "to").rglob("*") if path.is_file()] == [file]


def test_there_is_nothing_to_go_back_to(versions: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere: expected a folder that install made, got none; correct --to"):
        back(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    put(versions["a"], tmp_path / "to")
    with pytest.raises(BundleError, match=r"to: expected a previous version to go back to, got none"):
        back(tmp_path / "to")
    put(versions["b"], tmp_path / "to")
    (tmp_path / "to/previous/card.md").write_text("the card of x")
    with pytest.raises(BundleError, match=r"card\.md: expected sha256"):
        back(tmp_path / "to")
    assert card(tmp_path / "to") == "b"


def test_a_folder_inside_the_bundle_is_refused(versions: dict[str, Path]) -> None:
    with pytest.raises(BundleError, match=r"tagger: expected a folder outside the bundle, got one inside"):
        put(versions["a"], versions["a"] / "tagger")
    read_bundle(versions["a"])


def test_a_version_installs_itself_through_the_link(versions: dict[str, Path], tmp_path: Path) -> None:
    done = put(versions["a"], tmp_path / "first")
    assert put(tmp_path / "first/current", tmp_path / "first") == Installed(version=done.version, was=done.version)
    assert put(tmp_path / "first/current", tmp_path / "second").version == done.version
    assert card(tmp_path / "second") == "a"


def test_home_is_understood(versions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(versions["a"], Path("~/tagger"))
    put(versions["b"], Path("~/tagger"))
    back(Path("~/tagger"))
    assert card(tmp_path / "tagger") == "a"


def test_only_what_is_signed_is_installed_and_gone_back_to(versions: dict[str, Path], tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    key, keys = tmp_path / "key.pub", []
    key.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    to, signed = tmp_path / "to", shutil.copytree(versions["b"], tmp_path / "signed")
    put(versions["a"], to)
    put(versions["b"], to)
    made = private.sign(signature.message((signed / "manifest.json").read_bytes()))
    (signed / "manifest.sig").write_bytes(signature.line(private.public_key(), made))
    with pytest.raises(BundleError, match=r"manifest\.sig: expected a signature by .*, got none"):
        put(versions["c"], to, key=key)
    done = install(signed, to, key=key, check=lambda _, given: keys.append(given))
    assert keys == [key]
    assert re.fullmatch(rf"{done.was}-[0-9a-f]{{8}}", done.version)  # the same manifest, now with a signature
    assert done.copied == 0
    read_bundle(to / "current", key=key)
    with pytest.raises(BundleError, match=r"manifest\.sig: expected a signature by .*, got none"):
        back(to, key=key)
    back(to)
    back(to, key=key)
    (to / "current/manifest.sig").write_bytes(b"")
    assert install(signed, to, key=key, check=passes).version == done.version
    read_bundle(to / "current", key=key)
