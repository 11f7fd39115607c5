"""Writes the folder with the page, the runtime and one graph that a static host serves."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export import __version__
from export.bundle.bundle import DIGEST, beside, read_bundle, recover, swap
from export.bundle.description import DESCRIPTION, describe
from export.bundle.golden import Golden
from export.errors import BundleError
from export.web import packages
from export.web.choice import Choice, choose, name_model
from export.web.golden import write_golden
from mlkd.core.files import sha256_of
from mlkd.core.images import PREPROCESSING

PAGE = Path(__file__).parent / "page"
ABOUT, WORKER, MANIFEST, LICENCES = "about.json", "service_worker.js", "app.webmanifest", "licences"
UNPUBLISHED = ("measure.html", "measure.js")
FORMAT = "edge-tagger-web"
PREFIX = "const FILES = "
ICONS = (192, 512)


def write_web(bundle: Path, out: Path, model: str | None = None) -> dict[str, Any]:
    """Write the page of a bundle to `out`, replacing an older one atomically; returns the content of about.json.

    The graph is `model`, or that of an older page of this bundle, or else the one that is fastest in Chromium.

    Raises:
        BundleError: The bundle is damaged, or `out` holds something else than a page.
        PackageError: ONNX Runtime for WebAssembly cannot be installed.
        BrowserError: Chromium fails.
    """
    manifest = read_bundle(bundle)
    if manifest.preprocessing != PREPROCESSING:
        raise BundleError(f"{bundle}: expected the preprocessing of this version, got another; export the bundle again")
    # not that of the bundle, whose paths nobody has checked
    description = json.loads(describe(manifest, Golden.read(bundle, manifest)))
    runtime = packages.runtime_files()
    recover(out)
    older = _read_about(out)
    page = {**{file.name: file for file in sorted(PAGE.iterdir())}, **runtime}
    identity = _identity(bundle, page)
    if model is not None:
        choice = name_model(description, model)
    elif older.get("identity") == identity and older["median_ms"]:
        choice = Choice(model=older["model"], why=older["choice"], median_ms=older["median_ms"])
    else:
        choice = choose(bundle, description, page)
    new = beside(out, "new")
    new.mkdir(parents=True)
    for name, source in page.items():
        if name not in UNPUBLISHED:
            shutil.copyfile(source, new / name)
    about = _write_content(bundle, description, choice, identity, new)
    _write_service_worker(new)
    swap(new, out)
    return about


def files_of(folder: Path) -> dict[str, Path]:
    """All files below a folder by their path relative to it."""
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}


def _identity(bundle: Path, page: Mapping[str, Path]) -> str:
    """A hash of all that the measured times depend on, but for the browser and the machine."""
    parts = [(bundle / DIGEST).read_text(encoding="ascii"), *(sha256_of(file) for file in page.values())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _write_content(
    bundle: Path, description: Mapping[str, Any], choice: Choice, identity: str, folder: Path
) -> dict[str, Any]:
    """Write the model, its description, golden images, licences, icons and about.json."""
    model = next(one for one in description["models"] if one["name"] == choice.model)
    (folder / model["file"]).parent.mkdir(parents=True)
    shutil.copyfile(bundle / model["file"], folder / model["file"])
    write_golden(bundle, folder)
    (folder / LICENCES).mkdir()
    for name, source in packages.licence_files().items():
        shutil.copyfile(source, folder / LICENCES / name)
    golden = [
        {"image": one["image"], "scores": {choice.model: one["scores"][choice.model]}} for one in description["golden"]
    ]
    _write_json(folder / DESCRIPTION, {**description, "models": [model], "golden": golden})
    _write_app(folder, description["name"])
    about = {
        "format": FORMAT,
        "name": description["name"],
        "labels": len(description["labels"]),
        "model": choice.model,
        "choice": choice.why,
        "median_ms": dict(choice.median_ms),
        "runtime": f"onnxruntime-web {packages.version()}",
        "version": __version__,
        "identity": identity,
    }
    _write_json(folder / ABOUT, about)
    return about


def _write_app(folder: Path, name: str) -> None:
    """Write the manifest and the icons with which a phone installs the page."""
    import resvg_py

    drawing = (folder / "icon.svg").read_text(encoding="utf-8")
    icons = []
    for side in ICONS:
        icon = f"icon-{side}.png"
        (folder / icon).write_bytes(bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=side, height=side)))
        icons.append({"src": icon, "sizes": f"{side}x{side}", "type": "image/png"})
    app = {
        "name": f"Image tagger: {name}",
        "short_name": name,
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#f6f7f5",
        "theme_color": "#0b6b57",
        "icons": icons,
    }
    _write_json(folder / MANIFEST, app)


def _write_service_worker(folder: Path) -> None:
    """Put the hashes of all other files in front of the service worker."""
    files = {path: file for path, file in files_of(folder).items() if path != WORKER}
    hashes = {path: base64.b64encode(bytes.fromhex(sha256_of(file))).decode() for path, file in files.items()}
    source = (folder / WORKER).read_text(encoding="utf-8")
    (folder / WORKER).write_text(f"{PREFIX}{json.dumps(hashes, indent=1)};\n\n{source}", encoding="utf-8")


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_about(out: Path) -> dict[str, Any]:
    """The about.json of an older page.  Raises BundleError if `out` has anything else, which would be deleted."""
    if not out.exists() and not out.is_symlink():
        return {}
    try:
        content = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        ours = not out.is_symlink() and content["format"] == FORMAT
        listed = json.loads((out / WORKER).read_text(encoding="utf-8").removeprefix(PREFIX).partition(";\n")[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        ours = False
    if not ours:
        raise BundleError(f"{out}: expected a page of ours (with {ABOUT}) or nothing, got something else; move it away")
    if extra := sorted(files_of(out).keys() - {*listed, WORKER}):
        raise BundleError(f"{out}: expected only files of the page, got also {', '.join(extra[:5])}; move them away")
    return dict(content)
