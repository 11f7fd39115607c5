"""A recipe: everything that a run is made from, one file a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from benchmarks.config import Bench
from export.backends import Backend, OnnxRuntime, OpenVino, TensorRt
from export.onnx.parity import Gates
from export.precision.budget import Budget
from mlkd.core.thresholds import Thresholds
from mlkd.data import Source
from mlkd.data.augment import Views
from mlkd.losses import Loss
from mlkd.models.network import Model
from mlkd.models.weights import FileWeights, PackageWeights
from mlkd.teachers import CheckpointTeacher, ReadyTeacher
from mlkd.training.config import Training
from pipeline.recipe.extends import completed, read_tree
from pipeline.recipe.find import find_beside, find_recipe
from pipeline.recipe.methods import Compare
from pipeline.recipe.reader import ConfigError, Fault, build, parse_yaml

Precision = Literal["fp32", "fp16", "int8", "int8_x86", "int8_openvino"]
INT8: tuple[Precision, ...] = ("int8", "int8_x86", "int8_openvino")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A net and how it is trained."""

    model: Model
    training: Training


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine of the bundle: a graph of some precision, compiled by a backend."""

    name: str
    precision: Precision
    backend: Backend

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", self.name):
            raise ValueError(f"name: expected small letters, digits and dashes, got {self.name!r}")
        fits = isinstance(self.backend, OpenVino) or self.precision != "int8_openvino"
        if not fits:
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
    """What the student is frozen to."""

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
    """A run of the line; `baseline` is the student's own net without a teacher.

    The student learns from the `teacher` that the line trains, from teachers that are ready, or from all as one.
    """

    name: str
    seed: int = 0
    epochs: int | None = field(default=None, metadata={"identity": False})  # of every training that gives none
    data: Source
    views: Views = field(default_factory=Views)
    teacher: Trained | None = None
    ready_teachers: tuple[ReadyTeacher, ...] = ()
    student: Trained
    baseline: Training  # left out: as the student's, without losses that compare with a teacher
    export: Export = field(default_factory=Export)
    bench: Bench = field(default_factory=Bench)
    compare: Compare = field(default_factory=Compare)
    minutes: dict[str, float] = field(default_factory=dict)  # by stage, for `plan` before the first run
    minutes_an_epoch: dict[str, float] = field(default_factory=dict, metadata={"identity": False})  # by stage

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: expected 0..{2**32 - 1}, got {self.seed}")
        trained = [("teacher", self.teacher.training)] if self.teacher else []
        for name, training in (*trained, ("baseline", self.baseline)):
            if training.needs_teacher:
                raise ValueError(f"{name}: expected no loss that compares with a teacher, got one; leave bce alone")
        self._check_teachers()

    @property
    def estimates(self) -> dict[str, float]:
        """Minutes of the stages; those of an epoch times the epochs."""
        trainings = {"student": self.student.training, "baseline": self.baseline}
        if self.teacher is not None:
            trainings["teacher"] = self.teacher.training
        epochs = {name: training.last_epoch for name, training in trainings.items()}
        return self.minutes | {name: value * epochs.get(name, 1) for name, value in self.minutes_an_epoch.items()}

    def lacking(self, losses: Sequence[Loss]) -> list[str]:
        """The kinds of those losses that count and compare with more than the teachers give."""
        trained = CheckpointTeacher.provides if self.teacher else frozenset()
        given = trained.union(*(ready.provides for ready in self.ready_teachers))
        return [loss.kind for loss in losses if loss.weight and loss.needs - given]

    def _check_teachers(self) -> None:
        if self.teacher is None and not self.ready_teachers:
            raise ValueError("teacher: expected one to train, or ready_teachers, got neither; add one of the two")
        lacking = self.lacking(self.student.training.losses)
        if lacking:
            raise ValueError(
                f"student: expected losses on logits alone, as ONNX teachers give no more, got {', '.join(lacking)}; "
                "leave them out, or add a teacher that is a net of ours"
            )


def load_recipe(name_or_path: str, data: Path | None = None) -> Recipe:
    """A recipe of pipeline/recipe/recipes by its name, or any YAML file; `data` replaces data.root.

    A file may extend another recipe, see `extending.read_tree`.

    Raises ConfigError with every fault.
    """
    path = find_recipe(name_or_path)
    tree = read_tree(path, find_beside)
    if "name" in tree:
        raise ConfigError(
            path, [Fault("name", f"expected none: the file's name is the recipe's, got {tree['name']!r}")]
        )
    if data is not None:
        tree["data"] = _with_root(tree.get("data"), data, path)
    return _built(tree, path)


def read_recipe(text: str, path: Path) -> Recipe:
    """The recipe that a text would be in a file of that name.  Raises ConfigError."""
    return _built(parse_yaml(text, path), path)


def _built(tree: dict[str, Any], path: Path) -> Recipe:
    try:
        return build(Recipe, {**completed(tree), "name": path.stem}, path)
    except ConfigError:
        raise
    except ValueError as cause:
        raise ConfigError(path, [Fault("", str(cause))]) from None


def check(recipe: Recipe) -> None:
    """Raises ValueError for what a stage would miss only when it starts: weights, and the files of ready teachers."""
    for net in (recipe.teacher, recipe.student):
        weights = net.model.weights if net is not None else None
        if isinstance(weights, PackageWeights):
            weights.check()
        elif isinstance(weights, FileWeights) and not weights.path.is_file():
            raise ValueError(f"weights: expected a file, got nothing at {weights.path}; correct its path")
    for path in (path for ready in recipe.ready_teachers for path in ready.files()):
        if not path.is_file():
            raise ValueError(f"ready_teachers: expected the file {path}, got nothing there; correct its path")


def _with_root(source: Any, root: Path, path: Path) -> Any:
    """The source's tree with its root replaced; ConfigError if this kind of source has none."""
    if not isinstance(source, dict):
        return source  # `build` will say what is wrong
    kinds = {member.kind: member for member in get_args(Source)}
    member = kinds.get(source.get("kind"))
    if member is not None and "root" not in {entry.name for entry in dataclasses.fields(member)}:
        raise ConfigError(
            path,
            [Fault("data", f"expected a source with a root for DATA={root}, got {source['kind']}; leave DATA out")],
        )
    return {**source, "root": str(root)}
