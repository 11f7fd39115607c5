import shutil
from pathlib import Path

import pytest

from export.bundle import bundle
from export.bundle.bundle import publish, read_bundle
from export.errors import BundleError
from tests.helpers.bundles import write_plain


def test_publish_swaps_and_leaves_nothing_beside(built: Path, tmp_path: Path) -> None:
    dist = tmp_path / "dist" / "colours"
    publish(built, dist)
    assert read_bundle(dist).recipe == "colours"
    newer = write_plain(tmp_path / "newer", tmp_path / "m", recipe="newer")
    publish(newer, dist)
    assert read_bundle(dist).recipe == "newer"
    assert [path.name for path in dist.parent.iterdir()] == ["colours"]


@pytest.mark.parametrize("inside", ["thesis.txt", None])
def test_a_folder_that_is_not_ours_is_refused_untouched(built: Path, tmp_path: Path, inside: str | None) -> None:
    dist = tmp_path / "colours"
    dist.mkdir()
    if inside:
        (dist / inside).write_text("years of work")
    with pytest.raises(BundleError, match=rf"{dist}: expected a bundle .*, got something else; move it away"):
        publish(built, dist)
    assert [path.name for path in dist.iterdir()] == ([inside] if inside else [])


def test_someone_elses_manifest_is_not_ours(built: Path, tmp_path: Path) -> None:
    dist = tmp_path / "colours"
    dist.mkdir()
    (dist / "manifest.json").write_text('{"name": "a web extension"}')
    with pytest.raises(BundleError, match="move it away"):
        publish(built, dist)
    assert (dist / "manifest.json").exists()


def test_a_users_file_inside_our_bundle_is_not_deleted(built: Path, tmp_path: Path) -> None:
    dist = tmp_path / "colours"
    publish(built, dist)
    (dist / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"got also notes.txt; move it away"):
        publish(built, dist)
    assert (dist / "notes.txt").read_text() == "mine"


def test_a_broken_bundle_is_not_published(copy: Path, built: Path, tmp_path: Path) -> None:
    dist = tmp_path / "colours"
    publish(built, dist)
    (copy / "card.md").write_bytes(b"other bytes")
    with pytest.raises(BundleError, match=r"card.md: expected sha256"):
        publish(copy, dist)
    read_bundle(dist)


def test_a_bundle_with_a_link_is_not_published(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "card.md", tmp_path / "card.md")
    (copy / "card.md").symlink_to(tmp_path / "card.md")
    with pytest.raises(BundleError, match=r"card.md: expected a plain file"):
        publish(copy, tmp_path / "colours")
    assert not (tmp_path / "colours").exists()


@pytest.mark.parametrize("kill_at", [1, 2])
def test_a_kill_between_the_renames_loses_nothing(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    dist = tmp_path / "dist" / "colours"
    publish(built, dist)
    newer = write_plain(tmp_path / "newer", tmp_path / "m", recipe="newer")
    real, calls = Path.rename, []

    def rename(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == kill_at:
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            publish(newer, dist)
    bundle.recover(dist)
    assert read_bundle(dist).recipe == "colours"
    publish(newer, dist)
    assert read_bundle(dist).recipe == "newer"
    assert [path.name for path in dist.parent.iterdir()] == ["colours"]
