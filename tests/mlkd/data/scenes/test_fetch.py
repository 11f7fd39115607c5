"""Fetching without a network: the test builds the packages, apt-get and apt-cache."""

import json
import logging
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from mlkd.core.files import sha256_of
from mlkd.data.scenes import fetch as fetching
from mlkd.data.scenes.fetch import FetchError, fetch
from mlkd.data.scenes.packages import Package
from mlkd.data.scenes.unpack import UnpackError, unpack
from tests.helpers.debian import contents, pack

APT = """#!/bin/sh
echo "$(basename $0) $*" >> {log}
case "$(basename $0) $*" in
  *fails*) ;;
  *" update "*) {update} ;;
  apt-cache*) for last; do :; done; cat {archive}/$last.index ;;
  *" download "*) for last; do :; done; cp {archive}/${{last%%=*}}_*.deb . ;;
esac
"""


class Archive:
    """Two packages in an archive folder, and the tools that hand them out."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "archive", folder / "log"
        self.folder.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.packages = tuple(self.publish(name, "1:1.0") for name in ("cats", "dogs"))
        for tool in ("sh", "cp", "cat", "basename"):
            (self.bin / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        self.install()

    def publish(self, name: str, version: str, samples: dict[str, bytes] | None = None) -> Package:
        file = self.folder / f"{name}_{version.replace(':', '%3a')}_all.deb"
        pack(file, samples or contents(name))
        size, digest = file.stat().st_size, sha256_of(file)
        index = f"Package: {name}\nVersion: {version}\nSize: {size}\nSHA256: {digest}\nDescription: x\n more: text\n"
        (self.folder / f"{name}.index").write_text(index)
        return Package(name, version, size, digest, unpack(file, self.folder / "scratch" / version))

    def install(self, update: str = "true") -> None:
        for tool in ("apt-get", "apt-cache"):
            script = self.bin / tool
            script.write_text(APT.format(log=self.log, archive=self.folder, update=update))
            script.chmod(0o755)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = Archive(tmp_path)
    monkeypatch.setattr(fetching, "PACKAGES", made.packages)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(made.bin))
    return made


def cat_in(root: Path) -> bytes:
    return (root / "usr/share/openclipart/png/cats.png").read_bytes()


def test_fetched_once_and_only_images(archive: Archive) -> None:
    steps: list[str] = []
    root = fetch(lambda step, done, total: steps.append(step))
    assert cat_in(root) == b"image of cats"
    assert (root / "usr/share/doc/dogs/copyright").is_file()
    assert not (root / "usr/bin").exists()
    record = json.loads((root / "packages.json").read_text())
    assert record["cats"] == {"version": "1:1.0", "pictures": archive.packages[0].digest}
    assert {"fetching cats", "unpacking dogs"} <= set(steps)
    assert not fetching.downloads().exists()
    before = archive.calls()
    assert sum(" update " in call for call in before) == 1
    assert all(str(fetching.cache_root()) in call for call in before)  # state and cache of its own
    assert fetch() == root
    assert archive.calls() == before


def test_a_new_package_is_added_to_the_others(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fetch()
    drawing = {"./usr/share/backgrounds/owl.jpg": b"owl", "./usr/share/backgrounds/owl.svg": b"none of ours"}
    monkeypatch.setattr(fetching, "PACKAGES", (*archive.packages, archive.publish("owls", "1:1.0", drawing)))
    calls = len(archive.calls())
    assert fetch() == root
    assert [call.split()[-1] for call in archive.calls()[calls:] if " download " in call] == ["owls=1:1.0"]
    assert cat_in(root) == b"image of cats"
    assert [file.name for file in (root / "usr/share/backgrounds").iterdir()] == ["owl.jpg"]
    assert json.loads((root / "packages.json").read_text()).keys() == {"cats", "dogs", "owls"}


def test_a_killed_fetch_resumes(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(package: Path, out: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlkd.data.scenes.unpack.unpack", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch()
    assert not fetching.images_root().exists()
    monkeypatch.setattr("mlkd.data.scenes.unpack.unpack", unpack)
    whole, cut = (next(fetching.downloads().glob(f"{name}_*.deb")) for name in ("cats", "dogs"))
    cut.write_bytes(cut.read_bytes()[:50])
    assert sha256_of(whole) == archive.packages[0].sha256
    calls = len(archive.calls())
    assert cat_in(fetch()) == b"image of cats"
    again = [call for call in archive.calls()[calls:] if " download " in call]
    assert len(again) == 1
    assert "dogs=1:1.0" in again[0]


def test_a_tampered_download_is_refused(archive: Archive) -> None:
    file = next(archive.folder.glob("cats_*.deb"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(FetchError, match=rf"download is not the {archive.packages[0].bytes} bytes with sha256"):
        fetch()
    assert not fetching.images_root().exists()


def test_another_version_is_a_warning(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    next(archive.folder.glob("cats_*.deb")).unlink()
    archive.publish("cats", "2.0", {"./usr/share/openclipart/png/cats.png": b"a newer cat"})
    with caplog.at_level(logging.WARNING):
        root = fetch()
    assert cat_in(root) == b"a newer cat"
    assert "cats: this archive has version 2.0, tested was 1:1.0" in caplog.text


def test_the_known_version_with_other_images_is_an_error(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    cats, dogs = archive.packages
    monkeypatch.setattr(fetching, "PACKAGES", (replace(cats, digest="0" * 64), dogs))
    with pytest.raises(FetchError, match=rf"cats 1:1.0: expected images with digest 0+, got {cats.digest}"):
        fetch()
    assert not fetching.images_root().exists()


def test_without_apt_the_user_can_fetch_the_files(archive: Archive) -> None:
    (archive.bin / "apt-get").unlink()
    with pytest.raises(FetchError) as error:
        fetch()
    for package in archive.packages:
        for fact in (package.name, package.version, str(package.bytes), package.sha256):
            assert fact in str(error.value)
    assert str(fetching.by_hand()) in str(error.value)
    for file in archive.folder.glob("*.deb"):
        shutil.copy(file, fetching.by_hand())
    assert cat_in(fetch()) == b"image of cats"
    assert len(list(fetching.by_hand().iterdir())) == 2


@pytest.mark.parametrize("update", ["echo E: no network >&2; exit 100", "rm -f missing; exit 3"])
def test_an_error_of_apt_has_its_cause(update: str, archive: Archive) -> None:
    archive.install(update)
    with pytest.raises(FetchError, match=r"apt-get update failed: (E: no network|.*exit code 3|.*rm)"):
        fetch()


@pytest.mark.parametrize("suffix", ["xz", "gz"])
def test_unpacking_without_dpkg_equals_unpacking_with_it(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "a.deb", contents("cats"), suffix)
    digests = set()
    if shutil.which("dpkg-deb"):
        digests.add(unpack(tmp_path / "a.deb", tmp_path / "with"))
    monkeypatch.setenv("PATH", "")
    digests.add(unpack(tmp_path / "a.deb", tmp_path / "without"))
    assert len(digests) == 1
    assert cat_in(tmp_path / "without") == b"image of cats"


def test_digest_sees_names_and_contents(tmp_path: Path) -> None:
    variants = [contents("cats"), contents("dogs"), contents("cats")]
    variants[2]["./usr/share/openclipart/png/cats.png"] += b"!"
    digests = set()
    for number, samples in enumerate(variants):
        pack(tmp_path / "a.deb", samples)
        digests.add(unpack(tmp_path / "a.deb", tmp_path / str(number)))
    assert len(digests) == 3


@pytest.mark.parametrize("path", ["", "/usr/bin:/bin"])
def test_a_file_that_is_no_package_is_an_unpack_error(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path)
    (tmp_path / "a.deb").write_bytes(b"not a package")
    with pytest.raises(UnpackError):
        unpack(tmp_path / "a.deb", tmp_path / "out")


@pytest.mark.parametrize("path", ["", "/usr/bin:/bin"])
@pytest.mark.parametrize(
    "name", ["./usr/share/backgrounds/../../../../evil.jpg", "../evil/copyright", "{outside}/copyright"]
)
def test_a_path_outside_the_folder_is_refused(
    name: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path)
    pack(tmp_path / "a.deb", {name.format(outside=tmp_path / "evil"): b"x", **contents("cats")})
    with pytest.raises(UnpackError, match="which leaves its folder"):
        unpack(tmp_path / "a.deb", tmp_path / "deep")
    assert not list(tmp_path.rglob("evil*"))


def test_links_and_devices_are_not_made(tmp_path: Path) -> None:
    """Nor does a link lead a later member out."""
    kinds = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    members = {f"./usr/share/backgrounds/{name}.png": kind for name, kind in kinds.items()}
    folder = {"./usr/share/backgrounds/out": tarfile.SYMTYPE, "./usr/share/backgrounds/out/cat.png": b"an image"}
    pack(tmp_path / "a.deb", {**members, **folder}, link_to=str(tmp_path))
    unpack(tmp_path / "a.deb", tmp_path / "deep")
    unpacked = [file for file in (tmp_path / "deep").rglob("*") if not file.is_dir() or file.is_symlink()]
    assert unpacked == [tmp_path / "deep/usr/share/backgrounds/out/cat.png"]
    assert not (tmp_path / "cat.png").exists()
