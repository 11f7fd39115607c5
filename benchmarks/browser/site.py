"""A bundle as the measured page loads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.bundle.description import DESCRIPTION, describe
from export.bundle.golden import Golden
from export.bundle.manifest import EngineEntry, Manifest
from export.web.server import Source


@dataclass(frozen=True)
class Site:
    """A verified bundle, and the files of the page by name."""

    bundle: Path
    manifest: Manifest
    golden: Golden
    page: dict[str, Path]

    def files(self, images: Sequence[Source] = ()) -> dict[str, Source]:
        """What the server has: the page, description and models of the bundle, golden pixels, and images."""
        models = {entry.file: self.bundle / entry.file for entry in self.manifest.engines if lacks(entry) is None}
        return {
            **self.page,
            DESCRIPTION: describe(self.manifest, self.golden).encode(),
            **models,
            **{f"pixels/{at}": pixels.tobytes() for at, pixels in enumerate(self.golden.pixels)},
            **{f"images/{at}": image for at, image in enumerate(images)},
        }


def lacks(entry: EngineEntry) -> str | None:
    """Why an engine cannot run in a page; None if that has to be tried."""
    kind, device = entry.backend["kind"], str(entry.backend.get("device", "")).lower()
    if kind != "onnxruntime":
        return f"{kind}: expected a plain ONNX graph, which a browser can run, got an engine of another runtime"
    if device != "cpu":
        return f"onnxruntime: expected a graph for CPUs, as ONNX Runtime Web (WASM) runs them, got one for {device}"
    return None
