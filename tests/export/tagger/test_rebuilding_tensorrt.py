"""Plans for a GPU that is not the one they were built for; the GPU is played by ONNX Runtime."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.backends import OnnxRuntime, Session, TensorRt, stamp
from export.errors import EngineError, NoEngineError
from export.tagger import Tagger
from mlkd.core.files import sha256_of
from tests.helpers import bundles

TENSORRT = "tensorrt-fp16-sm86"
REFUSED = r"`info --rebuild` or `tag --rebuild` builds it on this device"


def builds(cache: Path) -> list[Path]:
    return sorted(file.parent for file in cache.glob("*/*/sha256sums"))


class Gpu:
    """A machine with a GPU of SM90 and TensorRT `version`, as far as opening and building goes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.version = "tensorrt 10.3"
        self.builds = 0
        methods: list[Callable[..., Any]] = [self.unavailable_reason, self.compile, self.open]
        for method in methods:
            monkeypatch.setattr(TensorRt, method.__name__, lambda *arguments, method=method: method(*arguments))

    def unavailable_reason(self, backend: TensorRt) -> str | None:
        return None if backend.compute_capability == "device" else "expected a GPU of SM86, got SM90"

    def compile(self, backend: TensorRt, model: Path, out_dir: Path) -> Path:
        """A plan that is the ONNX."""
        assert backend.compute_capability == "device"
        out_dir.mkdir(parents=True, exist_ok=True)
        self.builds += 1
        plan = shutil.copyfile(model, out_dir / "fp32-sm90.plan")
        made = stamp.Stamp(runtime=self.version, device="SM90", precision="fp32", options={}, graph=sha256_of(model))
        stamp.write(plan, made)
        return plan

    def open(self, backend: TensorRt, engine: Path) -> Session:
        found = stamp.read(engine)
        if (found.device, found.runtime) != ("SM90", self.version):
            raise EngineError(f"{engine}: expected a plan of {self.version}, got one of {found.runtime}")
        onnx = shutil.copyfile(engine, engine.parent.parent / "opened.onnx")
        session = OnnxRuntime().open_graph(onnx)
        session.engine = engine
        return session


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


@pytest.fixture
def plan_only(colours: Path, tmp_path: Path) -> Path:
    return bundles.changed(colours, tmp_path / "plan_only", {}, tensorrt={"precision": "fp32"})


def test_a_plan_of_another_gpu_is_built_for_the_one_that_is_here(plan_only: Path, gpu: Gpu) -> None:
    with pytest.raises(NoEngineError, match=rf"{TENSORRT}: expected a GPU of SM86, got SM90; {REFUSED}"):
        Tagger.load(plan_only, TENSORRT)
    with Tagger.load(plan_only) as tagger:
        assert tagger.choice.entry.name == "onnxruntime-fp32"
    with Tagger.load(plan_only, rebuild=True) as tagger:
        assert tagger.choice.entry.name == TENSORRT  # the first of the bundle
    with Tagger.load(plan_only) as tagger:
        assert tagger.choice.entry.name == TENSORRT
        assert tagger.rebuilt is not None
    assert gpu.builds == 1


def test_another_version_of_tensorrt_builds_its_own_and_leaves_the_other_its(
    plan_only: Path, gpu: Gpu, cache: Path
) -> None:
    Tagger.load(plan_only, TENSORRT, rebuild=True).close()
    gpu.version = "tensorrt 10.4"
    with pytest.raises(NoEngineError, match=f"expected a plan of tensorrt 10.4.*{REFUSED}"):
        Tagger.load(plan_only, TENSORRT)
    with Tagger.load(plan_only) as tagger:
        assert tagger.choice.entry.name == "onnxruntime-fp32"
    Tagger.load(plan_only, TENSORRT, rebuild=True).close()
    gpu.version = "tensorrt 10.3"
    Tagger.load(plan_only, TENSORRT, rebuild=True).close()
    assert gpu.builds == len(builds(cache)) == 2
