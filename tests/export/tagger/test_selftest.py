"""Engines that differ, and expectations that do not hold together."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.backends import OnnxRuntime, RuntimeInfo
from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from export.errors import BundleError
from export.tagger.limits import LIMITS, Limit, score_limit
from export.tagger.selftest import check_images
from tests.helpers import bundles, selftests
from tests.helpers.selftests import ENGINE, engine_findings

NAMES = ["golden/1.jpg", "golden/2.jpg", "golden/3.png", "golden/4.jpg"]


@pytest.mark.parametrize("engine", [ENGINE, "openvino-fp32"])
def test_where_the_bundle_was_made_everything_is_the_same(selftested: Path, golden: Golden, engine: str) -> None:
    findings = check_images(golden, bundles.PX) + engine_findings(selftested, golden, engine)
    assert [(one.state, one.note) for one in findings] == [("same", "")] * (2 * 4 + 3)
    assert [one.subject for one in findings if one.step == "decode"] == NAMES


def reversing(model: onnx.ModelProto) -> None:
    """Weights of a net that was trained on blue, green, red."""
    (gain,) = (one for one in model.graph.initializer if one.name == "gain")
    gain.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(gain)[::-1].copy(), "gain"))


def scaling(factor: float) -> Callable[[onnx.ModelProto], None]:
    def scale(model: onnx.ModelProto) -> None:
        (gain,) = (one for one in model.graph.initializer if one.name == "gain")
        gain.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(gain) * np.float32(factor), "gain"))

    return scale


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (scaling(0.5), ("different", "engine")),
        (scaling(1.01), ("different", "engine")),
        (scaling(1.0001), ("close", "engine")),
        (scaling(float("nan")), ("different", "engine")),
        (reversing, ("different", "channel order of the engine")),
    ],
)
def test_another_engine_is_named(
    change: Callable[[onnx.ModelProto], None],
    expected: tuple[str, str],
    selftested: Path,
    golden: Golden,
    tmp_path: Path,
) -> None:
    other = selftests.with_model(selftested, tmp_path, change)
    engine, whole, _ = engine_findings(other, golden)
    assert (engine.state, engine.cause) == expected
    assert whole.state == expected[0]
    assert engine.subject == whole.subject == ENGINE


@pytest.mark.parametrize(
    ("precision", "compute", "limit"),
    [
        ("fp32", "f32", Limit(1e-3)),
        ("fp16", "f32", Limit(1e-2)),
        ("fp32", "bf16", Limit(5e-2)),
        ("int8_x86", "int8", LIMITS["int8"]),
        ("int8", "f32", LIMITS["int8"]),
        ("int8", "unknown", LIMITS["int8"]),
        ("fp16", "unknown", Limit(1e-2)),
    ],
)
def test_limits_follow_what_is_computed_in(precision: str, compute: str, limit: Limit) -> None:
    entry = bundles.engine("a", OnnxRuntime(), ("a.onnx",), precision=precision)
    ran = RuntimeInfo(provider="p", device="cpu", compute=compute, version="1", placed=1.0)
    assert score_limit(entry, ran) == limit


def test_a_limit_holds_for_the_largest_and_the_mean_difference() -> None:
    expected = np.zeros((2, 5), np.float32)
    one, all_of_them = expected.copy(), expected + np.float32(0.03)
    one[0, 0] = 0.2
    assert Limit(0.2 + 1e-6, 0.02 + 1e-6).allows(expected, one)
    assert not Limit(0.19, 0.03).allows(expected, one)
    assert not Limit(0.3, 0.019).allows(expected, one)
    assert not Limit(0.3, 0.02).allows(expected, all_of_them)
    assert not Limit(0.3).allows(expected, one[:1])
    assert not Limit(0.3).allows(expected, expected * np.nan)
    assert Limit(0.3, 0.019).describe(expected, one) == "scores that differ by 0.2 (mean 0.02)"
    assert Limit(0.19).describe(expected, one) == "scores that differ by 0.2"
    assert Limit(0.19).describe(expected, expected * np.nan) == "values that are not finite"
    assert (str(Limit(0.3, 0.02)), str(Limit(1e-3))) == ("0.3 (mean 0.02)", "0.001")


@pytest.mark.parametrize("exchanged", ["labels", "thresholds"])
def test_a_manifest_that_prints_other_tags_fails(
    selftested: Path, golden: Golden, tmp_path: Path, exchanged: str
) -> None:
    """Its engines and their scores are as they were."""
    engines = read_bundle(selftested).engines
    thresholds = tuple(dataclasses.replace(entry, thresholds=(0.5, 1.0, 0.5)) for entry in engines)
    changes: dict[str, Any] = {"labels": {"labels": ("green", "red", "blue")}, "thresholds": {"engines": thresholds}}
    bundles.with_manifest(selftested, tmp_path / "other", **changes[exchanged])
    engine, whole, tags = engine_findings(tmp_path / "other", golden)
    assert (engine.state, whole.state) == ("same", "same")
    assert (tags.step, tags.state, tags.cause) == ("tags", "different", f"{exchanged} in the manifest")
    assert re.match(r"golden/\d\.\w+: expected .*(red|green).*, got ", tags.note)


def test_scores_that_are_no_numbers_have_no_difference(selftested: Path, golden: Golden, tmp_path: Path) -> None:
    """JSON has no NaN."""
    engine, *_ = engine_findings(selftests.with_model(selftested, tmp_path, scaling(float("nan"))), golden)
    assert (engine.state, engine.largest) == ("different", None)


@pytest.mark.parametrize("lost", ["decoded_3", "pixels_0", f"scores:{ENGINE}", f"thresholds:{ENGINE}", "labels", "all"])
def test_expectations_that_lack_something_are_refused(lost: str, selftested: Path, tmp_path: Path) -> None:
    other = selftests.with_expected(selftested, tmp_path, lambda arrays: arrays.pop(lost) if lost != "all" else None)
    if lost == "all":
        (other / "golden/expected.npz").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"expected\.npz: expected the results of golden images, got: .*export again"):
        Golden.read(other, read_bundle(other, verify=False))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (f"scores:{ENGINE}", lambda one: one[:, :2], r"expected finite float32 \(4, 3\), got float32 \(4, 2\)"),
        (f"scores:{ENGINE}", lambda one: one * np.float32("nan"), "expected finite float32"),
        (f"scores:{ENGINE}", lambda one: one.astype(np.float64), r"got float64 \(4, 3\)"),
        ("pixels_1", lambda one: one[:8], r"pixels: expected finite uint8 \(16, 16, 3\), got uint8 \(8, 16, 3\)"),
        ("labels", lambda one: one[:2], "labels: expected 3, got 2"),
        (f"thresholds:{ENGINE}", lambda one: one[:2], r"expected finite float64 \(3,\), got float64 \(2,\)"),
        ("decoded_0", lambda one: one[..., 0], "decoded: expected finite uint8"),
        ("decoded_0", lambda one: one[:0], "decoded: expected finite uint8"),
        ("decoded_0", lambda one: np.array([None]), "Object arrays cannot be loaded"),
        ("decoded_0", lambda one: np.zeros((9000, 10000, 3), np.uint8), "bytes of arrays, more than"),
    ],
)
def test_expectations_of_another_kind_are_refused(
    name: str, change: Callable[[Any], Any], message: str, selftested: Path, tmp_path: Path
) -> None:
    other = selftests.with_expected(selftested, tmp_path, lambda arrays: arrays.update({name: change(arrays[name])}))
    with pytest.raises(BundleError, match=message):
        Golden.read(other, read_bundle(other))
