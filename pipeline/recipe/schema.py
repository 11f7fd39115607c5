"""A recipe: the whole configuration of a run, in one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from benchmarks.config import Bench
from export.backends import Backend, OnnxRuntime, OpenVino, TensorRt
from export.config import Budget, Gates
from mlkd.core.threshold_aim import Thresholds
from mlkd.data import Source
from mlkd.data.augment import Views
from mlkd.losses import Loss
from mlkd.models.config import Model
from mlkd.models.weights import FileWeights, PackageWeights, TrainedWeights
from mlkd.teachers import CheckpointTeacher, ReadyTeacher
from mlkd.training.config import Training
from pipeline.recipe.extends import completed, extended, read_tree
from pipeline.recipe.faults import ConfigError, Fault
from pipeline.recipe.find import find_recipe
from pipeline.recipe.methods import Compare
from pipeline.recipe.reader import build
from pipeline.recipe.search import Search
from pipeline.recipe.yaml_file import parse_yaml

Precision = Literal["fp32", "fp16", "int8", "int8_x86", "int8_openvino"]
INT8: tuple[Precision, ...] = ("int8", "int8_x86", "int8_openvino")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model and its training."""

    model: Model
    training: Training


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine of the bundle: the graph of a precision, compiled by a backend."""

    name: str
    precision: Precision
    backend: Backend

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", self.name):
            raise ValueError(f"name: expected small letters, digits and dashes, got {self.name!r}")
        if self.precision == "int8_openvino" and not isinstance(self.backend, OpenVino):
            raise ValueError(f"precision: expected a graph that {self.backend.kind} reads, got int8_openvino; use int8")


DEFAULT_ENGINES = (
    Engine(name="onnxruntime-fp32", precision="fp32", backend=OnnxRuntime()),
    Engine(name="onnxruntime-int8", precision="int8_x86", backend=OnnxRuntime()),
    Engine(name="onnxruntime-int8-signed", precision="int8", backend=OnnxRuntime()),  # for ARM
    Engine(name="onnxruntime-fp16-cuda", precision="fp16", backend=OnnxRuntime(device="cuda")),
    Engine(name="openvino-fp32", precision="fp32", backend=OpenVino(compute="f32")),
    Engine(name="openvino-bf16", precision="fp32", backend=OpenVino(compute="bf16")),
    Engine(name="openvino-fp16", precision="fp16", backend=OpenVino(compute="f32")),  # half the size
    Engine(name="openvino-int8", precision="int8_openvino", backend=OpenVino(compute="f32")),
    Engine(name="tensorrt-fp32-sm86", precision="fp32", backend=TensorRt(compute_capability="SM86")),
    Engine(name="tensorrt-fp16-sm86", precision="fp16", backend=TensorRt(compute_capability="SM86")),
    Engine(name="tensorrt-int8-sm86", precision="int8", backend=TensorRt(compute_capability="SM86")),
)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Export and quantization of the student."""

    engines: tuple[Engine, ...] = DEFAULT_ENGINES
    calibration_images: int = 300
    budget: Budget = field(default_factory=Budget)
    parity: Gates = field(default_factory=Gates)
    thresholds: Thresholds = field(default_factory=Thresholds)
    golden_images: int = 4

    def __post_init__(self) -> None:
        names = [engine.name for engine in self.engines]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"export.engines: expected at least one and distinct names, got {names}")
        if self.calibration_images < 1:
            raise ValueError(f"export.calibration_images: expected at least 1, got {self.calibration_images}")
        if self.golden_images < 1:
            raise ValueError(f"export.golden_images: expected at least 1, got {self.golden_images}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run of the pipeline; `baseline` trains the student's model without a teacher.

    The teacher is the `teacher` that the pipeline trains, one of `ready_teachers`, or the mean of all of them.
    """

    name: str
    seed: int = 0
    epochs: int | None = field(
        default=None, metadata={"identity": False}
    )  # of every training without `epochs` of its own
    data: Source
    views: Views = field(default_factory=Views)
    teacher: Trained | None = None
    ready_teachers: tuple[ReadyTeacher, ...] = ()
    student: Trained
    baseline: Training  # default: the student's training without the losses that need a teacher
    export: Export = field(default_factory=Export)
    bench: Bench = field(default_factory=Bench)
    compare: Compare = field(default_factory=Compare)
    search: Search | None = None  # for the command search

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: expected 0..{2**32 - 1}, got {self.seed}")
        trained = [("teacher", self.teacher.training)] if self.teacher else []
        for name, training in (*trained, ("baseline", self.baseline)):
            if training.needs_teacher:
                raise ValueError(f"{name}: expected only losses without a teacher, got another; use bce only")
        self._check_teachers()

    def lacking(self, losses: Sequence[Loss]) -> list[str]:
        """The kinds of losses with a weight above 0 that need outputs which the teachers do not give."""
        trained = CheckpointTeacher.provides if self.teacher else frozenset()
        given = trained.union(*(ready.provides for ready in self.ready_teachers))
        return [loss.kind for loss in losses if loss.weight and loss.needs - given]

    def _check_teachers(self) -> None:
        if self.teacher is None and not self.ready_teachers:
            raise ValueError("teacher: expected one to train, or ready_teachers, got neither; add one of the two")
        lacking = self.lacking(self.student.training.losses)
        if lacking:
            raise ValueError(
                "student: expected losses on logits only, as ONNX teachers give nothing else, got "
                f"{', '.join(lacking)}; remove them, or add a teacher that is a checkpoint"
            )


def load_recipe(name_or_path: str, data: Path | None = None) -> Recipe:
    """Load a recipe of the project by name, or a YAML file by path; `data` replaces `data.root`.

    Raises:
        ConfigError: The file has faults; the message lists all of them.
        ValueError: There is no such recipe.
    """
    path = find_recipe(name_or_path)
    tree = read_tree(path)
    if "name" in tree:
        fault = f"expected none: the file's name is the recipe's, got {tree['name']!r}"
        raise ConfigError(path, [Fault("name", fault)])
    if data is not None:
        tree["data"] = _with_root(tree.get("data"), data, path)
    return _built(tree, path)


def read_recipe(text: str, path: Path) -> Recipe:
    """Read a recipe from the YAML of a file `path`, which names it.  Raises ConfigError with all faults."""
    return _built(extended(parse_yaml(text, path), path), path)


def _built(tree: dict[str, Any], path: Path) -> Recipe:
    try:
        return build(Recipe, {**completed(tree), "name": path.stem}, path)
    except ConfigError:
        raise
    except ValueError as cause:
        raise ConfigError(path, [Fault("", str(cause))]) from None


def check(recipe: Recipe) -> None:
    """Raise ValueError if initial weights or files of `ready_teachers` are missing."""
    for trained in (recipe.teacher, recipe.student):
        weights = trained.model.weights if trained is not None else None
        if isinstance(weights, PackageWeights):
            weights.check()
        elif isinstance(weights, (FileWeights, TrainedWeights)) and not weights.path.is_file():
            raise ValueError(f"weights: expected a file, got nothing at {weights.path}; correct its path")
    for path in (path for ready in recipe.ready_teachers for path in ready.files()):
        if not path.is_file():
            raise ValueError(f"ready_teachers: expected the file {path}, got nothing there; correct its path")


def _with_root(source: Any, root: Path, path: Path) -> Any:
    """The source with another root; raises ConfigError if this kind of source has no root."""
    if not isinstance(source, dict):
        return source  # `build` reports the fault
    rootless = [kind.kind for kind in get_args(Source) if "root" not in kind.__dataclass_fields__]
    if source.get("kind") in rootless:
        fault = f"expected a source with a root for DATA={root}, got {source['kind']}; leave DATA out"
        raise ConfigError(path, [Fault("data", fault)])
    return {**source, "root": str(root)}
