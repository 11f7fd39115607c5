"""Sidecars on the disk: their names, whole or as before, and never through a link."""

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from export.tagger import sidecars
from export.tagger.sidecars import SidecarError, sidecar_of, write_tags
from export.tagger.xmp_document import MOST_BYTES
from tests.helpers import xmp
from tests.helpers.kills import killed_before

CAT, DOG = ("cat",), ("dog",)
OWN = xmp.document("<dc:subject><rdf:Bag><rdf:li>own</rdf:li></rdf:Bag></dc:subject>")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (1, 1)).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_the_name_is_that_of_the_file_that_exists(image: Path) -> None:
    appended, replaced = image.with_name("photo.jpg.xmp"), image.with_name("photo.xmp")
    assert sidecar_of(image) == appended
    assert sidecar_of(image, lightroom=True) == replaced
    replaced.touch()
    assert sidecar_of(image) == replaced
    appended.touch()
    assert sidecar_of(image) == appended
    assert sidecar_of(image, lightroom=True) == replaced
    assert sidecar_of(replaced) == image.with_name("photo.xmp.xmp")  # whatever an image is called


def test_a_sidecar_is_written_once(image: Path) -> None:
    assert write_tags(image, [CAT])
    sidecar, content = image.with_name("photo.jpg.xmp"), image.read_bytes()
    assert xmp.tags(sidecar.read_bytes()) == ["cat"]
    before = sidecar.stat()
    assert not write_tags(image, [CAT])
    assert not write_tags(image, [])
    assert sidecar.stat() == before
    assert write_tags(image, [CAT, DOG])
    assert xmp.tags(sidecar.read_bytes()) == ["cat", "dog"]
    assert image.read_bytes() == content
    assert sorted(file.name for file in image.parent.iterdir()) == ["photo.jpg", "photo.jpg.xmp"]


def test_a_new_sidecar_begins_with_the_tags_in_the_image(image: Path) -> None:
    paths = "<digiKam:TagsList><rdf:Seq><rdf:li>Places/Rome</rdf:li></rdf:Seq></digiKam:TagsList>"
    packet = xmp.document("<dc:subject><rdf:Bag><rdf:li>own</rdf:li></rdf:Bag></dc:subject>" + paths)
    Image.new("RGB", (1, 1)).save(image, xmp=packet)
    assert not write_tags(image, [])
    assert write_tags(image, [CAT])
    sidecar = image.with_name("photo.jpg.xmp")
    assert xmp.tags(sidecar.read_bytes()) == ["own", "cat"]
    assert xmp.tags(sidecar.read_bytes(), xmp.TAGS_LIST) == ["Places/Rome", "cat"]
    sidecar.write_bytes(OWN)
    assert write_tags(image, [DOG])  # a sidecar that exists is the user's: what was removed from it stays away
    assert xmp.tags(sidecar.read_bytes()) == ["own", "dog"]
    assert xmp.tags(sidecar.read_bytes(), xmp.TAGS_LIST) == []


def test_xmp_in_the_image_that_cannot_be_read_is_an_error(image: Path) -> None:
    Image.new("RGB", (1, 1)).save(image, xmp=b"<no XMP>")
    assert "photo.jpg.xmp: XMP in the image: expected well-formed XML, got: " in refusal(image)


def test_without_tags_there_is_no_sidecar(image: Path) -> None:
    assert not write_tags(image, [])
    assert list(image.parent.iterdir()) == [image]


@pytest.mark.skipif(not hasattr(os, "chown"), reason="Windows has no modes")
def test_mode_and_owner_stay_or_are_those_of_the_image(image: Path) -> None:
    owner = 12345 if os.getuid() == 0 else os.getuid()
    image.chmod(0o751)
    os.chown(image, owner, -1)
    sidecar = image.with_name("photo.jpg.xmp")
    write_tags(image, [CAT])
    assert (stat.S_IMODE(sidecar.stat().st_mode), sidecar.stat().st_uid) == (0o640, owner)
    sidecar.chmod(0o604)
    os.chown(image, os.getuid(), -1)
    write_tags(image, [DOG])
    assert (stat.S_IMODE(sidecar.stat().st_mode), sidecar.stat().st_uid) == (0o604, owner)


def refusal(image: Path) -> str:
    """The error; nothing in the folder may change."""
    before = {file: file.lstat() for file in image.parent.iterdir()}
    with pytest.raises(SidecarError) as raised:
        write_tags(image, [CAT])
    after = {file: file.lstat() for file in image.parent.iterdir()}
    assert [(file, s.st_mtime_ns, s.st_size) for file, s in before.items()] == [
        (file, s.st_mtime_ns, s.st_size) for file, s in after.items()
    ]
    return str(raised.value)


