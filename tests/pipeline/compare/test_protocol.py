"""The stages of a comparison, and errors before any of them runs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.files import sha256_of
from mlkd.core.progress import silent
from mlkd.losses import Bce, LabelKL, LabelMapKL, PcaMaps, Rkd
from mlkd.models.weights import FileWeights
from mlkd.teachers import CheckpointTeacher, OnnxTeacher
from mlkd.training.config import Training
from mlkd.training.divergence import NonFiniteLossError
from pipeline.compare import run, runs
from pipeline.recipe.methods import METHODS, Compare, Method
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.runner.stage import Context, Pipeline, Stage
from tests.helpers import drawings

MLD = Method(name="mld", scaled=(LabelKL(),))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """With a teacher to train, label maps of it and the default methods; without data."""
    drawn = load_recipe(str(drawings.write_recipe(tmp_path / "drawn", tmp_path)))
    training = replace(drawn.student.training, losses=(*drawn.student.training.losses, LabelMapKL(), PcaMaps()))
    return replace(drawn, student=replace(drawn.student, training=training))


def trained(recipe: Recipe, folder: Path) -> list[Stage]:
    """The stages that train a student."""
    every = runs.pipeline(recipe, folder).stages
    return [stage for stage in every if stage.name.startswith(("compare/grid", "compare/final"))]


def test_every_method_is_in_the_protocol_by_default() -> None:
    assert [method.name for method in Compare().methods] == [
        "none", "none_long", "mse", "partial_softmax", "rkd", "pkt", "reviewkd", "kd", "mld", "mld_long", "mld_cd",
        "mld_cd_memory", "mld_id", "l2d", "mld_reviewkd", "mld_label_maps", "mld_pca_maps", "maps", "mld_maps",
    ]  # fmt: skip
    for method in METHODS:
        assert method.losses(2.0)[0] == Bce()
        for loss, doubled in zip(method.scaled, method.losses(2.0)[len(method.fixed) :], strict=True):
            assert doubled == replace(loss, weight=2 * loss.weight)


def test_what_is_added_to_a_method_is_added_to_it_at_its_own_share(recipe: Recipe, tmp_path: Path) -> None:
    """In the grid as well as in the runs that count; only the added losses have the share of their own grid."""
    stages = {stage.name: stage for stage in runs.pipeline(recipe, tmp_path).stages}
    names = list(stages)
    for name in ("compare/grid/l2d-0.1", "compare/final/l2d-seed3"):
        assert "compare/chosen/mld" in stages[name].reads
        assert names.index("compare/chosen/mld") < names.index(name)
        assert {"compare/scale/mld", "compare/scale/l2d"} <= set(stages[name].reads)
    l2d = next(method for method in METHODS if method.name == "l2d")
    assert [loss.weight for loss in l2d.losses(0.1, (LabelKL(weight=7),))] == [1.0, 7.0, 10.0, 100.0]
    assert not any("compare/chosen/mld" in stages[name].reads for name in ("compare/grid/kd-1", "compare/grid/mld-1"))


def run_trainings(recipe: Recipe, folder: Path, names: Sequence[str], patch: pytest.MonkeyPatch) -> list[Training]:
    """Run stages that train, with the results of other stages in `folder`; returns what they would have trained."""
    seen: list[Training] = []

    def diverge(_model: object, training: Training, *_: object, **__: object) -> None:
        seen.append(training)
        raise NonFiniteLossError

    patch.setattr(runs, "train", diverge)
    patch.setattr(runs, "features_folder", lambda context: folder)
    stages = {stage.name: stage for stage in runs.pipeline(recipe, folder).stages}
    for number, name in enumerate(names):
        out = folder / str(number)
        out.mkdir()
        stages[name].run(Context(out, {read: folder / read for read in stages[name].reads}, silent))
    return seen


def test_the_shares_of_both_grids_are_trained_with(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, share, ratio in (("mld", 3.0, 2.0), ("l2d", 1.0, 50.0)):
        for stage, facts in (("chosen", {"value": share}), ("scale", {"ratio": ratio})):
            (tmp_path / f"compare/{stage}/{name}").mkdir(parents=True)
            (tmp_path / f"compare/{stage}/{name}/{stage}.json").write_text(json.dumps(facts))
    names = "compare/grid/l2d-0.1", "compare/final/l2d-seed0"
    trainings = run_trainings(recipe, tmp_path, names, monkeypatch)
    assert [{loss.kind: (loss.weight, loss.ramp_epochs) for loss in training.losses} for training in trainings] == [
        {"bce": (1, 0), "label_kl": (1.5, 0), "class_aware": (0.2, 1), "instance_aware": (2, 1)},  # 0.1 / 50 of 100
        {"bce": (1, 0), "label_kl": (1.5, 0), "class_aware": (2, 2), "instance_aware": (20, 2)},  # 1 / 50
    ]


def test_the_learning_rate_without_a_teacher_is_searched_and_holds_for_the_longer_training(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compare/chosen/none").mkdir(parents=True)
    (tmp_path / "compare/chosen/none/chosen.json").write_text('{"value": 4.0}')
    names = [f"compare/{name}" for name in ("grid/none-0.25", "final/none-seed1", "final/none_long-seed0")]
    trainings = run_trainings(replace(recipe, compare=Compare(epochs=10)), tmp_path, names, monkeypatch)
    rate = recipe.student.training.learning_rate
    assert [(training.learning_rate, training.epochs) for training in trainings] == [
        (rate / 4, 5),
        (4 * rate, 10),
        (4 * rate, 12),
    ]


def test_ramps_are_a_share_of_the_training(recipe: Recipe, tmp_path: Path) -> None:
    shares = {stage.name: stage.config["ramps"] for stage in trained(recipe, tmp_path)}
    assert shares["compare/grid/reviewkd-1"] == 1 / 2
    assert shares["compare/final/reviewkd-seed0"] == 1


def test_only_losses_on_stage_maps_read_the_teacher(recipe: Recipe, tmp_path: Path) -> None:
    reads = {stage.name: stage.reads for stage in runs.pipeline(recipe, tmp_path).stages}
    assert "teacher" in reads["compare/grid/reviewkd-1"]
    assert reads["compare/grid/kd-1"] == ("data", "teacher_outputs", "compare/scale/kd")
    assert reads["compare/final/none-seed4"] == ("data", "teacher_outputs", "compare/chosen/none")


def test_every_training_has_a_schedule_for_its_own_epochs(recipe: Recipe, tmp_path: Path) -> None:
    stops = replace(recipe, student=replace(recipe.student, training=replace(recipe.student.training, stop_epoch=1)))
    lasts = {stage.name: stage.config["training"].last_epoch for stage in trained(stops, tmp_path)}
    assert lasts["compare/grid/kd-1"] == 1
    assert lasts["compare/final/kd-seed0"] == 2
    assert [stage.config for stage in trained(stops, tmp_path)] == [stage.config for stage in trained(recipe, tmp_path)]


def test_identity_of_every_training_includes_a_file_of_initial_weights(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "first.safetensors"
    file.write_bytes(b"weights")
    model = replace(recipe.student.model, weights=FileWeights(path=file))
    given = trained(replace(recipe, student=replace(recipe.student, model=model)), tmp_path)
    assert [stage.outside() for stage in given] == [{"weights_file": sha256_of(file)}] * (17 * 5 + 7 * 5 + 12 * 3)
    assert {str(stage.outside()) for stage in trained(recipe, tmp_path)} == {"{}"}


def test_a_forced_stage_runs_again_once(tmp_path: Path) -> None:
    """Even though every seed runs the pipeline again."""
    ran = []
    pipeline = Pipeline((Stage(name="teacher_outputs", run=ran.append), Stage(name="one", run=ran.append)), tmp_path)
    pipeline.run()
    pipeline = replace(pipeline, force=frozenset({"teacher_outputs", "one"}))
    for targets in ([], ["one"], ["one"]):
        pipeline = run._run(pipeline, targets, lambda _: silent)
    assert [context.out.name for context in ran[2:]] == ["teacher_outputs.partial", "one.partial"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["mdl"]}, r"^--methods: expected some of none, .*, got 'mdl'"),
        ({"seeds": 6}, r"^--seeds: expected 1\.\.5, got 6"),
        ({"force": ["compare/grid/mld-x2"]}, r"^--force: expected one of "),
    ],
)
def test_options_outside_the_protocol_are_refused(
    recipe: Recipe, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run.compare(recipe, tmp_path / "run", lambda _: silent, **options)


def test_methods_that_need_more_than_the_teachers_give_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    training = replace(recipe.student.training, losses=(Bce(),))
    onnx = replace(
        recipe,
        teacher=None,
        ready_teachers=(OnnxTeacher(path=tmp_path / "a.onnx", image_px=40),),
        student=replace(recipe.student, training=training),
    )
    message = (
        r"^methods: expected losses on logits only, as ONNX teachers give nothing else, got rkd \(rkd\), pkt \(pkt\), "
        r"reviewkd \(reviewkd\), mld_cd \(class_aware\), mld_cd_memory \(class_aware\), mld_id \(instance_aware\), "
        r"l2d \(class_aware, instance_aware\), mld_reviewkd \(reviewkd\), mld_label_maps \(label_map_kl\), "
        r"mld_pca_maps \(pca_maps\), maps \(label_map_kl, pca_maps\), mld_maps \(label_map_kl, pca_maps\); select "
        r"others with --methods"
    )
    with pytest.raises(ValueError, match=message):
        run.compare(onnx, tmp_path / "run", lambda _: silent)
    assert not (tmp_path / "run").exists()
    without = replace(recipe, student=replace(recipe.student, training=training))
    unrecorded = r"recorded for the student's own losses, got mld_label_maps, mld_pca_maps, maps, mld_maps; add their"
    with pytest.raises(ValueError, match=unrecorded):
        run._methods(without, None)
    assert run._methods(without, ["none", "reviewkd"])
    chosen = run._methods(onnx, ["none", "mse", "partial_softmax", "kd", "mld"])
    assert len(chosen) == 5
    off = Method(name="off", scaled=(replace(Rkd(), weight=0.0),))
    assert run._methods(replace(onnx, compare=Compare(methods=(off,))), None) == [off]
    more = (*onnx.ready_teachers, CheckpointTeacher(path=tmp_path / "model"))
    both = replace(onnx, ready_teachers=more, student=recipe.student)
    assert len(run._methods(both, None)) == len(run._methods(recipe, None)) == len(METHODS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (partial(Compare, seeds=0), "compare.seeds: expected 1..1000, got 0"),
        (partial(Compare, methods=(Method(name="a"), Method(name="a"))), "expected at least one and distinct names"),
        (partial(Method, name="a/b"), "name: expected small letters, digits and _, got 'a/b'"),
        (partial(Method, name="a", shares=(1.0, 1.0, 2.0)), r"shares: expected different numbers above 0"),
        (
            partial(Compare, methods=(Method(name="a", base="b"),)),
            r"a: base: expected an earlier .* \(none yet\), got 'b'",
        ),
        (
            partial(Compare, methods=(MLD, Method(name="a", base="mld", scaled=MLD.scaled))),
            "a: expected each kind of loss once",
        ),
        (partial(Method, name="a", scaled=(Rkd(),), rates=(1.0,)), "a: expected shares and no rates for scaled losses"),
        (partial(Method, name="a", length=0.0), "length: expected different numbers above 0"),
        (partial(Method, name="a", seeds=0), "seeds: expected at least 1, got 0"),
        (partial(Compare, wider={"mdl": (3.0,)}), "compare.wider: expected names of methods with a grid, got mdl"),
        (partial(Method, name="a", scaled=(Bce(),)), r"method a: expected at least one loss and each kind once"),
    ],
)
def test_a_protocol_with_a_fault_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change()
