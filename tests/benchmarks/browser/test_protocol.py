"""Graphs in a real page: what they compute there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import protocol
from benchmarks.browser.page_files import INDEX, page_files
from benchmarks.browser.protocol import Page
from export.backends import OnnxRuntime
from export.web.server import Source, serve
from tests.helpers import saturating
from tests.helpers.chromium import Chromium

pytestmark = pytest.mark.usefixtures("measured_page")


def described(side: int, labels: int, **models: str) -> bytes:
    """A tagger.json with models by name."""
    listed = [
        {"name": name, "runtime": "onnxruntime", "device": "cpu", "file": file, "thresholds": [0.5] * labels}
        for name, file in models.items()
    ]
    return json.dumps(
        {
            "labels": [f"label {label}" for label in range(labels)],
            "input": {"name": "images", "shape": ["batch", side, side, 3]},
            "output": {"name": "scores"},
            "models": listed,
        }
    ).encode()


@pytest.mark.parametrize("unsigned", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_int8_products_are_exact(unsigned: bool, browser: Chromium, tmp_path: Path) -> None:
    """On a graph that saturates on processors with AVX2 or AVX-512 without VNNI."""
    graph = saturating.write_saturating_graph(tmp_path / "int8.onnx", unsigned=unsigned)
    pixels = saturating.bright_images(40)
    with OnnxRuntime().open_exact(graph) as session:
        expected = session(pixels)
    images: Mapping[str, Source] = {f"pixels/{at}": image.tobytes() for at, image in enumerate(pixels)}
    own = {"tagger.json": described(saturating.PX, saturating.LABELS, int8="int8.onnx"), "int8.onnx": graph}
    with serve({**page_files(), **own, **images}) as address:
        page = Page(browser.open(address + INDEX))
        protocol.open_models(page, ["int8"])
        (actual,) = protocol.scores(page, "pixels", len(pixels), 1, saturating.LABELS)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_scores_come_in_pieces_and_in_order(browser: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = {
        name: saturating.write_saturating_graph(tmp_path / f"{name}.onnx", weight_bits=bits)
        for name, bits in (("a", 8), ("b", 7))
    }
    pixels = saturating.bright_images(5)
    files = {f"{name}.onnx": graph for name, graph in graphs.items()}
    images: Mapping[str, Source] = {f"pixels/{at}": image.tobytes() for at, image in enumerate(pixels)}
    own = {"tagger.json": described(saturating.PX, saturating.LABELS, a="a.onnx", b="b.onnx")}
    monkeypatch.setattr(protocol, "CHUNK", 2 * 2 * saturating.LABELS)  # of two images
    with serve({**page_files(), **own, **files, **images}) as address:
        page = Page(browser.open(address + INDEX))
        protocol.open_models(page, ["a", "b"])
        both = protocol.scores(page, "pixels", len(pixels), 2, saturating.LABELS)
    for graph, scores in zip(graphs.values(), both, strict=True):
        with OnnxRuntime().open_exact(graph) as session:
            np.testing.assert_allclose(scores, session(pixels), atol=1e-6)
