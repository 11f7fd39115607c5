"""Recipes that extend another one, `extends: NAME|FILE` and only the keys that differ, and keys that others share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlkd.losses import Asymmetric, Bce
from pipeline.recipe.reader import ConfigError, Fault, read_yaml

KEY = "extends"


def read_tree(path: Path, find: Callable[[str, Path], Path], below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a file, laid over those of the recipe that it extends.

    Keys of mappings are merged one by one; lists, values, and mappings of another `kind` take the place of what was
    there.  `find` gives the file that a name in another file means.  Raises ConfigError.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ConfigError(path, [Fault("", "expected keys with values, got something else")])
    base = tree.pop(KEY, None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise ConfigError(path, [Fault(KEY, f"expected the name of a recipe or a file, got {base!r}")])
    try:
        found = find(base, path)
    except ValueError as cause:
        raise ConfigError(path, [Fault(KEY, str(cause))]) from None
    if found.resolve() in [one.resolve() for one in (path, *below)]:
        raise ConfigError(path, [Fault(KEY, f"expected another recipe, got {base}, which extends this one")])
    return _over(read_tree(found, find, (*below, path)), tree)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind") in (None, old.get("kind")):
            merged[key] = _over(old, value)
        else:
            merged[key] = value
    return merged


def completed(tree: dict[str, Any]) -> dict[str, Any]:
    """A recipe with `epochs` in every training that has none, and with the student's training for the baseline.

    Raises ValueError where a key would have no effect.
    """
    if "baseline" in tree and tree["baseline"] is None:
        raise ValueError(
            "baseline: expected a training, got null: every report compares the student with it; leave the key out for "
            "the student's own training without a teacher"
        )
    tree = {**tree, **{name: dict(tree[name]) for name in ("teacher", "student") if isinstance(tree.get(name), dict)}}
    learning = _training(tree.get("student"))
    if "baseline" not in tree and learning is not None:
        tree["baseline"] = _without_teacher(learning)
    if tree.get("epochs") is None:
        return tree
    places: list[tuple[Any, str]] = [(tree.get("teacher"), "training"), (tree.get("student"), "training")]
    without = 0
    for holder, key in (*places, (tree, "baseline")):
        training = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(training, dict) and "epochs" not in training:
            holder[key] = {**training, "epochs": tree["epochs"]}
            without += 1
    if not without:
        raise ValueError(
            "epochs: expected a training without epochs of its own, got none; change those in the trainings"
        )
    return tree


def _training(net: Any) -> dict[str, Any] | None:
    training = net.get("training") if isinstance(net, dict) else None
    return training if isinstance(training, dict) else None


def _without_teacher(training: dict[str, Any]) -> dict[str, Any]:
    """The same training with the losses that look at the ground truth alone."""
    own = (Bce.kind, Asymmetric.kind)
    losses = training.get("losses")
    kept = [loss for loss in losses if isinstance(loss, dict) and loss.get("kind") in own] if losses else []
    without = {key: value for key, value in training.items() if key != "losses"}
    return {**without, "losses": kept} if kept else without
