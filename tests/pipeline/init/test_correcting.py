"""The recipe that `init --from` writes, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.labels import Labels
from mlkd.core.progress import silent
from mlkd.data import Corrected, Folder
from mlkd.data.preparation import prepare
from mlkd.models import checkpoint
from mlkd.models.weights import TrainedWeights
from pipeline.declarations import distill
from pipeline.init.correcting import Request, recipe_text
from pipeline.recipe.schema import load_recipe, read_recipe
from pipeline.runner.identity import plain
from pipeline.runner.result import FINISHED
from tests.helpers import drawings, layouts

FROM = ("--from", "tiny.yaml")


@pytest.fixture
def finished(tmp_path: Path, init: Any) -> Path:
    """The folder of the recipe tiny.yaml, with the results that a correction reads."""
    layouts.folder(tmp_path / "photos", "tags", 60)
    file = drawings.write_recipe(tmp_path, tmp_path)
    prepare(Folder(root=tmp_path / "photos"), tmp_path / "runs/tiny/data", [32])
    recipe, labels = load_recipe(str(file)), Labels(layouts.TAGS)
    for name, model in (("teacher", recipe.teacher.model), ("student", recipe.student.model)):
        (tmp_path / f"runs/tiny/{name}").mkdir()
        tensors = model.build(len(labels), pretrained=False).state_dict()
        checkpoint.save_model(tmp_path / f"runs/tiny/{name}" / checkpoint.BEST, tensors, model, labels, {})
    for stage in (distill.data(recipe, tmp_path), distill.teacher(recipe, recipe.teacher), distill.student(recipe)):
        facts = {"identity": {"config": plain(stage.config)}, "content": "", "seconds": 0, "files": {}}
        (tmp_path / f"runs/tiny/{stage.name}" / FINISHED).write_text(json.dumps(facts))
    return tmp_path


def write_tags(file: Path, *rows: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(["image,tags,scores,error,doubtful,verdict", *rows]) + "\n")
    return file


def test_corrections_outlive_their_table(finished: Path, init: Any) -> None:
    layouts.draw(finished / "new/=x.png", 100)
    judged = ['photos/images/0.png,"cat;""owl""",,,,ok', "photos/images/1.png,!cat,,,,partial"]
    table = write_tags(finished / "tags.csv", *judged, "photos/images/2.png,cat,,,,")
    more = write_tags(finished / "new/tags.csv", "'=x.png,?owl,,,,ok")
    said = init.accept(Path("second.yaml"), *FROM, "--corrections", str(table), "--corrections", "new/tags.csv")
    assert "wrote second.yaml and the judged rows in second.corrections1.csv, second.corrections2.csv; next:" in said
    listing = Corrected(base=finished / "runs/tiny/data", tables=(table, more)).read(finished, silent)
    source = load_recipe("second.yaml").data
    assert isinstance(source, Corrected)
    assert source.tables == tuple(finished / f"second.corrections{number}.csv" for number in (1, 2))
    fingerprint = source.fingerprint()
    write_tags(table, "photos/images/0.png,cat,,,,")
    more.unlink()
    again = source.read(finished, silent)
    assert again.splits == listing.splits
    assert source.fingerprint() == fingerprint


def test_a_recipe_that_changed_since_its_results_is_a_warning(finished: Path, init: Any) -> None:
    words = (*FROM, "--look", "--corrections", str(write_tags(finished / "tags.csv", "photos/images/0.png,cat,,,,ok")))
    assert "warning" not in init.accept(Path("second.yaml"), *words)
    file = finished / "tiny.yaml"
    file.write_text(file.read_text().replace("epochs: 2", "epochs: 7"))
    said = init.accept(Path("second.yaml"), *words)
    assert "warning: tiny.yaml has changed since distill: student: training.epochs: 2 → 7; run distill with it" in said


def test_kept_corrections_replace_only_those_of_their_recipe(finished: Path, init: Any) -> None:
    words = (*FROM, "--corrections", str(write_tags(finished / "tags.csv", "photos/images/0.png,cat,,,,ok")))
    kept = finished / "second.corrections1.csv"
    kept.write_text("mine")
    assert f"out: expected no {kept}, where the corrections of second.yaml" in init.refuse(Path("second.yaml"), *words)
    assert kept.read_text() == "mine"
    kept.unlink()
    init.accept(Path("second.yaml"), *words)
    init.accept(Path("second.yaml"), "--force", *FROM, "--corrections", kept.name)
    assert kept.read_text().splitlines()[1:] == [f"{finished}/photos/images/0.png,cat,ok"]


