"""Installs that are killed, fail, or meet another one: what was there stays, whole."""

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from export.bundle.bundle import read_bundle
from export.errors import BundleError
from export.tagger import installing
from export.tagger.installing import Installed, install, rollback
from tests.helpers.kills import killed_before
from tests.helpers.versions import back, card, fails, names, put


def test_a_bundle_that_is_refused_changes_nothing(versions: dict[str, Path], tmp_path: Path) -> None:
    to = tmp_path / "to"
    put(versions["a"], to)
    put(versions["b"], to)
    before = {path: path.lstat().st_ino for path in to.rglob("*")}
    spoilt = shutil.copytree(versions["c"], tmp_path / "spoilt")
    (spoilt / "card.md").write_text("the card of d")
    with pytest.raises(BundleError, match=r"spoilt/card\.md: expected sha256"):
        put(spoilt, to)
    with pytest.raises(BundleError, match=r"self-test: expected that it passes, got: engine"):
        put(versions["c"], to, check=fails)
    with pytest.raises(BundleError, match=r"self-test: expected that it passes, got: engine"):
        put(versions["a"], to, check=fails)  # already there
    with pytest.raises(BundleError, match=r"self-test: expected that it passes, got: engine"):
        rollback(to, check=fails)
    assert {path: path.lstat().st_ino for path in to.rglob("*")} == before


