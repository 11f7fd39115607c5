"""The golden images of a bundle for a page: the files, and their decoded and resized pixels as PNG."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden


def write_golden(bundle: Path, folder: Path) -> dict[str, Path]:
    """Write golden/1.jpg, golden/1.jpg.decoded.png, golden/1.jpg.pixels.png and so on to `folder`.

    Returns:
        The files by their path relative to `folder`.
    """
    manifest = read_bundle(bundle, verify=False)
    golden = Golden.read(bundle, manifest)
    written: dict[str, Path] = {}
    for path, decoded, pixels in zip(manifest.golden, golden.decoded, golden.pixels, strict=True):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        written[path] = shutil.copyfile(bundle / path, file)
        for step, array in (("decoded", decoded), ("pixels", pixels)):
            name = f"{path}.{step}.png"
            written[name] = folder / name
            Image.fromarray(np.ascontiguousarray(array)).save(written[name], optimize=True)
    return written
