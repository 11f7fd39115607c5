"""Int8 graphs are judged in exact arithmetic, and not by the noise of a few images."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from sklearn.metrics import average_precision_score

from export.backends import OnnxRuntime, saturation_probe
from export.precision.select_evaluator import SelectEvaluator, expected_map, score
from mlkd.core.metrics import mean_average_precision
from tests.helpers.saturating import PX, write_saturating_graph

Scores = NDArray[np.float32]
KEEP = 0.99


@pytest.mark.parametrize("unsigned", [True, False])
def test_a_graph_that_saturates_here_keeps_all(tmp_path: Path, unsigned: bool) -> None:
    """The brighter images are half white: pairs of products saturate there, and not where all is grey."""
    images = np.random.default_rng(0).integers(162, 168, (48, PX, PX, 3)).astype(np.uint8)
    images[::2, : PX // 2], images[::2, PX // 2 :] = 255, 110
    graph = write_saturating_graph(tmp_path / "g.onnx", unsigned=unsigned)
    defined = ReferenceEvaluator(onnx.load(graph)).run(None, {"images": images})[0]
    targets = (defined > np.median(defined, axis=0)).astype(np.uint8)
    evaluator = SelectEvaluator(images, targets, np.arange(48), defined)
    quality = evaluator.quality(score(graph, images), KEEP)
    assert (quality.select_map, quality.is_significant, quality.within_budget) == (1, True, True)
    assert quality.mean_score_drift < 1e-5
    with OnnxRuntime().open_graph(graph) as session:
        by_kernels = evaluator.quality(session(images), KEEP)
    if saturation_probe.saturates():
        assert by_kernels.select_map < 0.9
        assert not by_kernels.within_budget


def test_expected_map_is_the_mean_over_labels_drawn_from_the_probabilities() -> None:
    random = np.random.default_rng(0)
    probabilities = (random.beta(0.4, 1.2, (300, 3)) * [1, 0.5, 0.2]).astype(np.float32)
    scores = (probabilities + 0.1 * random.standard_normal(probabilities.shape)).astype(np.float32)
    drawn = []
    for _ in range(200):
        targets = random.random(probabilities.shape) < probabilities
        drawn.append([average_precision_score(targets[:, label], scores[:, label]) for label in range(3)])
    noise = np.std(drawn, axis=0).mean() / np.sqrt(len(drawn))
    assert expected_map(scores, probabilities) == pytest.approx(np.mean(drawn), abs=4 * noise)


def long_tailed(noise: float, seed: int, images: int = 150, labels: int = 20) -> tuple[SelectEvaluator, Scores, float]:
    """Few images of labels from 30 % to 1 %, scores of a good model with noise on its logits; what it keeps in truth.

    The truth is that of many more images.
    """
    random = np.random.default_rng(seed)

    def draw(count: int) -> tuple[NDArray[np.uint8], Scores, Scores]:
        prevalence = np.geomspace(0.3, 0.01, labels)
        logits = np.log(prevalence / (1 - prevalence)) - 0.5 + 1.6 * random.standard_normal((count, labels))
        scores, noisy = (
            1 / (1 + np.exp(-values)) for values in (logits, logits + noise * random.standard_normal(logits.shape))
        )
        return (
            (random.random(logits.shape) < scores).astype(np.uint8),
            scores.astype(np.float32),
            noisy.astype(np.float32),
        )

    many, float_scores, noisy = draw(10_000)
    truth = mean_average_precision(noisy, many) / mean_average_precision(float_scores, many)
    targets, float_scores, noisy = draw(images)
    return (
        SelectEvaluator(np.zeros((images, 1, 1, 3), np.uint8), targets, np.arange(images), float_scores),
        noisy,
        truth,
    )


def test_a_few_images_that_cannot_tell_start_no_search() -> None:
    """Sound graphs: their mAP on so few images is anything, and nothing is to be done."""
    kept = []
    for seed in (0, 1):
        evaluator, noisy, truth = long_tailed(0.1, seed)
        quality = evaluator.quality(noisy, KEEP)
        kept.append(quality.select_map / evaluator.float_map)
        assert truth > KEEP
        assert quality.within_budget
        assert quality.expected_map_ratio == pytest.approx(truth, abs=0.004)
    assert abs(kept[0] - kept[1]) > 0.003, "mAP of so few images tells nothing of a budget of 1 %"


def test_what_drifts_far_is_over_the_budget_even_if_labels_cannot_tell() -> None:
    evaluator, noisy, truth = long_tailed(0.8, seed=3, images=60)
    quality = evaluator.quality(noisy, 0.98)
    assert truth < 0.9
    assert not quality.is_significant, "60 images: the interval reaches from far over the budget to within it"
    assert not quality.within_budget


def test_many_images_decide_by_map_against_scores_that_drift_alone() -> None:
    """The labels say that what moved was wrong before: no loss of mAP, whatever drift expects."""
    evaluator, noisy, _ = long_tailed(0.8, seed=5, images=400, labels=4)
    right = np.clip(0.5 * noisy + evaluator.targets, 0, 1).astype(np.float32)
    quality = evaluator.quality(right, KEEP)
    assert quality.expected_map_ratio < KEEP
    assert quality.is_significant
    assert quality.within_budget
    assert 0 < quality.low < quality.select_map - evaluator.float_map < quality.high


def test_images_without_a_label_keep_all() -> None:
    nothing = np.zeros((4, 2), np.uint8)
    scores = np.full((4, 2), 0.5, np.float32)
    quality = SelectEvaluator(np.zeros((4, 1, 1, 3), np.uint8), nothing, np.arange(4), scores).quality(scores, KEEP)
    assert (quality.select_map, quality.low, quality.high, quality.within_budget) == (0, 0, 0, True)