@pytest.mark.parametrize("inside", ["", "deep/er"])
def test_a_file_where_a_folder_should_be_is_named(versions: dict[str, Path], tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(BundleError, match=f"expected a folder to install in, got the file {tmp_path}/file; name"):
        install(next(iter(versions.values())), tmp_path / "file" / inside)
    assert (tmp_path / "file").read_text() == "somebody's"


def test_a_copy_that_went_wrong_is_not_switched_to(
    versions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(versions["a"], tmp_path)
    copyfile = shutil.copyfile

    def wrong(source: Path, target: Path) -> None:
        copyfile(source, target)
        if target.name == "card.md":
            target.write_text("the card of x")

    monkeypatch.setattr(shutil, "copyfile", wrong)
    with pytest.raises(BundleError, match=r"card\.md: expected sha256"):
        put(versions["b"], tmp_path)
    assert names(tmp_path / "versions") == [(versions["a"] / "manifest.sha256").read_text()[:32]]


def test_a_full_disk_changes_nothing(
    versions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(versions["a"], tmp_path)

    def full(_: Path, target: Path) -> None:
        target.write_text("the")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    expected = (
        rf"^{tmp_path}: expected room for a bundle of 0\.0 MB, got [0-9.]+ MB free: No space left on device; free"
    )
    with pytest.raises(BundleError, match=expected):
        put(versions["b"], tmp_path)
    assert card(tmp_path) == "a"
    assert len(names(tmp_path / "versions")) == 1


def test_a_disk_that_cannot_keep_a_file_changes_nothing(
    versions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(versions["a"], tmp_path)

    def fails_to_write(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name == "card.md":
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails_to_write)
    with pytest.raises(OSError, match="Input/output error"):
        put(versions["b"], tmp_path)
    assert card(tmp_path) == "a"
    assert len(names(tmp_path / "versions")) == 1


def test_a_bundle_that_is_signed_while_it_is_copied_is_refused(
    versions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version has another name then than the one that would be switched to."""
    to, bundle = tmp_path / "to", shutil.copytree(versions["b"], tmp_path / "bundle")
    put(versions["a"], to)
    copy = installing._copy

    def signed(*given: object) -> int:
        (bundle / "manifest.sig").write_text("ed25519")
        return copy(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(installing, "_copy", signed)
    with pytest.raises(BundleError, match="expected a bundle that nobody changes or signs meanwhile"):
        put(bundle, to)
    assert card(to) == "a"
    monkeypatch.setattr(installing, "_copy", copy)
    put(bundle, to)
    assert (card(to), card(to, "previous")) == ("b", "a")


def test_the_disk_has_it_all_before_it_gets_its_name(
    versions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def recorded(handle: int) -> None:
        written.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def moved(how: Callable[[Path, Path], Path], source: Path, target: Path) -> Path:
        written.append(f"{source.name} to {target.name}")
        return how(source, target)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(Path, "replace", lambda source, target: moved(replace, source, target))
    monkeypatch.setattr(Path, "rename", lambda source, target: moved(rename, source, target))
    version = put(versions["a"], tmp_path).version
    new = tmp_path / "versions/.new"
    files = {str(new / path) for path in (*read_bundle(versions["a"]).files, "manifest.json", "manifest.sha256")}
    named, switched = written.index(f".new to {version}"), written.index(".current.new to current")
    assert files <= set(written[:named])
    assert str(new) in written[:named]
    assert str(tmp_path / "versions") in written[named:switched]
    assert str(tmp_path) in written[switched:]


@pytest.mark.parametrize("first", [0, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 2))])
@pytest.mark.parametrize(
    ("work", "ends"),
    [
        (lambda versions, to: put(versions["c"], to), ("c", "b")),
        (lambda versions, to: put(versions["a"], to), ("a", "b")),
        (lambda versions, to: back(to), ("a", "b")),
    ],
    ids=["new", "known", "rollback"],
)
def test_a_kill_at_any_step_leaves_the_old_or_the_new_one_whole(
    versions: dict[str, Path],
    tmp_path: Path,
    work: Callable[[dict[str, Path], Path], Installed],
    ends: tuple[str, str],
    first: int,
) -> None:
    """Every third change of the disk, so that the three cases together try all."""
    before = tmp_path / "before"
    put(versions["a"], before)
    put(versions["b"], before)
    found, step, killed = set(), first, True
    while killed:
        to = shutil.copytree(before, tmp_path / str(step), symlinks=True)
        killed = killed_before(step, partial(work, versions, to))
        found.add(card(to))
        for version in (to / "versions").iterdir():
            if not version.name.startswith("."):
                read_bundle(version)
        card(to, "previous")
        put(versions[ends[0]], to)
        assert card(to) == ends[0]
        assert {*names(to)} == {".lock", "current", "previous", "versions"}
        assert {*names(to / "versions")} == {(to / link).readlink().name for link in ("current", "previous")}
        shutil.rmtree(to)
        step += 3
    assert found == {"b", ends[0]}
    assert step > 3


@pytest.mark.slow
def test_a_kill_in_the_first_install_leaves_nothing_to_run_or_all(versions: dict[str, Path], tmp_path: Path) -> None:
    found, step, killed = set(), 0, True
    while killed:
        to = tmp_path / str(step)
        killed = killed_before(step, partial(put, versions["a"], to))
        found.add(card(to))
        put(versions["a"], to)
        assert card(to) == "a"
        assert names(to) == [".lock", "current", "versions"]
        assert len(names(to / "versions")) == 1
        step += 1
    assert found == {None, "a"}
    assert step > 15


def test_of_two_at_once_one_waits(versions: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(versions["a"], tmp_path)
    checking, go_on, order = threading.Event(), threading.Event(), []

    def slow(folder: Path, _: Path | None) -> None:
        checking.set()
        assert go_on.wait(30)
        order.append("first")

    first = threading.Thread(target=lambda: install(versions["b"], tmp_path, check=slow))
    first.start()
    assert checking.wait(30)
    second = threading.Thread(target=lambda: install(versions["c"], tmp_path, check=lambda *_: order.append("second")))
    second.start()
    while not caplog.records:
        assert second.is_alive()
    assert caplog.messages == [f"{tmp_path}: another process installs there; waiting for it"]
    go_on.set()
    first.join()
    second.join()
    assert order == ["first", "second"]
    assert (card(tmp_path), card(tmp_path, "previous")) == ("c", "b")


def test_a_lock_is_left_for_the_next(versions: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="self-test"):
        put(versions["a"], tmp_path, check=fails)
    with (tmp_path / installing.LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert names(tmp_path / "versions") == []
