"""What the manifest says of an engine's scores of tune."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from mlkd.core.labels import Labels
from mlkd.core.thresholds import Thresholds, expected, tune
from mlkd.data.prepared import Split
from pipeline.recipe.faults import ConfigError
from pipeline.recipe.schema import load_recipe
from pipeline.validation import tuned
from tests.helpers import drawings

IMAGES = 60


@pytest.fixture
def split() -> Split:
    """Labels of which the second is hard and the third has no positive; five groups."""
    targets = np.zeros((IMAGES, 3), dtype=np.uint8)
    targets[::3, 0], targets[::4, 1] = 1, 1
    names = tuple(str(row) for row in range(IMAGES))
    return Split(
        folder=Path(),
        name="tune",
        labels=Labels(("easy", "hard", "absent")),
        names=names,
        files=tuple(map(Path, names)),
        groups=tuple(str(row // 12) for row in range(IMAGES)),
        hashes=names,
        boxes=((),) * IMAGES,
        targets=targets,
    )


@pytest.fixture
def scores(split: Split) -> np.ndarray:
    drawn = np.random.default_rng(0).random((IMAGES, 3)) * 0.6
    drawn[:, 0] += 0.3 * split.targets[:, 0]
    return drawn.astype(np.float32)


def test_what_nobody_can_say_is_none_and_the_rest_goes_to_json(split: Split, scores: np.ndarray) -> None:
    told = tuned("any", split, scores, Thresholds())
    assert (told["expected_recall"][2], told["tune_ap"][2]) == (None, None)
    assert told["thresholds"] == tuple(tune(scores, split.targets, Thresholds()).tolist())
    precision, recall = expected(scores, split.targets, Thresholds(), groups=split.groups)
    assert told["expected_precision"] == tuple(precision.tolist())
    assert told["expected_recall"][:2] == tuple(recall[:2].tolist())
    assert told["tune_map"] == pytest.approx(np.mean(told["tune_ap"][:2]))
    assert json.loads(json.dumps(told, allow_nan=False))["tune_map"] == told["tune_map"]


def test_folds_keep_the_groups_of_the_split(split: Split, scores: np.ndarray) -> None:
    told = tuned("any", split, scores, Thresholds())
    alone = expected(scores, split.targets, Thresholds())[0]
    assert told["expected_precision"] != tuple(alone.tolist())


def test_unknown_decisions_are_left_out(split: Split, scores: np.ndarray) -> None:
    label_mask = np.ones(split.targets.shape, dtype=bool)
    label_mask[:, 1] = split.targets[:, 1] == 0
    partly = Split(**{**vars(split), "label_mask": label_mask})
    assert tuned("any", partly, scores, Thresholds())["tune_ap"][1] is None


def test_a_precision_out_of_reach_is_said_with_its_labels(
    split: Split, scores: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        told = tuned("fast", split, scores, Thresholds(aim="precision", precision=0.9))
    assert caplog.messages == [
        "fast: 1 of 3 labels miss precision 0.9 on tune. Labels with positives get their most precise threshold, "
        "labels without positives the threshold of all labels pooled: hard"
    ]
    assert told["expected_precision"][1] < 0.9
    caplog.clear()
    tuned("fast", split, scores, Thresholds())
    assert caplog.messages == []
    tuned("fast", split, scores, Thresholds(aim="precision", precision=0.05))
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["absent"]  # each of its tags is wrong


def test_the_aim_of_a_recipe(tmp_path: Path) -> None:
    recipe = drawings.write_recipe(tmp_path, tmp_path)
    text = recipe.read_text()
    recipe.write_text(text.replace("export:\n", "export:\n  thresholds: {aim: precision, precision: 0.8, prior: 10}\n"))
    assert load_recipe(str(recipe)).export.thresholds == Thresholds(aim="precision", precision=0.8, prior=10)
    recipe.write_text(text.replace("export:\n", "export:\n  thresholds: {precision: 0.8}\n"))
    with pytest.raises(ConfigError, match=r"export.thresholds.precision: expected none with aim f1, got 0.8"):
        load_recipe(str(recipe))
