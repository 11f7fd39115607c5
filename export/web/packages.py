"""ONNX Runtime for WebAssembly: installed once by npm from the lock file into the cache, and checked at each use."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from export.bundle.bundle import flush
from mlkd.core.cache import cache_root, private
from mlkd.core.files import sha256_of

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
PACKAGE = "onnxruntime-web"
FILES = {  # name in the page -> name in the package; some hosts serve .mjs with a type that is no JavaScript
    "ort.js": "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
LICENCES = {"LICENSE": "onnxruntime.txt", "ThirdPartyNotices.txt": "onnxruntime-third-party.txt"}
SUMS = "sums.json"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
TIMEOUT_S = 600


class PackageError(RuntimeError):
    """The packages of the page cannot be installed, or are damaged."""


def version() -> str:
    """The locked version of onnxruntime-web."""
    locked = json.loads(LOCK.read_text(encoding="utf-8"))["packages"][f"node_modules/{PACKAGE}"]["version"]
    return str(locked)


def runtime_files() -> dict[str, Path]:
    """The files of ONNX Runtime that a page needs, by their names in it; npm installs them if the cache has none.

    Raises PackageError without npm, without a network, or for a damaged file in the cache.
    """
    folder = cache_root() / "web" / f"{version()}-{sha256_of(LOCK)[:16]}"
    if not (folder / SUMS).is_file():
        _install(folder)
    sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
    for name in FILES:
        file = folder / name
        got = sha256_of(file) if file.is_file() else "no file"
        if got != sums.get(name):
            raise PackageError(f"{file}: expected sha256 {sums.get(name)}, got {got}; remove {folder} and rerun")
    return {name: folder / name for name in FILES}


def licence_files() -> dict[str, Path]:
    """The licence of ONNX Runtime and of what it contains; its npm package has neither, its Python package both."""
    installed = metadata.packages_distributions().get("onnxruntime", [])
    files = [file for package in installed for file in metadata.files(package) or ()]
    paths = {file.name: Path(str(file.locate())) for file in files if file.parent.name == "onnxruntime"}
    for name in LICENCES:
        if name not in paths:
            raise PackageError(f"onnxruntime: expected {name} in the Python package, got none; make setup")
    return {target: paths[name] for name, target in LICENCES.items()}


def _install(folder: Path) -> None:
    if shutil.which("npm") is None:
        raise PackageError(f"{PACKAGE}: expected npm to install it once, got none; apt-get install npm, and rerun")
    private(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".installing.") as work:
        for name in ("package.json", LOCK.name):
            shutil.copyfile(HERE / name, Path(work, name))
        ended = subprocess.run(
            INSTALL, cwd=work, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
        )
        if ended.returncode != 0:
            reason = (ended.stderr or ended.stdout).strip().splitlines()
            raise PackageError(
                f"{PACKAGE} {version()}: expected npm to install what {LOCK.name} locks, got: "
                f"{' '.join(reason[:4]) or ended.returncode}; check the network, which is needed once"
            )
        ready = Path(work, "ready")
        ready.mkdir()
        for name in FILES:
            shutil.copyfile(Path(work, "node_modules", PACKAGE, "dist", FILES[name]), ready / name)
        (ready / SUMS).write_text(json.dumps({name: sha256_of(ready / name) for name in FILES}), encoding="utf-8")
        flush(ready)
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
