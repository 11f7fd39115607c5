"""What of a measurement is published, and what is noted beside it."""

from __future__ import annotations

from typing import Any

import pytest

from export.backends import OnnxRuntime
from pipeline import measuring
from tests import bundles

ENGINES = [bundles.engine(name, OnnxRuntime(), ("models/fp32.onnx",)) for name in ("shipped", "rebuilt", "absent")]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Of two engines that ran, one as shipped, of one that did not, and of a net in torch, which nothing ships."""
    measured = {"status": "measured", "reason": None, "end_to_end_ms": {"p50": 2.5}}
    absent = {"name": "absent", "status": "built, not run", "reason": "no GPU", "built_here": None}
    return [
        {"name": "shipped", "built_here": False, **measured},
        {"name": "rebuilt", "built_here": True, **measured},
        absent,
        {"name": "student-torch", **measured},
    ]


def test_only_an_engine_as_shipped_gets_its_latency_into_the_manifest(rows: list[dict[str, Any]]) -> None:
    machine = dict.fromkeys(("cpu", "architecture", "cores", "os", "gpus", "driver"), "some")
    published = measuring._measured(bundles.manifest(*ENGINES), {"rows": rows, "machine": machine})
    assert [engine.p50_ms for engine in published.engines] == [2.5, None, None]
    assert published.measured


def test_what_was_not_run_or_built_here_is_noted(rows: list[dict[str, Any]]) -> None:
    notes = measuring._notes(bundles.manifest(*ENGINES, composed=False, licences=()), rows)
    assert notes == [
        "rebuilt: built on this machine, not the bundle's own file",
        "absent: built, not run: no GPU",
    ]
