"""The section `search` of a recipe: which students are tried, and the budget of the devices."""

from __future__ import annotations

from dataclasses import dataclass

from mlkd.models.config import Model
from pipeline.recipe.device_list import HERE
from pipeline.recipe.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search for the student; at least one of `max_p90_ms` and `max_mb` is required."""

    max_p90_ms: float | None = None  # end to end, on every device
    max_mb: float | None = None  # of an engine's files
    devices: tuple[str, ...] = (HERE.name,)  # names in devices.yaml
    students: Grid[Model]  # a key without a value here has that of `student.model`
    minutes: float = 60.0  # of all trainings of the search

    def __post_init__(self) -> None:
        if self.max_p90_ms is None and self.max_mb is None:
            raise ValueError("expected max_p90_ms, max_mb or both, got neither; add the budget of your device")
        for name in ("max_p90_ms", "max_mb", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"search.{name}: expected a number above 0, got {value:g}")
        if not self.devices or len(set(self.devices)) < len(self.devices):
            raise ValueError(f"search.devices: expected at least one and distinct names, got {list(self.devices)}")
        if not self.students.values:
            raise ValueError(
                "search.students: expected keys of student.model with lists, got none; add one, as image_px: [64, 96]"
            )
