"""Recipes that extend another one with `extends: NAME|FILE`, and defaults that depend on other keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlkd.losses import Asymmetric, Bce
from pipeline.recipe.faults import ConfigError, Fault
from pipeline.recipe.find import find_beside
from pipeline.recipe.yaml_file import read_yaml

KEY = "extends"
FORMER = ("minutes", "minutes_an_epoch")  # keys of earlier versions without effect: estimates are measured


def read_tree(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file and merge its keys into those of the recipe that it extends; `below` are files that extend this one.

    Mappings are merged key by key; lists, values, and mappings of another `kind` replace those of the base.
    Raises ConfigError.
    """
    return extended(read_yaml(path), path, below)


def extended(tree: Any, path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Merge the content of the file `path` into the recipe that it extends, as `read_tree` does."""
    if not isinstance(tree, dict):
        raise ConfigError(path, [Fault("", "expected keys with values, got something else")])
    base = tree.pop(KEY, None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise ConfigError(path, [Fault(KEY, f"expected the name of a recipe or a file, got {base!r}")])
    try:
        parent = find_beside(base, path)
    except ValueError as cause:
        raise ConfigError(path, [Fault(KEY, str(cause))]) from None
    if parent.resolve() in [file.resolve() for file in (path, *below)]:
        raise ConfigError(path, [Fault(KEY, f"expected another recipe, got {base}, which extends this one")])
    return _merge(read_tree(parent, (*below, path)), tree)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind") in (None, old.get("kind")):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def completed(tree: dict[str, Any]) -> dict[str, Any]:
    """Set the baseline to the student's training, and the recipe's `epochs` in every training without its own.

    Raises ValueError where a key would have no effect.
    """
    if "baseline" in tree and tree["baseline"] is None:
        raise ValueError(
            "baseline: expected a training, got null: every report compares the student with it; remove the key to use "
            "the student's own training without a teacher"
        )
    tree = {key: value for key, value in tree.items() if key not in FORMER}
    trainings: dict[str, Any] = {name: _training(tree.get(name)) for name in ("teacher", "student")}
    trainings["baseline"] = tree["baseline"] if "baseline" in tree else _without_teacher(trainings["student"])
    if (epochs := tree.get("epochs")) is not None:
        without = [name for name, own in trainings.items() if isinstance(own, dict) and "epochs" not in own]
        if not without:
            raise ValueError(
                "epochs: expected a training without epochs of its own, got none; change those in the trainings"
            )
        trainings |= {name: {**trainings[name], "epochs": epochs} for name in without}
    merged = {name: {**tree[name], "training": trainings[name]} for name in ("teacher", "student") if trainings[name]}
    return {**tree, **merged, **({"baseline": trainings["baseline"]} if trainings["baseline"] is not None else {})}


def _training(trained: Any) -> Any:
    training = trained.get("training") if isinstance(trained, dict) else None
    return training if isinstance(training, dict) else None


def _without_teacher(training: Any) -> Any:
    """The same training with only the losses that need no teacher."""
    if training is None:
        return None
    given = training.get("losses")
    losses = [
        loss
        for loss in (given if isinstance(given, list) else [])
        if isinstance(loss, dict) and loss.get("kind") in (Bce.kind, Asymmetric.kind)
    ]
    without = {key: value for key, value in training.items() if key != "losses"}
    return {**without, "losses": losses} if losses else without
