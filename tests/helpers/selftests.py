"""Bundles for the self-test: golden images that are rich enough to show a fault, and engines that have one."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from export.backends import OnnxRuntime, OpenVino
from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden, write_golden
from export.tagger import Tagger
from export.tagger.engine_choice import backend_of
from export.tagger.selftest import Finding, check_engine
from tests.helpers import bundles

FORMS = [("JPEG", "RGB"), ("JPEG", "RGB"), ("PNG", "RGBA"), ("JPEG", "CMYK")]  # of golden images
ENGINE = "onnxruntime-fp32"
TINTS = ((255, 60, 90), (70, 250, 20), (60, 90, 255), (255, 240, 40))


def states(findings: list[Finding], step: str) -> list[tuple[str, str]]:
    """State and cause of what was found at one step."""
    return [(one.state, one.cause) for one in findings if one.step == step]


def engine_findings(folder: Path, golden: Golden, name: str = ENGINE) -> list[Finding]:
    """The engine alone, then the whole chain."""
    with Tagger.load(folder, name) as tagger:
        return check_engine(tagger, golden)


def write(work: Path) -> Path:
    """The bundle of colours with four golden drawings, none of them grey, and what its two engines say of them."""
    plain = bundles.write_colours(work / "plain", work / "work")
    manifest = read_bundle(plain)
    with contextlib.ExitStack() as stack:
        scores: dict[str, Any] = {
            entry.name: stack.enter_context(backend_of(entry).open(plain / entry.file))
            for entry in manifest.engines[1:]
        }
        scores[manifest.engines[0].name] = scores["onnxruntime-fp32"]
        images, expected = write_golden(
            drawings(work / "drawn"),
            bundles.PX,
            work / "golden",
            scores,
            labels=bundles.LABELS,
            thresholds=dict.fromkeys(scores, (0.5, 0.5, 0.5)),
        )
    assert tuple(f"golden/{file.name}" for file in images) == manifest.golden
    return bundles.changed(plain, work / "bundle", {f"golden/{file.name}": file for file in (*images, expected)})


def drawings(folder: Path) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = []
    for number, tint in enumerate(TINTS):
        values = rng.uniform(0.3, 1, (12, 16, 3)) * tint
        files.append(folder / f"{number}.png")
        Image.fromarray(values.astype(np.uint8)).resize((64, 48), Image.Resampling.BICUBIC).save(files[-1])
    return files


def with_model(bundle: Path, work: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The bundle with another graph in its engines, stamped and hashed as it should be."""
    model = onnx.load(bundle / "models/fp32.onnx")
    change(model)
    onnx.save(model, work / "fp32.onnx")
    sources = {}
    for room, backend in (("models", OnnxRuntime(threads=1)), ("engines", OpenVino(threads=1))):
        out = work if room == "models" else work / "engines"
        sources |= {f"{room}/{file.name}": file for file in backend.files(backend.compile(work / "fp32.onnx", out))}
    return bundles.changed(bundle, work / "other", sources)


def with_expected(bundle: Path, work: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The bundle with other expectations."""
    with np.load(bundle / "golden/expected.npz") as arrays:
        expected = dict(arrays)
    change(expected)
    np.savez_compressed(work / "expected.npz", **expected)
    return bundles.changed(bundle, work / "other", {"golden/expected.npz": work / "expected.npz"})
