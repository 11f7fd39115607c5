"""Differences counted by hand and by scikit-learn, and gates that close."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from export.onnx.parity import Gates, LabelLoss, Parity, ParityLimits, check, differences
from mlkd.core.intervals import difference_interval

REFERENCE = np.array([[0.9, 0.2], [0.6, 0.7], [0.1, 0.4], [0.3, 0.8]], dtype=np.float32)
TARGETS = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=np.uint8)
THRESHOLDS = np.array([0.5, 0.5], dtype=np.float32)
EACH = {"labels": ("cat", "dog"), "groups": np.arange(4)}
NOTHING = Parity(0, 0, 0, 0, 0, 0, ())


def worse() -> np.ndarray[Any, Any]:
    """A positive of label 0 falls below its threshold and below the negative at 0.3."""
    candidate = REFERENCE.copy()
    candidate[1, 0] = 0.2
    return candidate


def drawn(labels: int = 14) -> tuple[np.ndarray[Any, Any], ...]:
    """Scores of two nets on 240 images in 40 groups; the second is worse, the more so the higher the label."""
    rng = np.random.default_rng(3)
    groups = np.arange(240) // 6
    targets = (rng.random((240, labels)) < 0.25).astype(np.uint8)
    reference = np.clip(0.4 * targets + 0.6 * rng.random(targets.shape), 0, 1).astype(np.float32)
    noise = rng.random(targets.shape) * np.linspace(0, 0.6, labels)
    return reference, np.clip(reference - targets * noise, 0, 1).astype(np.float32), targets, groups


def test_by_hand() -> None:
    parity = differences(REFERENCE, worse(), TARGETS, THRESHOLDS, **EACH)
    assert parity.max_difference == pytest.approx(0.4)
    assert parity.mean_difference == pytest.approx(0.4 / 8)
    assert parity.flipped == 1 / 8
    # label 0: positives at ranks 1 and 3, AP = (1 + 2/3) / 2; label 1 stays at 1
    assert parity.delta_map == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2 - 1)
    assert parity.hurt == (LabelLoss("cat", 1.0, pytest.approx((1 + 2 / 3) / 2), 2),)


def test_equal_scores_differ_by_nothing() -> None:
    assert differences(REFERENCE, REFERENCE, TARGETS, THRESHOLDS, **EACH) == NOTHING


def test_decisions_are_those_at_the_references_thresholds() -> None:
    candidate = REFERENCE - np.float32(0.05)
    for threshold, flipped in ((0.5, 0), (0.58, 1 / 8), (0.0, 0)):
        thresholds = np.full(2, threshold, dtype=np.float32)
        assert differences(REFERENCE, candidate, TARGETS, thresholds, **EACH).flipped == flipped


def test_the_interval_is_that_of_a_paired_difference_in_groups() -> None:
    reference, candidate, targets, groups = drawn(4)
    parity = differences(reference, candidate, targets, np.full(4, 0.5, np.float32), labels="abcd", groups=groups)
    alone = difference_interval(candidate, reference, targets, np.arange(len(targets)))
    assert parity.delta_map == pytest.approx(
        average_precision_score(targets, candidate) - average_precision_score(targets, reference)
    )
    expected = difference_interval(candidate, reference, targets, groups)
    assert (parity.low, parity.high) == (expected.low, expected.high)
    assert (parity.low, parity.high) != pytest.approx((alone.low, alone.high))
    assert parity.low < parity.delta_map < parity.high < 0


def test_the_ten_labels_hurt_most_come_in_order() -> None:
    reference, candidate, targets, groups = drawn()
    targets[:, 3] = 0  # without a positive it counts nowhere
    candidate[:, 13] = targets[:, 13]  # and one that got better is not hurt
    names = [f"label {at}" for at in range(14)]
    parity = differences(reference, candidate, targets, np.full(14, 0.5, np.float32), labels=names, groups=groups)
    expected = []
    for at in (at for at in range(14) if at not in (3, 13)):
        aps = [average_precision_score(targets[:, at], scores[:, at]) for scores in (reference, candidate)]
        expected.append((names[at], *aps, int(targets[:, at].sum())))
    expected = sorted((one for one in expected if one[2] < one[1]), key=lambda one: one[2] - one[1])[:10]
    assert len(expected) == 10
    assert [loss.label for loss in parity.hurt] == [one[0] for one in expected]
    assert [loss.positives for loss in parity.hurt] == [one[3] for one in expected]
    found = [[loss.float_ap, loss.ap] for loss in parity.hurt]
    np.testing.assert_allclose(found, [one[1:3] for one in expected], atol=1e-9)


def test_what_nobody_knows_moves_no_map_and_is_no_positive() -> None:
    label_mask = np.ones(TARGETS.shape, dtype=bool)
    label_mask[1, 0] = False
    parity = differences(REFERENCE, worse(), TARGETS, THRESHOLDS, label_mask=label_mask, **EACH)
    assert (parity.delta_map, parity.low, parity.high, parity.hurt) == (0, 0, 0, ())
    assert parity.flipped == 1 / 8
    label_mask[1, 0], label_mask[0, 0] = True, False
    assert differences(REFERENCE, worse(), TARGETS, THRESHOLDS, label_mask=label_mask, **EACH).hurt[0].positives == 1


def test_labels_without_positives_leave_plain_json() -> None:
    targets = TARGETS.copy()
    targets[:, 1] = 0
    parity = differences(REFERENCE, worse(), targets, THRESHOLDS, **EACH)
    assert parity.delta_map == pytest.approx((1 + 2 / 3) / 2 - 1)
    assert json.loads(json.dumps(asdict(parity), allow_nan=False))["hurt"][0]["label"] == "cat"


@pytest.mark.parametrize("label_mask", [None, TARGETS == 0])
def test_without_a_positive_there_is_no_parity(label_mask: np.ndarray[Any, Any] | None) -> None:
    targets = np.zeros_like(TARGETS) if label_mask is None else TARGETS
    with pytest.raises(ValueError, match="expected real images with labels, got 4 without a known positive"):
        differences(REFERENCE, REFERENCE, targets, THRESHOLDS, label_mask=label_mask, **EACH)


@pytest.mark.parametrize(
    ("limit", "value"), [("max_difference", 0.3), ("mean_difference", 0.03), ("flipped", 0.1), ("map_loss", 0.01)]
)
def test_over_a_limit_is_an_error_that_names_it_and_who_is_hurt(limit: str, value: float) -> None:
    hurt = tuple(LabelLoss(name, 0.5, 0.25, 9) for name in ("drum", "kite", "harp", "owl"))
    parity = Parity(0.4, 0.05, 0.125, -0.08, -0.1, -0.06, hurt)
    with pytest.raises(ValueError, match=rf"parity of int8: {limit}: expected at most {value}") as caught:
        check(parity, ParityLimits(**{limit: value}), "int8")
    assert "drum (AP 0.500 to 0.250), kite" in str(caught.value)
    assert "owl" not in str(caught.value)
    assert "raise" not in str(caught.value)
    check(parity, ParityLimits(**{limit: 0.5}), "int8")


def test_everything_over_is_listed_at_once() -> None:
    with pytest.raises(ValueError, match=r"max_difference.*flipped.*map_loss.*worst labels: none"):
        check(Parity(0.4, 0.05, 0.125, -0.08, -0.1, -0.06, ()), Gates().fp32, "a")


def test_a_better_map_is_no_loss() -> None:
    check(replace(NOTHING, delta_map=0.2, high=0.3), ParityLimits(map_loss=0.0), "a")


def test_a_loss_that_the_interval_does_not_show_is_none() -> None:
    """200 images show a loss of 2.4 points, or a gain of 0.3."""
    check(replace(NOTHING, delta_map=-0.024, low=-0.051, high=0.003), Gates().int8, "a")
    with pytest.raises(ValueError, match=r"map_loss: expected at most 0.01, got 0.012"):
        check(replace(NOTHING, delta_map=-0.024, low=-0.036, high=-0.012), Gates().int8, "a")


@pytest.mark.parametrize(
    ("precision", "compute", "gate"),
    [
        ("fp32", "f32", "fp32"),
        ("fp32", "bf16", "bf16"),
        ("fp32", "f16", "fp16"),
        ("fp16", "as in the graph", "fp16"),
        ("fp16", "bf16", "bf16"),
        ("int8", "f32", "int8"),
        ("int8_x86", "int8", "int8"),
        ("int8_openvino", "bf16", "int8"),
    ],
)
def test_a_gate_is_that_of_the_coarsest_products(precision: str, compute: str, gate: str) -> None:
    gates = Gates(**{name: ParityLimits(flipped=at / 10) for at, name in enumerate(("fp32", "bf16", "fp16", "int8"))})
    assert gates.of(precision, compute) is getattr(gates, gate)


def test_gates_widen_with_coarser_products() -> None:
    gates = Gates()
    losses = [gate.map_loss for gate in (gates.fp32, gates.fp16, gates.bf16, gates.int8)]
    assert losses == sorted(losses)
    assert None not in losses


def test_scores_that_are_no_numbers() -> None:
    broken = REFERENCE.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="candidate: expected finite scores"):
        differences(REFERENCE, broken, TARGETS, THRESHOLDS, **EACH)


@pytest.mark.parametrize(
    ("name", "value"), [("labels", ("cat",)), ("groups", np.arange(3)), ("thresholds", np.zeros(3, np.float32))]
)
def test_shapes_that_do_not_fit_are_named(name: str, value: Any) -> None:
    given = {"thresholds": THRESHOLDS, **EACH, name: value}
    with pytest.raises(ValueError, match=rf"parity: {name}: expected \(\d,\) for targets \(4, 2\), got \(\d,\)"):
        differences(REFERENCE, REFERENCE, TARGETS, **given)


def test_limits_outside_the_unit() -> None:
    with pytest.raises(ValueError, match=r"parity.flipped: expected 0..1 or none, got 2"):
        ParityLimits(flipped=2)


def test_no_images() -> None:
    with pytest.raises(ValueError, match="at least 1 image"):
        differences(REFERENCE[:0], REFERENCE[:0], TARGETS[:0], THRESHOLDS, labels=("cat", "dog"), groups=())
