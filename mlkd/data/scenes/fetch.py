"""Fetches the image packages from the machine's Debian or Ubuntu archive, without root rights."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlkd.core.cache import cache_root
from mlkd.core.files import sha256_of
from mlkd.core.locks import locked
from mlkd.core.progress import Progress, silent
from mlkd.data.scenes.packages import PACKAGES, Package

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
    with _locked_cache():
        missing = [package for package in PACKAGES if package.name not in _record(root)]
        if missing:
            _unpack_all(root, missing, _collect(missing, progress), progress)
    return root


def _record(root: Path) -> dict[str, dict[str, str]]:
    """The packages that are unpacked below `root`: name -> version and digest."""
    file = root / RECORD
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


@contextmanager
def _locked_cache() -> Iterator[None]:
    """Other processes wait."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with locked(cache_root() / "fetch.lock"):
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
        file = _complete_file(package.name, package.bytes, package.sha256)
        if file:
            files[package.name] = (package.version, file)
    missing = [package for package in packages if package.name not in files]
    if missing:
        _apt(missing, "apt-get", "update", "-q")
        for package in missing:
            progress(f"fetching {package.name}", len(files), len(packages))
            files[package.name] = _download(package)
    progress("fetching", len(packages), len(packages))
    return files


def _complete_file(name: str, size: int, sha256: str) -> Path | None:
    """The file of the package with this content, if the user or apt-get fetched it."""
    for file in (*by_hand().glob(f"{name}_*.deb"), *downloads().glob(f"{name}_*.deb")):
        if file.stat().st_size == size and sha256_of(file) == sha256:
            return file
        if file.parent == by_hand():
            log.warning("%s is another version or incomplete: expected sha256 %s", file, sha256)
    return None


def _download(package: Package) -> tuple[str, Path]:
    """Download the archive's current package, and return its version and file, checked against the signed index."""
    index = _apt([package], "apt-cache", "show", "--no-all-versions", package.name)
    fields = dict(line.split(": ", 1) for line in index.splitlines() if ": " in line and line[0] != " ")
    version, size, sha256 = fields["Version"], int(fields["Size"]), fields["SHA256"]
    if version != package.version:
        log.warning("%s: this archive has version %s, tested was %s", package.name, version, package.version)
    file = _complete_file(package.name, size, sha256)
    if file is None:
        for stale in downloads().glob(f"{package.name}_*.deb"):
            stale.unlink()
        _apt([package], "apt-get", "download", "-q", f"{package.name}={version}")
        file = _complete_file(package.name, size, sha256)
    if file is None:
        raise _fetch_error([package], f"the download is not the {size} bytes with sha256 {sha256}")
    return version, file


def _apt(packages: Sequence[Package], program: str, *arguments: str) -> str:
    """Run apt without root rights, with lists and cache in the project's cache folder, and return its output.

    The working folder is that of the downloads.  Raises FetchError, which names the `packages`, if it fails.
    """
    state = cache_root() / "apt"
    for folder in (state / "lists" / "partial", state / "cache" / "archives" / "partial", downloads(), by_hand()):
        folder.mkdir(parents=True, exist_ok=True)
    if shutil.which(program) is None:
        raise _fetch_error(packages, f"{program} is not on this machine")
    settings = {
        "Dir::State::Lists": str(state / "lists"),
        "Dir::Cache": str(state / "cache"),
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # as root, do not switch to a user that cannot write here
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    command = [program, *options, *arguments]
    done = subprocess.run(command, cwd=downloads(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cause = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise _fetch_error(packages, f"{program} {arguments[0]} failed: {cause[0]}")
    return done.stdout


def _fetch_error(packages: Sequence[Package], cause: str) -> FetchError:
    files = "\n".join(
        f"  {each.name}, version {each.version}: {each.bytes} bytes, sha256 {each.sha256}" for each in packages
    )
    return FetchError(
        f"images: expected these Debian packages, got none, because {cause}.\n{files}\n"
        f"Download the .deb files from any Debian archive (pool/main), move them to {by_hand()}, and rerun "
        "`python -m pipeline fetch`"
    )


def _unpack_all(root: Path, packages: list[Package], files: dict[str, tuple[str, Path]], progress: Progress) -> None:
    """Add the packages to those that are unpacked."""
    from mlkd.data.scenes.unpack import UnpackError, unpack

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
