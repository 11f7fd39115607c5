from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlkd.losses import Bce, LabelKL, ReviewKD
from mlkd.training.config import Training
from scripts.speed import data, losses, metrics, training
from scripts.speed.__main__ import SUBJECTS, main
from scripts.speed.ratio import Ratio
from scripts.speed.trial import Trial
from tests.helpers import taggers

ROUNDS = [{"a": 4.0, "b": 1.0, "c": 1.0}, {"a": 10.0, "b": 1.0, "c": 4.0}, {"a": 90.0, "b": 1.0, "c": 8.0}]


def test_a_ratio_is_the_median_over_rounds_of_sums() -> None:
    ratio = Ratio(what="a to b + c", top=("a",), bottom=("b", "c"), limit=2, cause="b is slow")
    assert ratio.of(ROUNDS) == 2
    assert ratio.line(ROUNDS) == "| a to b + c | 2 | ≥ 2 | pass |"
    assert replace(ratio, limit=2.1).line(ROUNDS) == "| a to b + c | 2 | ≥ 2.1 | short: b is slow |"
    assert replace(ratio, limit=2.1, at_least=False).line(ROUNDS).endswith("| ≤ 2.1 | pass |")
    assert replace(ratio, bottom=(), at_least=False, cause="").line(ROUNDS) == "| a to b + c | 10 | ≤ 2 | short |"


def tiny_trial(folder: Path) -> Trial:
    return Trial(
        folder=folder,
        outputs=folder / "outputs",
        images=8,
        labels=3,
        student=taggers.MODEL,
        teacher=taggers.MODEL,
        training=Training(
            epochs=2,
            learning_rate=1e-3,
            batch_size=4,
            frozen_groups=2,
            trackers=(),
            losses=(Bce(), LabelKL(), ReviewKD()),
        ),
    )


@pytest.mark.slow
def test_every_ratio_has_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(losses, "BATCH", (4, 3, 8))
    monkeypatch.setattr(losses, "LARGE", (8, 5, 4))
    monkeypatch.setattr(losses, "POOLED", (4, 8))
    monkeypatch.setattr(metrics, "IMAGES", 500)
    monkeypatch.setattr(metrics, "LABELS", 3)
    monkeypatch.setattr(data, "COUNT", 2)
    monkeypatch.setattr(training, "default_trial", tiny_trial)
    for module in ("mlkd.models.feature_cache", "mlkd.teachers.record", "mlkd.training.batches"):
        monkeypatch.setattr(f"{module}.workers", lambda **_: 0)
    subjects = [name for name in SUBJECTS if name != "page"]  # it needs Chromium
    main(["--rounds", "1", "--only", *subjects])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0][2:] for line in lines] == [
        ratio.what for name in subjects for ratio in SUBJECTS[name].RATIOS
    ]
    assert all(float(line.split(" | ")[1]) > 0 for line in lines)
