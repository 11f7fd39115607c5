"""Processes that write sidecars in one folder take turns."""

import fcntl
import os
from pathlib import Path

import pytest
from PIL import Image

from export.tagger import sidecars
from export.tagger.sidecars import SidecarError, write_tags
from tests.helpers import xmp

CAT = ("cat",)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (1, 1)).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_processes_that_write_at_the_same_time_lose_no_tags(image: Path) -> None:
    words = [[(f"{letter}{number}",) for number in range(100)] for letter in "ab"]
    pids = []
    for mine in words:
        pids.append(os.fork())
        if pids[-1] == 0:
            try:
                for word in mine:
                    write_tags(image, [word])
            except BaseException:
                os._exit(1)
            os._exit(0)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    found = xmp.tags(image.with_name("photo.jpg.xmp").read_bytes())
    assert sorted(found) == sorted(word for mine in words for (word,) in mine)


def test_a_folder_that_stays_locked_is_refused(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "LONGEST_WAIT_S", 0.05)
    handle = os.open(image.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    message = r"photo.jpg.xmp: expected a folder that no other process keeps locked, got one"
    with pytest.raises(SidecarError, match=message):
        write_tags(image, [CAT])
    assert list(image.parent.iterdir()) == [image]
    os.close(handle)
    assert write_tags(image, [CAT])
