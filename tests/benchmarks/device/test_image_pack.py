import os
import zipfile
from pathlib import Path

import pytest

from benchmarks.device.image_pack import read_pack, write_pack


def files(folder: Path) -> list[Path]:
    folder.mkdir()
    contents = {"z.JPG": b"first", "a.png": b"second", "m": b""}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_a_pack_gives_the_bytes_back_in_order(tmp_path: Path) -> None:
    pack = read_pack(write_pack(files(tmp_path / "images"), tmp_path / "pack.zip"))
    assert list(pack) == [b"first", b"second", b""]
    assert (len(pack), pack[1], pack[-3], pack[:2]) == (3, b"second", b"first", [b"first", b"second"])
    assert pack.names == ["000000.jpg", "000001.png", "000002"]


def test_equal_images_give_equal_bytes(tmp_path: Path) -> None:
    here, there = files(tmp_path / "here"), files(tmp_path / "there")
    os.utime(there[0], (0, 0))
    there[1].chmod(0o700)
    first, second = write_pack(here, tmp_path / "1.zip"), write_pack(there, tmp_path / "2.zip")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert write_pack(here[::-1], tmp_path / "3.zip").read_bytes() != first.read_bytes()


def test_a_changed_image_is_noticed(tmp_path: Path) -> None:
    file = write_pack(files(tmp_path / "images"), tmp_path / "pack.zip")
    file.write_bytes(file.read_bytes().replace(b"second", b"secund", 1))
    pack = read_pack(file)
    assert pack[0] == b"first"
    with pytest.raises(zipfile.BadZipFile, match=r"000001\.png"):
        pack[1]


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_what_is_no_pack_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pack.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"pack\.zip: expected a pack of images \(\.zip\), got File is not a zip"):
        read_pack(tmp_path / "pack.zip")
