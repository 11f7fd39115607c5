"""Which engines are profiled after the timings."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.doctor import Built
from benchmarks.report.recommendation import NO_LIMITS, Limits
from benchmarks.schema import Percentiles, Row
from benchmarks.sections import EngineTimes, LayerTimes
from export.backends import OnnxRuntime, OpenVino
from pipeline.report_facts import layer_times
from tests.helpers import bundles, rows

ENGINES = [
    bundles.engine("ort-fp32", OnnxRuntime(), ("models/fp32.onnx",)),
    bundles.engine("ov-int8", OpenVino(), ("engines/int8.xml",), precision="int8_openvino"),
    bundles.engine("ov-fp32", OpenVino(), ("engines/fp32.xml",)),
    bundles.engine("ov-bf16", OpenVino(compute="bf16"), ("engines/fp32.xml",)),
]


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Built, Path]]:
    """What was profiled, with the graph that names its layers."""
    calls: list[tuple[Built, Path]] = []

    def profile(engine: Built, graph: Path) -> EngineTimes:
        calls.append((engine, graph))
        return EngineTimes(engine=engine.name, reason="not here")

    monkeypatch.setattr(layer_times, "profile", profile)
    monkeypatch.setattr(layer_times, "read_bundle", lambda *_, **__: bundles.manifest(*ENGINES))
    return calls


def row(name: str, ms: float) -> Row:
    return rows.measured(name, p90=ms, engine_ms=Percentiles(p50=ms))


def run(measured: list[Row], budget: Limits = NO_LIMITS) -> LayerTimes | None:
    model = SimpleNamespace(head=SimpleNamespace(kind="label_attention"))
    recipe: Any = SimpleNamespace(bench=SimpleNamespace(threads=2), student=SimpleNamespace(model=model))
    return layer_times.profile_engines(recipe, Path("bundle"), Path("graph.onnx"), measured, budget)


def test_the_engine_to_deploy_and_the_fastest_float_engine_of_its_runtime(profiled: list[tuple[Built, Path]]) -> None:
    measured = [row("ort-fp32", 2.5), row("ov-int8", 1.0), row("ov-fp32", 4.0), row("ov-bf16", 3.0)]
    times = run([*measured, rows.measured("student-torch", p90=0.1, kind="reference")])
    assert times is not None
    assert times.head == "label_attention"
    assert [one.engine for one in times.engines] == ["ov-int8", "ov-bf16"]
    engine, graph = profiled[0]
    assert engine.backend == OpenVino(threads=2), "as it was timed"
    assert engine.file == Path("bundle/engines/int8.xml")
    assert graph == Path("graph.onnx")


def test_a_float_engine_to_deploy_is_profiled_once(profiled: list[tuple[Built, Path]]) -> None:
    times = run([row("ort-fp32", 0.5), row("ov-int8", 1.0)])
    assert times is not None
    assert [one.engine for one in times.engines] == ["ort-fp32"]
    assert len(profiled) == 1


def test_nothing_is_profiled_where_nothing_was_measured(profiled: list[tuple[Built, Path]]) -> None:
    assert run([Row(name="ov-int8", device="here", kind="engine")]) is None
    assert not profiled
