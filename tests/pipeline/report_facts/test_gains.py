import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from benchmarks.accuracy import Truth
from benchmarks.schema import Percentiles, Row
from benchmarks.sections import Int8Gain, LabelValues
from export.backends import OnnxRuntime, OpenVino
from mlkd.core.labels import Labels
from pipeline.report_facts.gains import continued, distillation, int8_gain, training
from tests.helpers import bundles
from tests.helpers.rows import measured


def row(name: str, p50: float, accuracy: float, status: str = "measured") -> Row:
    return measured(name, accuracy=accuracy, status=status, engine_ms=Percentiles(p50=p50))


def manifest() -> Any:
    openvino = {
        "fp32": ("fp32", OpenVino()),
        "fp16": ("fp16", OpenVino()),  # a graph of half the size, computed in f32 as well
        "bf16": ("fp32", OpenVino(compute="bf16")),
        "int8": ("int8_openvino", OpenVino()),
    }
    engines = [
        bundles.engine("onnxruntime-fp32", OnnxRuntime(), ("models/b.onnx",), precision="fp32"),
        bundles.engine("onnxruntime-int8", OnnxRuntime(), ("models/a.onnx",), precision="int8_x86"),
    ]
    for name, (precision, backend) in openvino.items():
        engines.append(bundles.engine(name, backend, (f"engines/{name}.xml",), precision=precision))
    return bundles.manifest(*engines)


def test_the_fastest_int8_engine_is_compared_with_its_own_runtime() -> None:
    rows = [row("onnxruntime-int8", 1.5, 0.7), row("onnxruntime-fp32", 3.0, 0.8), row("fp32", 4.0, 0.8)]
    assert int8_gain(manifest(), [*rows, row("int8", 2.0, 0.4)]) == Int8Gain(
        name="onnxruntime-int8", vs_f32=2.0, kept_of_f32_map=0.7 / 0.8
    )


def test_a_graph_in_fp16_is_not_the_float_that_int8_is_compared_with() -> None:
    rows = [row("onnxruntime-int8", 9, 0.1), row("fp32", 4.0, 0.8), row("fp16", 3.5, 0.8), row("bf16", 3.0, 0.5)]
    rows.append(row("int8", 2.0, 0.4))
    assert int8_gain(manifest(), rows) == Int8Gain(
        name="int8", vs_f32=2.0, vs_bf16=1.5, kept_of_f32_map=0.5, kept_of_bf16_map=0.8
    )


def test_int8_without_its_like() -> None:
    rows = [row("fp32", 4.0, 0.8), row("bf16", 0, 0, "failed"), row("int8", 2.0, 0.4)]
    gain = int8_gain(manifest(), rows)
    assert gain is not None
    assert (gain.vs_f32, gain.vs_bf16, gain.kept_of_bf16_map) == (2.0, None, None)
    assert int8_gain(manifest(), [row("fp32", 4.0, 0.8), row("int8", 2.0, 0.4, "failed")]) is None


def test_distillation_by_hand() -> None:
    """Teacher right everywhere, student wrong about one of two minor cats, baseline wrong about everything."""
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.uint8)
    minor = np.array([[0, 0], [1, 0], [0, 0], [0, 1]], dtype=np.uint8)
    truth = Truth(files=[Path(str(n)) for n in range(4)], targets=targets, groups=list("abcd"),
                  major=targets - minor, minor=minor)  # fmt: skip
    teacher = targets.astype(np.float32)
    student = teacher.copy()
    student[1, 0] = -1
    scores = {"teacher": teacher, "student": student, "baseline": 1 - teacher}
    found = distillation(scores, truth, Labels(("cat", "dog")))
    assert found.teacher_map == 1
    assert found.student_map == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)
    assert found.baseline_map == 2 / 4  # all positives last, with equal scores
    assert found.difference == pytest.approx(found.student_map - found.baseline_map)
    assert found.low <= found.difference <= found.high
    gap = found.teacher_gain
    assert gap.difference == pytest.approx(1 - found.student_map)
    assert gap.low <= gap.difference <= gap.high
    assert found.major.student == 1
    assert found.minor.student == pytest.approx((1 / 3 + 1) / 2)
    assert found.labels[0] == LabelValues(
        label="cat", positives=2, teacher=1, student=pytest.approx(0.75), baseline=0.5
    )


def test_a_student_beside_the_model_that_it_continues() -> None:
    """Cat gets better, dog worse, bee is new, and no test image has ant."""
    rng = np.random.default_rng(0)
    targets = np.zeros((400, 4), np.uint8)
    targets[:, :3] = rng.random((400, 3)) < 0.3
    mask = np.ones(targets.shape, np.bool_)
    mask[:100, 1] = False
    noise = rng.random((400, 4)).astype(np.float32)
    good, poor = (targets + weight * noise for weight in (1.2, 3.0))
    before = np.stack([poor[:, 0], good[:, 1], np.full(400, np.nan), noise[:, 3]], 1)
    after = np.stack([good[:, 0], poor[:, 1], good[:, 2], noise[:, 3]], 1)
    names = [str(number) for number in range(400)]
    truth = Truth(files=[Path(name) for name in names], targets=targets, groups=names, label_mask=mask)
    found = continued(before, after, truth, Labels(("cat", "dog", "bee", "ant")))
    assert found is not None
    cat, dog, bee, ant = found.labels
    for column, change in ((0, cat), (1, dog)):
        known = mask[:, column]
        ap = [average_precision_score(targets[known, column], scores[known, column]) for scores in (before, after)]
        assert [change.before, change.after] == pytest.approx(ap)
        assert change.difference == pytest.approx(ap[1] - ap[0])
    assert cat.low is not None
    assert dog.high is not None
    assert cat.low > 0 > dog.high
    assert (bee.before, bee.difference, bee.low) == (None, None, None)
    assert bee.after == pytest.approx(average_precision_score(targets[:, 2], after[:, 2]))
    assert (ant.positives, ant.before, ant.after, ant.low) == (0, None, None, None)
    assert found.before_map == pytest.approx((cat.before + dog.before) / 2)
    assert found.difference == pytest.approx(found.after_map - found.before_map)
    assert continued(None, after, truth, Labels(("cat", "dog", "bee", "ant"))) is None


def test_training_lays_the_loss_terms_flat(tmp_path: Path) -> None:
    history = [{"epoch": 1, "losses": {"bce": 0.5}, "select_map": 0.3, "seconds": 2.0}]
    (tmp_path / "history.json").write_text(json.dumps(history))
    assert training(tmp_path) == [{"epoch": 1, "bce": 0.5, "select_map": 0.3, "seconds": 2.0}]