def test_tables_that_correct_nothing_or_cannot_be_read_are_refused(finished: Path, init: Any) -> None:
    for rows in ([], ["photos/images/0.png,cat,,,,"]):
        table = write_tags(finished / "tags.csv", *rows)
        refused = init.refuse(Path("second.yaml"), *FROM, "--corrections", str(table))
        assert f"tags.csv: expected rows with a verdict, got none in {len(rows)}; write ok" in refused
    (finished / "tags.csv").write_bytes(b"image,tags,verdict\n\xe4.png,cat,ok\n")
    refused = init.refuse(Path("second.yaml"), *FROM, "--corrections", "tags.csv")
    assert "line 2: expected text in UTF-8, got byte 0xe4; save a copy as UTF-8 and pass --corrections COPY" in refused
    assert "corrections: expected a table with verdicts, got none; pass" in init.refuse(Path("second.yaml"), *FROM)
    assert "got none; pass --corrections FILE" in init.refuse(Path("second.yaml"), *FROM, "--look")


def test_the_recipe_has_to_be_finished(tmp_path: Path, init: Any) -> None:
    drawings.write_recipe(tmp_path, tmp_path)
    said = init.refuse(Path("new.yaml"), "--from", "tiny.yaml")
    assert f"from: expected a finished recipe, got no stage data in {tmp_path}/runs/tiny; run distill with tiny" in said
    assert "recipe: expected a YAML file, got nothing at" in init.refuse(Path("new.yaml"), "--from", "other.yaml")
    assert not Path("new.yaml").exists()


def test_options_that_do_not_belong_together(tmp_path: Path, init: Any) -> None:
    drawings.write_recipe(tmp_path, tmp_path)
    refused = init.refuse(Path("new.yaml"), "--from", "tiny.yaml", "--separator", "|", "--out", "b.yaml")
    assert "from: expected only the recipe to write and options of corrections, got --separator, --out" in refused
    assert "corrections: expected --from with the finished recipe" in init.refuse(tmp_path, "--corrections", "a.csv")


def test_only_recipes_of_init_are_replaced(tmp_path: Path, init: Any) -> None:
    drawings.write_recipe(tmp_path, tmp_path)
    assert "expected a new file, got tiny.yaml, which exists" in init.refuse(Path("tiny.yaml"), "--from", "tiny.yaml")
    refused = init.refuse(Path("tiny.yaml"), "--from", "tiny.yaml", "--force")
    assert "expected a recipe that this command wrote" in refused


@pytest.mark.parametrize("rounds", [1, 2])
def test_models_continue_with_few_epochs_and_a_low_rate(tmp_path: Path, rounds: int) -> None:
    file = drawings.write_recipe(tmp_path, tmp_path)
    text = file.read_text().replace("epochs: 2", "save_steps: 9").replace("baseline: ", "baseline_: ")
    search = "search: {max_mb: 1, students: {stages: [3, 4]}}\n"
    file.write_text("\n".join(line for line in f"epochs: 9\n{search}{text}".splitlines() if "baseline_" not in line))
    for _ in range(rounds):
        recipe = load_recipe(str(file))
        found = replace(recipe.student.model, stages=3)  # of the search
        for name, model in (("teacher", recipe.teacher.model), ("student", found)):
            (tmp_path / name).mkdir(exist_ok=True)
            tensors = model.build(3, pretrained=False).state_dict()
            checkpoint.save_model(tmp_path / name / checkpoint.BEST, tensors, model, Labels(("a", "b", "c")), {})
        source = Corrected(base=tmp_path / "data", tables=(Path("a.csv"),), new_labels=("bee",))
        written = recipe_text(recipe, Request(recipe=str(file)), source, tmp_path)
        file = tmp_path / f"{file.stem}2.yaml"
        file.write_text(written)
    again = read_recipe(written, file)
    assert again.data == replace(source, tables=(Path("a.csv").absolute(),))
    assert again.search is None
    assert again.student.model.stages == 3
    for trained in (again.teacher, again.student):
        assert isinstance(trained.model.weights, TrainedWeights)
        assert trained.model.weights.first == "test_resnet, from random weights"
        assert (trained.training.epochs, trained.training.learning_rate) == (3, 9e-4)
        assert trained.training.batch_size == 16
    assert (again.baseline.epochs, again.baseline.learning_rate) == (3, 9e-4)
