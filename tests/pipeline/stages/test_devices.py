"""Several devices at once, without any: what one of them does is made up here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from benchmarks.config import Bench
from benchmarks.remote import DeviceEntry
from benchmarks.run import Job
from benchmarks.schema import DeviceFacts, DeviceResult, Row
from mlkd.core.progress import silent
from pipeline.declarations import bench as declarations
from pipeline.recipe.schema import load_recipe
from pipeline.runner.stage import Context
from pipeline.stages import devices


class Fake:
    """A device that does nothing."""

    def __init__(self, entry: DeviceEntry) -> None:
        self.entry = entry

    def close(self) -> None:
        pass


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Measures entries with `run_bench` as given."""
    for name in ("scores.read", "read_bundle", "read_split", "measuring.truth_of", "measuring.bundles", "_host"):
        monkeypatch.setattr(f"pipeline.stages.devices.{name}", lambda *_: FakeManifest())
    monkeypatch.setattr("benchmarks.remote.parallel.open_device", Fake)
    inputs = {name: tmp_path / name for name in ("data", "bundle", "references", "bench")}

    def measure(entries: list[DeviceEntry], run_bench: Callable[[Job, Any], Any]) -> list[dict[str, Any]]:
        monkeypatch.setattr("pipeline.stages.devices.run_bench", run_bench)
        (tmp_path / "out").mkdir(exist_ok=True)
        devices.run(Bench(), 0, entries, tmp_path / "work", None, Context(tmp_path / "out", inputs, silent))
        return list(json.loads((tmp_path / "out" / devices.RESULT).read_text()))

    return measure


class FakeManifest:
    labels = ()


def result_of(job: Job) -> DeviceResult:
    return DeviceResult(device=DeviceFacts(name=job.device.entry.name))


def test_one_that_breaks_in_any_way_spoils_no_other(measure: Callable[..., list[dict[str, Any]]]) -> None:
    def run_bench(job: Job, _: Any) -> Any:
        if job.device.entry.name == "a":
            raise OverflowError("int too large")
        return result_of(job)

    found = measure([DeviceEntry(name=name, host=name) for name in "ab"], run_bench)
    assert [one["device"]["status"] for one in found] == ["failed", "measured"]
    assert "a: expected a device that measures, got OverflowError" in found[0]["device"]["reason"]


def row_of(job: Job, name: str, status: Literal["measured", "failed", "built, not run"], kind: Any = "engine") -> Row:
    return Row(
        name=name, device=job.device.entry.name, kind=kind, model="student", runtime="onnxruntime", precision="fp32",
        threads=1, file="f", sha256="s", bytes=1, status=status, reason="" if status == "measured" else "no answer",
    )  # fmt: skip


def test_an_engine_that_failed_is_tried_again_and_the_others_are_not_lost(
    measure: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    runs: list[str] = []

    def run_bench(job: Job, _: Any) -> DeviceResult:
        runs.append(job.device.entry.name)
        again = runs.count(job.device.entry.name) > 1
        rows = [row_of(job, "a", "measured"), row_of(job, "b", "measured" if again else "failed")]
        rows.append(row_of(job, "c", "built, not run"))
        return DeviceResult(device=DeviceFacts(name=job.device.entry.name), rows=rows)

    entries = [DeviceEntry(name="pi", host="pi")]
    for count in (1, 2, 2):
        (found,) = measure(entries, run_bench)
        assert [row["name"] for row in found["rows"]] == ["a", "b", "c"]
        assert (len(runs), bool(declarations.again(tmp_path / "out"))) == (count, count == 1)


@pytest.mark.parametrize("status", ["failed", "built, not run"])
def test_a_device_without_a_measured_engine_failed(
    status: Literal["failed", "built, not run"], measure: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    def run_bench(job: Job, _: Any) -> DeviceResult:
        rows = [row_of(job, "int8", status), row_of(job, "teacher", "measured", "reference")]
        return DeviceResult(device=DeviceFacts(name=job.device.entry.name), rows=rows)

    (found,) = measure([DeviceEntry(name="pi", host="pi")], run_bench)
    assert found["device"]["status"] == "failed"
    assert found["device"]["reason"] == "pi: expected an engine that can be measured there, got none; int8: no answer"
    assert declarations.again(tmp_path / "out")


def test_a_new_bench_here_is_no_reason_to_measure_elsewhere_again(tmp_path: Path) -> None:
    def key(bench: str, bundle: str, other: str = "") -> str:
        for name, content in {"bench": bench, "bundle": bundle}.items():
            (tmp_path / name).mkdir(exist_ok=True)
            facts = {"identity": {}, "content": content, "seconds": 1, "files": {}}
            (tmp_path / name / "stage.json").write_text(json.dumps(facts))
        inputs = {name: tmp_path / name for name in ("bench", "bundle")}
        return devices._key(DeviceEntry(name="a", host="a"), Bench(), 0, inputs, {"finals": other})

    assert key("1", "1") == key("2", "1") != key("2", "2")
    assert key("1", "1", other="1") != key("1", "1", other="2"), "another finalist of a search"


@pytest.mark.parametrize(
    "changes",
    [
        {"python": "/other/python3"},
        {"rebuild": True},
        {"power_mode": "15W"},
        {"threads": 2},
        {"runtimes": ("openvino",)},
    ],
)
def test_what_changes_numbers_here_is_a_reason_to_measure_again(changes: dict[str, Any]) -> None:
    def config(**changes: Any) -> Any:
        entry = DeviceEntry(**{"name": "desk"} | changes)
        return declarations.bench(load_recipe("scenes"), entry).config

    assert config(**changes) != config() == config(name="other")
