"""What teacher and student cost, in words, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlkd.labels import Labels
from mlkd.models import Model
from mlkd.models.cost import cost
from pipeline.recipe import Recipe

ASSUMED = 80  # labels, as COCO has, where nothing is known yet


def lines(recipe: Recipe, data: Path | None) -> Iterator[str]:
    """One for the teacher, if one is trained, and one for the student; `data` is the prepared set if there is one."""
    labels = _labels(recipe, data)
    note = "" if labels else f", per {ASSUMED} labels (assumed: the pictures are not read yet)"
    for name, net in (("teacher", recipe.teacher), ("student", recipe.student)):
        if net is not None:
            yield f"{name}  {_described(net.model, labels or ASSUMED)}{note}"


def _labels(recipe: Recipe, data: Path | None) -> int | None:
    """How many there are: in the prepared set, or in the recipe's own list; None where only reading would tell."""
    if data is not None:
        return len(Labels.read(data / "labels.json"))
    listed = getattr(recipe.data, "labels", None)
    return len(listed) or None if isinstance(listed, tuple) else None


def _described(model: Model, labels: int) -> str:
    counted = cost(model, labels)
    head = f"{model.head.kind} {getattr(model.head, 'embedding', '')}".strip()
    share = 100 * counted.head_multiply_adds / counted.multiply_adds
    return (
        f"{model.backbone} @{model.image_px} + {head}: {_millions(counted.parameters)} parameters, "
        f"{_millions(counted.multiply_adds)} multiply-adds (head {share:.0f} %)"
    )


def _millions(count: int) -> str:
    """With two digits at least: 0.14 M, 5.7 M, 136 M."""
    millions = count / 1e6
    return f"{millions:.2g} M" if millions < 10 else f"{millions:.0f} M"
