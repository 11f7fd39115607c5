"""Which images a watcher finds: whole ones, each version once, also after a restart."""

import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from export.tagger import watching
from export.tagger.watch_state import default_file, open_state
from export.tagger.watching import Watcher
from tests.helpers.small_disk import largest_file


def found(watcher: Watcher) -> list[str]:
    """The names of the images that a scan finds, all of which are then tagged."""
    images, failed = watcher.scan()
    assert failed == []
    for image, version in images.items():
        watcher.done(image, version)
    return [image.name for image in images]


def test_an_image_is_found_once_it_no_longer_changes(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    with open_state(tmp_path / "state") as state:
        watcher = Watcher([str(folder)], state)
        assert found(watcher) == []
        with (folder / "deep/a.jpg").open("wb", buffering=0) as growing:
            for _ in range(3):
                growing.write(b"more")
                assert found(watcher) == []
        (folder / "b.png").write_bytes(b"1")
        assert found(watcher) == ["a.jpg"]
        os.utime(folder / "b.png", ns=(1, 1))  # written to, as large as before
        assert found(watcher) == []
        assert found(watcher) == ["b.png"]
        (tmp_path / "c.jpg").write_bytes(b"1")
        (tmp_path / "c.jpg").rename(folder / "c.jpg")
        assert [found(watcher), found(watcher), found(watcher)] == [[], ["c.jpg"], []]


def test_a_changed_image_is_found_again_and_others_never(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a2.jpg", "a10.JPG", "b.jpg.xmp", "c.jpg.partial", ".d.jpg", "notes.txt", "e.jpg.tmp", "LICENSE"):
        (folder / name).write_bytes(b"x")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "photo").write_bytes(b"\xff\xd8\xff")
    for _ in range(2):  # a program that is started again
        with open_state(tmp_path / "state") as state:
            watcher = Watcher([str(folder)], state)
            names = [found(watcher) for _ in range(3)]
            assert names[0] == names[2] == []
            assert names[1] in (["a2.jpg", "a10.JPG", "photo"], [])
            assert (names[1] == []) == (_ == 1)
            (folder / "b.jpg.xmp").write_bytes(b"changed")
            assert [found(watcher), found(watcher)] == [[], []]
    (folder / "a2.jpg").write_bytes(b"changed")
    with open_state(tmp_path / "state") as state:
        watcher = Watcher([str(folder)], state)
        assert [found(watcher), found(watcher), found(watcher)] == [[], ["a2.jpg"], []]


@pytest.mark.parametrize("year", [1600, 1969, 2300, 200_000])
def test_an_image_of_any_date_is_found_once(tmp_path: Path, year: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"x")
    seconds = (year - 1970) * 31_556_952
    try:
        os.utime(folder / "a.jpg", ns=(0, seconds * 10**9))
    except OverflowError:
        subprocess.run(["touch", "-d", f"@{seconds}", folder / "a.jpg"], check=True)
    for expected in (["a.jpg"], []):
        with open_state(tmp_path / "state") as state:
            watcher = Watcher([str(folder)], state)
            assert [found(watcher), found(watcher), found(watcher)] == [[], expected, []]


def test_what_is_not_to_be_remembered_is_found_by_the_next_program(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"x")
    for _ in range(2):
        with open_state(tmp_path / "state") as state:
            watcher = Watcher([str(folder)], state)
            watcher.scan()
            ((image, version),) = watcher.scan().images.items()
            watcher.done(image, version, remember=False)
            assert watcher.scan().images == {}


def test_images_that_are_gone_are_forgotten_when_they_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SPARE", 0)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.jpg").write_bytes(b"x")
    with open_state(tmp_path / "state") as state:
        watcher = Watcher([str(folder)], state)
        assert [len(found(watcher)), len(found(watcher))] == [0, 10]
        folder.rename(tmp_path / "away")  # a share that is not mounted
        folder.mkdir()
        assert found(watcher) == []
        assert len(state) == 10
        folder.rmdir()
        assert [name for name, _ in watcher.scan().failed] == [str(folder)]
        assert watcher.scan().failed == []
        (tmp_path / "away").rename(folder)
        assert [found(watcher), found(watcher)] == [[], []]
        for number in range(6):
            (folder / f"{number}.jpg").unlink()
        assert found(watcher) == []
        assert len(state) == 4
    with open_state(tmp_path / "state") as state:
        assert len(state) == 4


def test_kinds_that_are_not_read_are_reported_once(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").touch()
    with open_state(tmp_path / "state") as state:
        watcher = Watcher([str(tmp_path)], state)
        watcher.scan()
        ((suffix, cause),) = watcher.scan().failed
        assert suffix == ".cr2"
        assert str(cause).endswith("got 1 .cr2; convert them to JPEG or PNG")
        (tmp_path / "b.cr2").touch()
        assert [watcher.scan().failed for _ in range(3)] == [[], [], []]


def test_names_in_no_encoding_and_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    name = os.fsdecode(b"\xff.jpg")
    (Path("in") / name).write_bytes(b"x")
    for expected in ([name], []):
        with open_state(tmp_path / "state") as state:
            watcher = Watcher(["./in/", "in/../in"], state)
            assert [found(watcher), found(watcher)] == [[], expected]


def test_a_file_of_another_program_is_refused_and_stays(tmp_path: Path) -> None:
    image, other = tmp_path / "photo.jpg", tmp_path / "other.db"
    image.write_bytes(b"\xff\xd8 no database" * 100)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()
    for file, reason in ((image, "file is not a database"), (other, "a database of another program")):
        before = file.read_bytes()
        with (
            pytest.raises(ValueError, match=f"{file}: expected the state of --watch, got: {reason}; "),
            open_state(file),
        ):
            pass
        assert file.read_bytes() == before
    with pytest.raises(ValueError, match="unable to open database file; use --state"), open_state(tmp_path / "a/b"):
        pass


def test_a_full_disk_names_the_state(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with open_state(file) as state:
        state.add("a.jpg", (1, 1))
        for write in (lambda: state.add("b" * 9000, (1, 1)), lambda: state.keep([])):
            with (
                largest_file(4096),
                pytest.raises(ValueError, match=f"{file}: expected to record tagged images, got: .*; free disk space"),
            ):
                write()
        assert not state.has("b" * 9000, (1, 1))
    with open_state(file) as state:
        assert state.has("a.jpg", (1, 1))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    message = "got: database is locked; end the other tag --watch, or use --state"
    with open_state(tmp_path / "state"), pytest.raises(ValueError, match=message), open_state(tmp_path / "state"):
        pass


def test_the_state_belongs_to_the_folders_and_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert default_file(folders, "") == default_file([folders[1], str(tmp_path / "link")], "")
    assert len({default_file(folders, ""), default_file(folders, "xmp"), default_file(folders[:1], "")}) == 3
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        ValueError, match=r"cache: expected a writable one, got: .*; use --state, or set XDG_CACHE_HOME"
    ):
        default_file(folders, "")