def test_what_is_no_regular_file_is_refused(image: Path) -> None:
    sidecar = image.with_name("photo.jpg.xmp")
    target = image.with_name("target")
    target.write_bytes(OWN)
    for link in (target, image.with_name("nowhere")):
        sidecar.symlink_to(link)
        assert refusal(image) == f"{sidecar}: expected a file that this user may read and write, got: a link"
        sidecar.unlink()
    assert target.read_bytes() == OWN
    sidecar.mkdir()
    assert refusal(image) == f"{sidecar}: expected a file, got a folder"
    sidecar.rmdir()
    os.mkfifo(sidecar)  # opening it would wait for ever
    assert refusal(image) == f"{sidecar}: expected a file, got a pipe or device"


def test_a_bundle_gets_no_sidecars(image: Path, tmp_path: Path) -> None:
    golden = tmp_path / "bundle/golden"
    golden.mkdir(parents=True)
    inside = golden / "photo.jpg"
    inside.write_bytes(image.read_bytes())
    (tmp_path / "bundle/manifest.json").touch()
    assert write_tags(inside, [CAT])  # a manifest of another kind
    inside.with_name("photo.jpg.xmp").unlink()
    (tmp_path / "bundle/manifest.sha256").touch()
    (tmp_path / "link").symlink_to(golden)
    for file in (inside, tmp_path / "link/photo.jpg"):
        assert f": expected an image outside the bundle {tmp_path}/bundle, whose files must not change" in refusal(file)
    assert list(golden.iterdir()) == [inside]


def test_what_is_no_xmp_or_too_large_is_refused_and_stays(image: Path) -> None:
    sidecar = image.with_name("photo.jpg.xmp")
    sidecar.write_bytes(b"not XMP")
    assert refusal(image).startswith(f"{sidecar}: expected well-formed XML, got: ")
    sidecar.write_bytes(OWN)
    os.truncate(sidecar, MOST_BYTES + 1)
    assert refusal(image) == f"{sidecar}: expected at most 16 MiB, got more"


def test_a_sidecar_that_another_program_changes_is_left_to_it(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar = image.with_name("photo.jpg.xmp")
    add_tags, theirs = sidecars.add_tags, OWN.replace(b"own", b"theirs")
    for before in (OWN, None):
        if before:
            sidecar.write_bytes(before)

        def meanwhile(content: bytes | None, *others: Any) -> bytes | None:
            sidecar.write_bytes(theirs)
            return add_tags(content, *others)

        monkeypatch.setattr(sidecars, "add_tags", meanwhile)
        with pytest.raises(SidecarError, match="no other program is changing, got another one; run tag again"):
            write_tags(image, [CAT])
        assert sidecar.read_bytes() == theirs
        sidecar.unlink()
        assert list(image.parent.iterdir()) == [image]


def error_for_another_user(image: Path) -> str:
    """What is said to a user who may read the folder but not write it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(image.parent)
            os.setuid(65534)
            write_tags(Path(image.name), [CAT])
        except SidecarError as cause:
            os.write(writing, str(cause).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        return stream.read()


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("exists", [True, False])
def test_without_permission_nothing_changes(image: Path, exists: bool) -> None:
    sidecar = image.with_name("photo.jpg.xmp")
    image.parent.chmod(0o755)
    image.chmod(0o644)
    if exists:
        sidecar.write_bytes(OWN)
        sidecar.chmod(0o644)
    message = "photo.jpg.xmp: expected a file that this user may read and write, got: Permission denied"
    assert error_for_another_user(image) == message
    assert sorted(image.parent.iterdir()) == sorted([image, sidecar] if exists else [image])
    assert not exists or sidecar.read_bytes() == OWN


def test_a_killed_process_leaves_the_old_or_the_new_sidecar(image: Path) -> None:
    sidecar = image.with_name("photo.jpg.xmp")
    for before in (None, OWN):
        step, found = 0, set()
        while True:
            sidecar.unlink(missing_ok=True)
            if before:
                sidecar.write_bytes(before)
            killed = killed_before(step, lambda: write_tags(image, [CAT]))
            found.add(sidecar.read_bytes() if sidecar.exists() else None)
            if not killed:
                break
            step += 1
        assert step >= 2  # the temporary file, its new name
        new = {content for content in found if content is not None and b"cat" in content}
        assert found - new == {before}
        assert [xmp.tags(content)[-1] for content in new] == ["cat"]


def test_a_reader_sees_the_old_or_the_new_sidecar(image: Path) -> None:
    sidecar = image.with_name("photo.jpg.xmp")
    sidecar.write_bytes(OWN)
    seen, ended = set(), threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.add(sidecar.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    whole = {OWN}
    for number in range(100):
        write_tags(image, [(f"label {number}",)])
        whole.add(sidecar.read_bytes())
    ended.set()
    reader.join()
    assert seen <= whole
