"""The bundle of colours with ONNX Runtime's engine alone: in a self-test each has a process of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from export.bundle.bundle import Parts, parts_of, write_bundle
from tests.helpers import bundles


def write(folder: Path, work: Path) -> Path:
    """The folder; `work` takes what is built."""
    parts = parts_of(bundles.write_colours(work / "all", work / "built"))
    manifest = dataclasses.replace(parts.manifest, engines=(parts.manifest.engine("onnxruntime-fp32"),))
    write_bundle(Parts(manifest=manifest, sources=parts.sources), folder)
    return folder
