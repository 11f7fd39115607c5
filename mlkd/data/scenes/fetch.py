"""Fetches the image packages from the machine's Debian or Ubuntu archive, without root rights."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlkd.core.cache import cache_root
from mlkd.core.progress import Progress, silent
from mlkd.data.scenes.packages import PACKAGES, Package
from mlkd.data.scenes.unpack import UnpackError, unpack

log = logging.getLogger(__name__)

RECORD = "packages.json"  # written last, into the unpacked tree: versions and digests of its packages


class FetchError(ValueError):
    """The images cannot be fetched; the message says which files to fetch by hand and where to put them."""


def images_root() -> Path:
    """Return the root of the unpacked image packages; it may not exist yet."""
    return cache_root() / "pictures"


def fetched_images() -> Path:
    """Return the root of the unpacked image packages.  Raises ValueError if nothing was fetched."""
    root = images_root()
    if not root.is_dir():
        raise ValueError(
            f"images: expected the unpacked packages in {root}, got nothing; run `python -m pipeline fetch`"
        )
    return root


def fetch(progress: Progress = silent) -> Path:
    """Download and unpack the missing packages, and return the root of the unpacked ones.

    They are unpacked in another folder that is renamed at the end.  A repeated call fetches what is missing.
    Raises FetchError.
    """
    root = images_root()
    with _exclusive():
        missing = [package for package in PACKAGES if package.name not in _record(root)]
        if missing:
            _unpack_all(root, missing, _collect(missing, progress), progress)
    return root


def _record(root: Path) -> dict[str, dict[str, str]]:
    """The packages that are unpacked below `root`: name -> version and digest."""
    file = root / RECORD
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


@contextmanager
def _exclusive() -> Iterator[None]:
    """Lock the cache: other processes wait."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def by_hand() -> Path:
    """Return the folder for package files that the user fetched."""
    return cache_root() / "packages"


def downloads() -> Path:
    """Return the folder for package files that apt-get fetched; it is removed when all are unpacked."""
    return cache_root() / "downloads"


def _collect(packages: list[Package], progress: Progress) -> dict[str, tuple[str, Path]]:
    """Package name -> version and verified file."""
    files: dict[str, tuple[str, Path]] = {}
    for package in packages:
        file = _local_file(package)
        if file:
            files[package.name] = (package.version, file)
    missing = [package for package in packages if package.name not in files]
    if missing:
        apt = Apt.start(missing)
        for package in missing:
            progress(f"fetching {package.name}", len(files), len(packages))
            files[package.name] = apt.download(package)
    progress("fetching", len(packages), len(packages))
    return files


def _candidates(name: str) -> list[Path]:
    return [file for folder in (by_hand(), downloads()) for file in sorted(folder.glob(f"{name}_*.deb"))]


def _local_file(package: Package) -> Path | None:
    """The complete file of the tested version, if the user or an earlier call fetched it."""
    for file in _candidates(package.name):
        if file.stat().st_size == package.bytes and sha256(file) == package.sha256:
            return file
        if file.parent == by_hand():
            log.warning("%s is another version or incomplete: expected sha256 %s", file, package.sha256)
    return None


def sha256(file: Path) -> str:
    """Hash the content of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Apt:
    """apt-get with its own lists and cache in the project's cache folder, so that it needs no root rights."""

    options: tuple[str, ...]
    missing: tuple[Package, ...]

    @classmethod
    def start(cls, missing: list[Package]) -> Apt:
        """Read the archive's signed index.  Raises FetchError without apt-get."""
        state = cache_root() / "apt"
        for folder in (state / "lists" / "partial", state / "cache" / "archives" / "partial", downloads(), by_hand()):
            folder.mkdir(parents=True, exist_ok=True)
        if shutil.which("apt-get") is None:
            raise FetchError(_fetch_by_hand(missing, "apt-get is not on this machine"))
        settings = {
            "Dir::State::Lists": str(state / "lists"),
            "Dir::Cache": str(state / "cache"),
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",  # as root, do not switch to a user that cannot write here
        }
        apt = cls(tuple(part for key, value in settings.items() for part in ("-o", f"{key}={value}")), tuple(missing))
        apt.run("apt-get", "update", "-q")
        return apt

    def run(self, program: str, *arguments: str) -> str:
        """Run an apt command in the downloads folder and return its standard output.  Raises FetchError if it fails."""
        command = [program, *self.options, *arguments]
        done = subprocess.run(command, cwd=downloads(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            cause = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise FetchError(_fetch_by_hand(list(self.missing), f"{program} {arguments[0]} failed: {cause[0]}"))
        return done.stdout

    def download(self, package: Package) -> tuple[str, Path]:
        """Download the archive's current package, and return its version and file, checked against the signed index."""
        version, size, digest = self.index(package.name)
        if version != package.version:
            log.warning("%s: this archive has version %s, tested was %s", package.name, version, package.version)
        file = self._complete_file(package.name, size, digest)
        if file is None:
            for stale in downloads().glob(f"{package.name}_*.deb"):
                stale.unlink()
            self.run("apt-get", "download", "-q", f"{package.name}={version}")
            file = self._complete_file(package.name, size, digest)
        if file is None:
            raise FetchError(_fetch_by_hand([package], f"the download is not the {size} bytes with sha256 {digest}"))
        return version, file

    def index(self, name: str) -> tuple[str, int, str]:
        """Return version, size and sha256 of the package in the archive's index."""
        shown = self.run("apt-cache", "show", "--no-all-versions", name)
        fields = dict(line.split(": ", 1) for line in shown.splitlines() if ": " in line and line[0] != " ")
        return fields["Version"], int(fields["Size"]), fields["SHA256"]

    def _complete_file(self, name: str, size: int, digest: str) -> Path | None:
        complete = (file for file in _candidates(name) if file.stat().st_size == size and sha256(file) == digest)
        return next(complete, None)


def _fetch_by_hand(packages: list[Package], cause: str) -> str:
    files = "\n".join(
        f"  {package.name}, version {package.version}: {package.bytes} bytes, sha256 {package.sha256}"
        for package in packages
    )
    return (
        f"images: expected these Debian packages, got none, because {cause}.\n{files}\n"
        f"Download the .deb files from any Debian archive (pool/main), move them to {by_hand()}, and rerun "
        "`python -m pipeline fetch`"
    )


def _unpack_all(root: Path, packages: list[Package], files: dict[str, tuple[str, Path]], progress: Progress) -> None:
    """Add the packages to those that are unpacked."""
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    record = _record(root)
    if record:
        shutil.copytree(root, partial, copy_function=os.link)
        (partial / RECORD).unlink()  # a hard link: writing to it would change the tree in use
    partial.mkdir(parents=True, exist_ok=True)
    for done, package in enumerate(packages):
        progress(f"unpacking {package.name}", done, len(packages))
        version, file = files[package.name]
        try:
            digest = unpack(file, partial)
        except UnpackError as cause:
            raise FetchError(
                f"{file}: expected a Debian package, got {cause}; remove the file and fetch again"
            ) from cause
        if version == package.version and digest != package.digest:
            raise FetchError(
                f"{package.name} {version}: expected images with digest {package.digest}, got {digest}; "
                f"remove {file} and fetch again"
            )
        record[package.name] = {"version": version, "pictures": digest}
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(root, ignore_errors=True)
    partial.rename(root)
    shutil.rmtree(downloads(), ignore_errors=True)
    progress("unpacking", len(packages), len(packages))
