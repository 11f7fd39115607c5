"""The candidates of a search: every combination of the values in its grid."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlkd.models.config import Model
from mlkd.models.heads import Head
from mlkd.models.weight_packages import package_of
from mlkd.models.weights import FileWeights, PackageWeights, RandomWeights, TrainedWeights, Weights
from pipeline.recipe.search import Search

NAMED = ("backbone", "image_px", "head", "weights")  # fields with a place of their own in a name


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A student that may be trained; `name` is unique in its search and names a folder."""

    name: str
    model: Model


def candidates(search: Search, student: Model) -> tuple[Candidate, ...]:
    """Return a candidate for each combination; keys that are not in the grid have the values of `student`.

    Raises:
        ValueError: A value is out of range, or listed weights belong to another backbone.
    """
    grid = search.students.values
    models = [_model(dict(zip(grid, values, strict=True)), student) for values in itertools.product(*grid.values())]
    names = [_name(model) for model in models]
    counts = Counter(names)
    names = [
        f"{name}-{model.weights.kind}" if counts[name] > 1 else name for name, model in zip(names, models, strict=True)
    ]
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(
                f"search.students: expected candidates that differ in more than a file of weights, got {count} named "
                f"{name}; search with one of the files"
            )
    return tuple(Candidate(name=name, model=model) for name, model in zip(names, models, strict=True))


def _model(values: dict[str, Any], student: Model) -> Model:
    weights = _weights_for(values.get("backbone", student.backbone), student)
    try:
        return dataclasses.replace(student, **{"weights": weights, **values})
    except ValueError as cause:
        raise ValueError(f"search.students: {cause}") from None


def _weights_for(backbone: str, student: Model) -> Weights:
    """The recipe's weights if they fit the backbone, else a package that has some, else random ones."""
    is_bound = isinstance(student.weights, (PackageWeights, FileWeights, RandomWeights, TrainedWeights))
    if backbone == student.backbone or not is_bound:
        return student.weights
    package: Any = package_of(backbone)
    return PackageWeights(name=package) if package else RandomWeights()


def _name(model: Model) -> str:
    """Backbone, size, head, and every other field that differs from its default: equal for all weights."""
    others = [f"{name}_{value}" for name, value in _changes(model) if name not in NAMED]
    parts = [model.backbone, *others, f"{model.image_px}px", _head_name(model.head)]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(parts))


def _head_name(head: Head) -> str:
    embedding = f"_{head.embedding}" if hasattr(head, "embedding") else ""
    others = [f"-{name}_{value}" for name, value in _changes(head) if name != "embedding"]
    return "".join([head.kind, embedding, *others])


def _changes(config: Any) -> Iterator[tuple[str, Any]]:
    """The fields with another value than the default, and their values."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default and field.default_factory is dataclasses.MISSING:
            yield field.name, value
