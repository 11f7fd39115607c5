"""Which engines the references are exported to."""

from __future__ import annotations

from export.backends import OnnxRuntime, OpenVino
from pipeline.recipe.schema import INT8, Engine, Recipe


def select_engines(recipe: Recipe) -> tuple[Engine, ...]:
    """The first int8 engine of each CPU runtime and the first float32 engine of one, with all_references of each."""
    selected: dict[tuple[str, bool], Engine] = {}
    for engine in recipe.export.engines:
        compute = getattr(engine.backend, "compute", "f32")
        on_cpu = isinstance(engine.backend, (OnnxRuntime, OpenVino)) and engine.backend.device.lower() == "cpu"
        if on_cpu and engine.precision in ("fp32", *INT8) and compute == "f32":
            is_int8 = engine.precision in INT8
            runtime = engine.backend.kind if is_int8 or recipe.bench.all_references else "any"
            selected.setdefault((runtime, is_int8), engine)
    return tuple(selected.values())
