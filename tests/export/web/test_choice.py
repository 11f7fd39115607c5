"""The choice of the graph: measured in Chromium, of those with their golden scores; without Chromium it says so."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import parts_of, write_bundle
from export.bundle.description import describe
from export.bundle.golden import Golden
from export.errors import BundleError
from export.web import folder
from export.web.choice import name_model
from export.web.chromium import BrowserError
from export.web.folder import write_web
from tests.export.web.conftest import MODEL
from tests.helpers.once import Once

OTHER = "onnxruntime-other"


@pytest.fixture
def two(bundle: Path, tmp_path: Path) -> Callable[[float], Path]:
    """A bundle with a second model, which is the same graph, and the error of its golden scores."""

    def make(error: float) -> Path:
        parts = parts_of(bundle)
        entry = dataclasses.replace(parts.manifest.engine(MODEL), name=OTHER)
        manifest = dataclasses.replace(parts.manifest, engines=(*parts.manifest.engines, entry))
        work = shutil.copytree(bundle / "golden", tmp_path / "work/golden")
        with np.load(work / "expected.npz") as arrays:
            stored = dict(arrays)
        stored[f"scores:{OTHER}"] = stored[f"scores:{MODEL}"] * (1 - error)
        stored[f"thresholds:{OTHER}"] = stored[f"thresholds:{MODEL}"]
        np.savez(work / "expected.npz", **stored)
        description = tmp_path / "tagger.json"
        description.write_text(describe(manifest, Golden.read(tmp_path / "work", manifest)), encoding="utf-8")
        sources = parts.sources | {"tagger.json": description, "golden/expected.npz": work / "expected.npz"}
        write_bundle(dataclasses.replace(parts, manifest=manifest, sources=sources), tmp_path / "two")
        return tmp_path / "two"

    return make


@pytest.mark.usefixtures("chromium_installed")
def test_the_fastest_with_its_golden_scores_is_measured_once(
    runtime: None, two: Callable[[float], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bundle = tmp_path / "web", two(0.01)
    about = write_web(bundle, out)
    assert about["model"] == MODEL
    assert about["choice"].startswith("fastest in Chrome/")
    assert f"{OTHER} has scores that differ by " in about["choice"]
    assert set(about["median_ms"]) == {MODEL}
    before = (out / "about.json").read_bytes()
    monkeypatch.setenv("PATH", "")  # a rerun needs neither Chromium nor npm
    assert write_web(bundle, out) == about
    assert (out / "about.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("chromium_installed")
def test_equal_graphs_are_both_timed(runtime: None, two: Callable[[float], Path], tmp_path: Path) -> None:
    about = write_web(two(0.0), tmp_path / "web")
    assert set(about["median_ms"]) == {MODEL, OTHER}
    assert about["median_ms"][about["model"]] == min(about["median_ms"].values())
    assert min(about["median_ms"].values()) > 0


def test_without_chromium_the_float_graph_is_taken_and_said(
    runtime: None,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PATH", "")
    about = write_web(bundle, tmp_path / "web")
    assert (about["model"], about["choice"]) == (MODEL, "not measured, because there is no Chromium: fp32")
    assert "install chromium, or name one with --model" in caplog.text


def test_an_unknown_model_is_refused(bundle: Path) -> None:
    description = json.loads((bundle / "tagger.json").read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=rf"--model: expected one of {MODEL}, got 'openvino-fp32'"):
        name_model(description, "openvino-fp32")


def test_a_bundle_without_a_plain_graph_is_refused(once: Once) -> None:
    with pytest.raises(BundleError, match=r"tagger.json: expected an ONNX model for a CPU, got none"):
        name_model({"models": []}, MODEL)


@pytest.mark.usefixtures("chromium_installed")
def test_a_page_that_fails_is_an_error_with_its_cause(
    runtime: None, two: Callable[[float], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "page"
    shutil.copytree(folder.PAGE, broken)
    (broken / "measure.js").write_text("export async function measure() { throw new Error('out of memory'); }")
    monkeypatch.setattr(folder, "PAGE", broken)
    with pytest.raises(BrowserError, match=r"two, got: the page failed: Error: out of memory .measure.js:1"):
        write_web(two(0.0), tmp_path / "web")
    assert not (tmp_path / "web").exists()
