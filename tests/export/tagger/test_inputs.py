import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.tagger.inputs import find_images, natural

NOTHING = io.BytesIO()


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def below(folder: Path, *words: str) -> list[str]:
    """What is found, relative to the folder; nothing may fail."""
    found = find_images(words or [str(folder)], NOTHING)
    assert found.failed == []
    return [os.path.relpath(image, folder) for image in found.images]  # type: ignore[arg-type]


def test_a_folder_is_read_with_all_below_it_as_a_reader_would(tmp_path: Path) -> None:
    names = ["b/2.png", "img10.jpg", "IMG2.JPG", "b/10.tiff", "a.jfif", "c.avif", "b1.webp"]
    hidden = [".hidden.jpg", ".git/x.jpg", "notes.txt", "jpg", "b/list.csv"]
    touch(*(tmp_path / name for name in [*names, *hidden]))
    assert below(tmp_path) == ["a.jfif", "b/2.png", "b/10.tiff", "b1.webp", "c.avif", "IMG2.JPG", "img10.jpg"]


def test_natural_order_is_one_order_of_odd_names() -> None:
    names = ["1a", "2", "10", "-3", "a", "a/1", "a/b", "a1", "A1b", "é", "\udcff"]
    assert sorted(names[::2] + names[1::2], key=natural) == names


def test_a_file_is_taken_whatever_it_is_called_and_as_often_as_it_is_named(tmp_path: Path) -> None:
    odd = [tmp_path / name for name in (".hidden", "notes.txt", "a[1]*.jpg", "two\nlines.jpg")]
    touch(*odd)
    words = [str(file) for file in [*odd, odd[0]]]
    assert find_images(words, NOTHING) == ([Path(word) for word in words], [])
    missing = str(tmp_path / "missing.jpg")
    assert find_images([missing], NOTHING).images == [Path(missing)]  # who decodes it says so


def test_links_to_folders_are_followed_and_no_loop_twice(tmp_path: Path) -> None:
    touch(tmp_path / "in/real/1.jpg", tmp_path / "elsewhere/deep/2.jpg")
    (tmp_path / "in/a-link").symlink_to("real")  # before `real` in the order, and still it is `real` that counts
    (tmp_path / "in/away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/real/up").symlink_to("..")
    (tmp_path / "elsewhere/deep/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/itself").symlink_to("itself")
    (tmp_path / "in/file.jpg").symlink_to("real/1.jpg")
    assert below(tmp_path / "in") == ["away/deep/2.jpg", "file.jpg", "real/1.jpg"]


def test_many_links_into_each_other_end_at_once(tmp_path: Path) -> None:
    """Followed path by path this would be a walk of 12! folders."""
    folders = [tmp_path / f"f{index}" for index in range(12)]
    for folder in folders:
        touch(folder / "x.jpg")
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    assert below(tmp_path) == [f"f{index}/x.jpg" for index in range(12)]


def test_a_pattern_that_the_shell_left_alone(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("p10.jpg", "p2.jpg", "q.png", "folder/z.bmp", "folder/no.txt")))
    assert below(tmp_path, str(tmp_path / "p*")) == ["p2.jpg", "p10.jpg"]
    assert below(tmp_path, str(tmp_path / "[fq]*")) == ["folder/z.bmp", "q.png"]
    found = find_images([str(tmp_path / "*.gif"), str(tmp_path / "q.png")], NOTHING)
    assert found.images == [tmp_path / "q.png"]
    [(word, cause)] = found.failed
    assert word == str(tmp_path / "*.gif")
    assert "expected an image, a folder or a pattern, got no match" in str(cause)


def test_an_empty_word_is_not_the_current_folder() -> None:
    [(word, cause)] = find_images([""], NOTHING).failed
    assert word == ""
    assert "got no match" in str(cause)


def test_a_folder_without_an_image_is_said(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    found = find_images([str(tmp_path)], NOTHING)
    assert found.images == []
    [(word, cause)] = found.failed
    assert word == str(tmp_path)
    assert "expected images in the folder (.jpg, " in str(cause)


def test_a_folder_that_cannot_be_read_is_said_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "closed/1.jpg", tmp_path / "open/2.jpg")
    scandir = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:  # root may read everything
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find_images([str(tmp_path)], NOTHING)
    assert found.images == [tmp_path / "open/2.jpg"]
    [(folder, cause)] = found.failed
    assert folder == str(tmp_path / "closed")
    assert "expected a readable folder, got Permission denied" in str(cause)


def test_standard_input_is_one_image_in_its_place(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    assert find_images(["-", str(tmp_path / "a.jpg")], io.BytesIO(b"bytes")).images == [b"bytes", tmp_path / "a.jpg"]
    assert find_images(["-"], None).images == [b""]


def test_images_of_kinds_that_are_not_read_are_counted_and_named(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.jpg", "b/1.HEIC", "b/2.heic", "c.jxl", "notes.txt")))
    found = find_images([str(tmp_path)], NOTHING)
    assert found.images == [tmp_path / "a.jpg"]
    [(name, cause)] = found.failed
    assert name == str(tmp_path)
    assert str(cause).endswith("got 2 .heic, 1 .jxl; install pillow-heif, or convert them to JPEG or PNG")


def test_a_file_without_suffix_is_an_image_if_it_begins_as_one(tmp_path: Path) -> None:
    touch(tmp_path / "LICENSE")
    (tmp_path / "photo").write_bytes(b"\xff\xd8\xff\xe0 and more")
    assert below(tmp_path) == ["photo"]
