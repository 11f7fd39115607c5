"""Writes a recipe that continues a finished one with corrected labels: models from its weights, few epochs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlkd.core.files import write_file
from mlkd.core.printable import printable
from mlkd.core.progress import silent
from mlkd.data.base import Listing
from mlkd.data.sources.corrected import Corrected
from mlkd.models.checkpoint import BEST, read_facts
from mlkd.training.config import Training
from pipeline.declarations import distill
from pipeline.init.draft import MARK, check_out
from pipeline.init.kept_tables import kept_tables
from pipeline.init.options import as_options
from pipeline.recipe.extends import read_tree
from pipeline.recipe.find import find_recipe
from pipeline.recipe.keys import keys
from pipeline.recipe.schema import Recipe, Trained, check, load_recipe, read_recipe
from pipeline.runner import result
from pipeline.runner.identity import changes, plain

RUNS = Path("runs")
EPOCHS, RATE = 0.25, 0.3  # shares of the finished recipe's
Shares = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for."""

    recipe: str
    tables: tuple[Path, ...] = ()
    new_labels: tuple[str, ...] = ()
    root: Path | None = None
    skip_bad_rows: bool = False


def correct(request: Request, out: Path, *, force: bool = False, look: bool = False) -> None:
    """Say what the corrections change, and write the recipe to `out`.  Raises ValueError."""
    if not look:
        check_out(out, force=force)
    recipe, folder = _finished(request.recipe)
    if not request.tables:
        raise ValueError("corrections: expected a table with verdicts, got none; pass --corrections FILE")
    if request.new_labels and recipe.ready_teachers:
        raise ValueError(
            f"new_labels: expected none, as the pretrained teachers of {request.recipe} lack them, got "
            f"{', '.join(request.new_labels)}; train a teacher instead of ready_teachers"
        )
    source = Corrected(
        base=folder / "data",
        tables=request.tables,
        root=request.root,
        new_labels=request.new_labels,
        skip_bad_rows=request.skip_bad_rows,
    )
    try:
        listing = source.read(Path(), silent)
    except ValueError as cause:
        message = str(cause).replace("set table: ", "pass --corrections ")
        raise ValueError(as_options(message)) from cause
    _print_changes(request, listing)
    for text in _changed_since(recipe, folder):
        print(f"warning: {request.recipe} has changed since distill: {text}; run distill with it, or undo the change")
    if look:
        print("nothing was written; run without --look to write the recipe")
        return
    copies = kept_tables(request.tables, request.root, out)
    text = recipe_text(recipe, request, replace(source, tables=tuple(copies), root=None), folder)
    check(read_recipe(text, out))
    for file, rows in copies.items():
        write_file(file, rows)
    write_file(out, text)
    print(
        f"wrote {out} and the judged rows in {', '.join(file.name for file in copies)}; next: python -m pipeline plan "
        f"--recipe {out}; then distill, export and bench with --recipe {out}"
    )


def _print_changes(request: Request, listing: Listing) -> None:
    counts = ", ".join(f"{split} {len(images)}" for split, images in listing.splits.items())
    print(
        f"{request.recipe}: {len(listing.labels)} labels in its order, {len(request.new_labels)} of them new; {counts}"
    )
    for finding in listing.findings:
        print(printable(f"{'' if finding.note else 'warning: '}{finding.claim} {finding.numbers}"))


def _finished(name: str) -> tuple[Recipe, Path]:
    """The recipe, and the folder of its results.  Raises ValueError if a model was not trained."""
    recipe = load_recipe(name)
    folder = (RUNS / recipe.name).absolute()
    for stage in ("data", *(["teacher"] if recipe.teacher else []), "student"):
        if result.read(folder / stage) is None:
            raise ValueError(
                f"from: expected a finished recipe, got no stage {stage} in {folder}; run distill with {name} first"
            )
    return recipe, folder


def _changed_since(recipe: Recipe, folder: Path) -> list[str]:
    """What the recipe says of data and models that its results do not have; a search has chosen another student."""
    stages = [distill.data(recipe, folder)]
    stages += [distill.teacher(recipe, recipe.teacher)] if recipe.teacher else []
    stages += [] if recipe.search else [distill.student(recipe)]
    texts = []
    for stage in stages:
        found = result.read(folder / stage.name)
        old, new = found.identity["config"] if found else None, plain(stage.config)
        texts += [f"{stage.name}: {changes({'config': old}, {'config': new})}"] if old != new else []
    return texts


def recipe_text(recipe: Recipe, request: Request, source: Corrected, folder: Path) -> str:
    """Format the recipe as YAML; paths and names are quoted as JSON, which is valid YAML."""
    path = find_recipe(request.recipe)
    tree = read_tree(path)
    is_file = path == Path(request.recipe)
    shares = (1.0, 1.0) if isinstance(recipe.data, Corrected) else (EPOCHS, RATE)  # once, not for each continuation
    data = {key.name: getattr(source, key.name) for key in keys(Corrected)}  # all: the base may have some of them
    data["tables"] = [file.absolute() for file in source.tables]
    lines = [
        f"# {recipe.name} with corrections; {MARK}, change it as you like.",
        f"extends: {_json(path.absolute() if is_file else request.recipe)}",
        *([f"epochs: {_few(recipe.epochs, shares)}  # few, as training continues"] if recipe.epochs else []),
        "data:",
        *(f"  {key}: {_json(value)}" for key, value in data.items()),
        *(["search: null  # the student that it found"] if recipe.search else []),
    ]
    if recipe.teacher:
        lines += _continued("teacher", recipe.teacher, tree["teacher"]["training"], folder, shares)
    lines += _continued("student", recipe.student, tree["student"]["training"], folder, shares)
    if "baseline" in tree:
        lines += [f"baseline: {_training(recipe.baseline, tree['baseline'], shares)}"]
    return "\n".join(lines) + "\n"


def _continued(name: str, trained: Trained, given: dict[str, Any], folder: Path, shares: Shares) -> list[str]:
    """The lines of teacher or student: its finished model, and a shorter training with a lower rate."""
    file = folder / name / BEST
    first = trained.model.weights.licence(trained.model.backbone) or f"{trained.model.backbone}, from random weights"
    weights = {"kind": "trained", "path": file, "first": first}
    model = read_facts(file)["model"]
    return [
        f"{name}:",
        "  model:",
        *(f"    {key}: {_json(model.get(key))}" for key in ("backbone", "image_px", "stages", "expansion", "head")),
        f"    weights: {_json(weights)}",
        f"  training: {_training(trained.training, given, shares)}",
    ]


def _training(training: Training, given: dict[str, Any], shares: Shares) -> str:
    epochs = {"epochs": _few(training.epochs, shares)} if "epochs" in given else {}
    return _json({**epochs, "learning_rate": float(f"{shares[1] * training.learning_rate:.2g}")})


def _few(epochs: int, shares: Shares) -> int:
    return max(2, math.ceil(shares[0] * epochs))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
