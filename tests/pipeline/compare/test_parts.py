"""mAP of parts of the test set, against a plain selection with scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mlkd.core.labels import Labels
from mlkd.data.prepared import Split
from pipeline.compare.parts import part_maps


def split_of(targets: np.ndarray, label_mask: np.ndarray | None = None) -> Split:
    empty = [""] * len(targets)
    labels = Labels(tuple(f"label {at}" for at in range(targets.shape[1])))
    boxes = [()] * len(targets)
    return Split(Path(), "test", labels, empty, [], empty, empty, boxes, targets.astype(np.uint8), label_mask)


def mean_ap(scores: np.ndarray, targets: np.ndarray) -> float:
    having = targets.any(0)
    return float(
        np.mean([average_precision_score(t, s) for t, s in zip(targets.T[having], scores.T[having], strict=True)])
    )


def test_parts_are_selections_of_images_and_of_labels() -> None:
    rng = np.random.default_rng(0)
    frequency = np.geomspace(0.05, 0.7, 9)
    train, test = (rng.random((size, 9)) < frequency for size in (900, 300))
    scores = rng.random((300, 9)).astype(np.float32) + 0.3 * test
    found = part_maps(scores, split_of(test), split_of(train))
    counts, order = test.sum(1), np.argsort(train.sum(0))
    assert found == {
        "at most 1 label": pytest.approx(mean_ap(scores[counts < 2], test[counts < 2])),
        "2 labels": pytest.approx(mean_ap(scores[counts == 2], test[counts == 2])),
        "3 or 4": pytest.approx(mean_ap(*(part[(counts == 3) | (counts == 4)] for part in (scores, test)))),
        "5 or more": pytest.approx(mean_ap(scores[counts > 4], test[counts > 4])),
        "rare labels": pytest.approx(mean_ap(scores[:, order[:3]], test[:, order[:3]])),
        "others": pytest.approx(mean_ap(scores[:, order[3:6]], test[:, order[3:6]])),
        "frequent labels": pytest.approx(mean_ap(scores[:, order[6:]], test[:, order[6:]])),
    }


def test_unknown_labels_count_in_no_part() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0]])
    label_mask = np.array([[True, False, True], [True, True, False], [True, True, True]])
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.7, 0.6], [0.8, 0.9, 0.3]], np.float32)
    test = split_of(targets, label_mask)
    found = part_maps(scores, test, test)
    assert found["at most 1 label"] == 1.0  # of the second image, the third label is unknown
    assert found["3 or 4"] is None
    assert found["rare labels"] is None  # the third has no known positive
