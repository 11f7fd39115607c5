"""Int8 kernels of this processor beside exact arithmetic."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from benchmarks.doctor import Built, compare, drift, measure_drift
from export.backends import OnnxRuntime
from export.backends.saturation_probe import saturates
from tests.helpers.saturating import LABELS, bright_images, write_saturating_graph


def test_scores_are_compared_in_difference_and_map(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    exact = random.random((40, 3)).astype(np.float32)
    found = np.clip(exact + random.normal(0, 0.2, exact.shape), 0, 1).astype(np.float32)
    targets = (random.random(exact.shape) < 0.3).astype(np.uint8)
    label_mask = np.ones(exact.shape, bool)
    label_mask[:20, 0] = False
    monkeypatch.setattr(drift, "kernels_saturate", lambda: True)
    result = compare(exact, found, targets, label_mask)
    pairs = [
        (scores[label_mask[:, at], at], targets[label_mask[:, at], at]) for scores in (found, exact) for at in range(3)
    ]
    aps = [average_precision_score(target, score) for score, target in pairs]
    assert result.kernels_map == pytest.approx(np.mean(aps[:3]))
    assert result.exact_map == pytest.approx(np.mean(aps[3:]))
    assert result.largest == pytest.approx(
        max(abs(float(a) - float(b)) for a, b in zip(exact.flat, found.flat, strict=True))
    )
    assert result.mean == pytest.approx(
        sum(abs(a - b) for a, b in zip(exact.flat, found.flat, strict=True)) / 120, rel=1e-5
    )
    assert result.saturates
    assert str(result).startswith("this processor's int8 kernels saturate (x86 without VNNI): scores differ from exact")
    assert f", mAP {100 * np.mean(aps[:3]):.2f} instead of {100 * np.mean(aps[3:]):.2f} on select (40 " in str(result)
    monkeypatch.setattr(drift, "kernels_saturate", lambda: False)
    assert "saturate" not in str(compare(exact, found, targets, label_mask))
    monkeypatch.setattr(drift, "kernels_saturate", lambda: True)
    assert "saturate" not in str(compare(exact, exact))  # whatever its kernels do to others
    assert "mAP" not in str(compare(exact, found))


@pytest.mark.parametrize("bits", [7, 8])
def test_an_engine_is_measured_in_both(tmp_path: Path, bits: int) -> None:
    graph = write_saturating_graph(tmp_path / "int8.onnx", weight_bits=bits)
    backend = OnnxRuntime()
    engine = Built(name="a", precision="int8_x86", backend=backend, file=backend.compile(graph, tmp_path))
    images = bright_images(70)
    targets = (np.arange(70)[:, None] > 4 * np.arange(LABELS)).astype(np.uint8)
    result = measure_drift(engine, images, targets)
    wrong = bits == 8 and saturates()
    assert (result.images, result.saturates) == (70, wrong)
    assert (result.largest > 0.1) == wrong
    assert result.exact_map is not None
    assert result.exact_map > 0.9
