"""Work and disk space of the stages: they follow the recipe, and sizes equal what the stages store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlkd.losses import Bce, LabelMapKL, PcaMaps
from mlkd.models import frozen
from mlkd.models.config import Model
from mlkd.models.heads import Pooled
from pipeline import costs, estimates
from pipeline.recipe.schema import Recipe, load_recipe


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("scenes")


def units(recipe: Recipe, folder: Path) -> dict[str, float]:
    return {name: work.units for name, work in estimates.work(recipe, folder).items()}


def test_trainings_scale_with_epochs_and_images(recipe: Recipe, tmp_path: Path) -> None:
    before = units(recipe, tmp_path)
    training = replace(recipe.student.training, epochs=9)
    longer = units(replace(recipe, student=replace(recipe.student, training=training)), tmp_path)
    assert {name for name, count in longer.items() if count != before[name]} == {"student"}
    assert longer["student"] - before["student"] == (9 - recipe.student.training.epochs) * recipe.data.train
    larger = units(replace(recipe, data=replace(recipe.data, train=2 * recipe.data.train)), tmp_path)
    for name in ("teacher", "teacher_outputs", "student", "baseline"):
        assert larger[name] == 2 * before[name]
    more = replace(recipe, export=replace(recipe.export, engines=recipe.export.engines[:3]))
    assert units(more, tmp_path)["bench"] < before["bench"]


def test_only_the_bench_of_this_machine_profiles_layers(recipe: Recipe, tmp_path: Path) -> None:
    work = estimates.work(recipe, tmp_path, devices=1)
    seconds = {name: work[name].units * work[name].unit_s for name in ("bench", "devices")}
    assert seconds["bench"] == pytest.approx(seconds["devices"] + estimates.PROFILE_S)


def test_stored_features_are_not_computed_again(recipe: Recipe, tmp_path: Path) -> None:
    before = units(recipe, tmp_path)
    (tmp_path / "data.work/0123").mkdir(parents=True)
    (tmp_path / "data.work/0123/a.npy").touch()
    after = units(recipe, tmp_path)
    assert after["student"] == recipe.data.train * recipe.student.training.epochs < before["student"]
    assert after["baseline"] == before["baseline"]


def test_the_kind_of_work_names_the_model(recipe: Recipe, tmp_path: Path) -> None:
    work = estimates.work(recipe, tmp_path)
    assert work["student"].kind.startswith("tf_efficientnet_lite0 (4 stages) 80 px 4 frozen ")
    model = replace(recipe.student.model, image_px=128)
    larger = estimates.work(replace(recipe, student=replace(recipe.student, model=model)), tmp_path)
    changed = {name for name in work if work[name].kind != larger[name].kind}
    assert changed >= {"student", "baseline", "onnx", "engines", "bench"}
    assert "teacher" not in changed


def test_sizes_of_features_and_maps_are_those_of_the_model() -> None:
    model = Model(backbone="test_resnet", image_px=32, head=Pooled())
    cost = costs.count(model, 2, 3)
    assert costs.known(model, 2, 3) == cost
    tagger = model.build(3, pretrained=False)
    frozen.freeze(tagger, 2)
    front = frozen.cut(tagger)
    assert front is not None
    assert front.features(torch.zeros(5, 32, 32, 3, dtype=torch.uint8)).numel() == 5 * cost.features
    assert cost.parameters == sum(parameter.numel() for parameter in tagger.parameters())
    assert [channels * height * width for channels, height, width in tagger.stage_shapes()] == list(cost.maps)
    assert 0 < cost.trained_maps < len(cost.maps)
    assert costs.count(model, 0, 3).features == 0


def test_known_sizes_are_part_of_the_disk_space(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, kept = estimates.ASSUMED_LABELS, recipe.data.train * recipe.views.count
    monkeypatch.setattr(costs, "known", lambda *_: None)
    unknown = estimates.work(recipe, tmp_path)
    assert unknown["student"].work_bytes == 0
    cost = costs.ModelCost(
        parameters=10,
        multiply_adds=1,
        head_multiply_adds=1,
        features=1000,
        maps=(9, 7, 5, 3),
        trained_maps=2,
        features_limit=2 * kept * 1000,
        maps_limit=2 * kept * 8,
    )
    monkeypatch.setattr(costs, "known", lambda *_: cost)
    known = estimates.work(recipe, tmp_path)
    assert known["student"].work_bytes == known["teacher"].work_bytes == 2 * kept * 1000
    assert known["baseline"].work_bytes == 0, "it shares the student's"
    assert known["teacher_outputs"].bytes == 2 * kept * (labels + 5 + 3)
    monkeypatch.setattr(costs, "known", lambda *_: replace(cost, features_limit=1, maps_limit=1))
    larger = estimates.work(recipe, tmp_path)
    assert larger["student"].work_bytes == 0
    assert larger["teacher_outputs"].bytes == 2 * kept * labels


def test_recorded_maps_are_part_of_the_disk_space(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 1/32 of the side of the teacher's images, or at the stride of its last stage."""
    monkeypatch.setattr(costs, "known", lambda *_: None)
    labels, kept = estimates.ASSUMED_LABELS, recipe.data.train * recipe.views.count
    assert recipe.teacher is not None
    training = replace(recipe.student.training, losses=(Bce(), LabelMapKL(), PcaMaps(channels=7)))
    for stages, side in ((None, 5), (4, 10)):
        teacher = replace(recipe.teacher, model=replace(recipe.teacher.model, image_px=160, stages=stages))
        mapped = replace(recipe, teacher=teacher, student=replace(recipe.student, training=training))
        recorded = estimates.work(mapped, tmp_path)["teacher_outputs"].bytes
        assert recorded == 2 * kept * (labels + side**2 * (labels + 7))
