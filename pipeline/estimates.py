"""Estimates for `plan`: the work and the disk space of every stage of a recipe.

Seconds a unit are those of two cores with AVX2; they only count until this machine has measured its own.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from mlkd.core.image_kinds import NAMED
from mlkd.core.labels import Labels
from mlkd.data import Corrected, Folder, Scenes
from mlkd.data.paths import relative_paths
from mlkd.losses.pca_maps import components
from mlkd.models.config import Model
from mlkd.training.config import Training
from pipeline import costs, teachers
from pipeline.recipe.reference_engines import select_engines
from pipeline.recipe.schema import INT8, Recipe
from pipeline.runner import result
from pipeline.runner.identity import plain
from pipeline.runner.speed import Work

ASSUMED_LABELS = 80  # as COCO has, where nothing is known yet
IMAGE_S, PIXEL_S = 0.0075, 5.5e-7  # a training image with frozen layers, and each of its pixels
FULL = 2.0  # times as long without frozen layers
STORED_VIEW = 0.5  # computing the stored features of a view, in epochs
BYTES_A_PARAMETER = 20  # weights, their average, the optimiser's state
THROUGHPUT_S = 30.0  # the search for batch and streams of an engine
PROFILE_S = 10.0  # the times of the layers of two engines
LAST_STAGE = 5  # of most backbones
SHARES = 0.7, 0.1, 0.2  # train, val and test of a source that does not say


@dataclass(frozen=True)
class Images:
    """Number of images of the splits."""

    train: int
    val: int
    test: int

    @property
    def total(self) -> int:
        """Of all splits."""
        return self.train + self.val + self.test


def count_images(recipe: Recipe, data: Path) -> Images:
    """Count the images from the recipe, from the result of the stage data in `data`, or roughly by their files."""
    source, last = recipe.data, result.read(data)
    if isinstance(source, Scenes):
        return Images(source.train, source.val, source.test)
    if last is not None and last.identity["config"]["source"] == plain(source):
        counts = result.read_json(data / "about.json")["counts"]
        return Images(counts["train"], counts["select"] + counts["tune"], counts["test"])
    if isinstance(source, Corrected):
        counts = result.read_json(source.base / "about.json")["counts"]  # new images are few
        return Images(counts["train"], counts["select"] + counts["tune"], counts["test"])
    files = sum(name.lower().endswith(NAMED) for name in relative_paths(source.root))
    train, val, test = (max(1, round(share * files)) for share in SHARES)
    return Images(train, val, test)


def labels_of(recipe: Recipe, data: Path | None) -> Labels | None:
    """Return the labels of the prepared set or of a folder's table; None if only the data stage can read them."""
    if data is not None:
        return Labels.read(data / "labels.json")
    if isinstance(recipe.data, Folder):
        return Labels(recipe.data.labels or recipe.data.read_rows().labels)
    if isinstance(recipe.data, Corrected):
        return recipe.data.all_labels()
    return None


def work(recipe: Recipe, folder: Path, *, devices: int = 0) -> dict[str, Work]:
    """Return the work of each stage; `folder` holds the results, and `devices` are measured besides this machine."""
    images = count_images(recipe, folder / "data")
    return {"data": _data(recipe, images), **_trainings(recipe, images, folder), **_exports(recipe, images, devices)}


def _data(recipe: Recipe, images: Images) -> Work:
    sizes = teachers.sizes(recipe)
    pixels = sum(px**2 for px in sizes)
    kind = f"{recipe.data.kind} {' '.join(map(str, sizes))} px"
    return Work(units=images.total, kind=kind, unit_s=0.006, bytes=images.total * (3 * pixels + 6000))


def _trainings(recipe: Recipe, images: Images, folder: Path) -> dict[str, Work]:
    labels: Labels | None = None
    stored = any((folder / "data.work").glob("*/*.npy"))
    with contextlib.suppress(ValueError):  # a fault in the table is the data stage's to report
        labels = labels_of(recipe, folder / "data" if (folder / "data" / "labels.json").is_file() else None)
    count, views = len(labels or ()) or ASSUMED_LABELS, recipe.views.count
    kept = images.train * views  # images and views that outputs are stored of

    def training(model: Model, how: Training, *, features: bool = True) -> Work:
        cost = costs.known(model, how.frozen_groups, count)
        values = 2 * kept * cost.features if cost and features else 0
        passes = how.last_epoch + (STORED_VIEW * views if features and how.frozen_groups and not stored else 0)
        return Work(
            units=images.train * passes,
            kind=f"{_name(model, how)} {'+'.join(sorted(loss.kind for loss in how.losses if loss.weight))}",
            unit_s=(IMAGE_S + PIXEL_S * model.image_px**2) * (1 if how.frozen_groups else FULL),
            bytes=BYTES_A_PARAMETER * (cost.parameters if cost else 5_000_000),
            work_bytes=values if cost and values <= cost.features_limit else 0,
        )

    student = training(recipe.student.model, recipe.student.training)
    baseline = training(recipe.student.model, recipe.baseline, features=False)  # reads the student's
    outputs = Work(units=kept, unit_s=0.01, kind="pretrained", bytes=2 * kept * count)
    if recipe.teacher is None:
        return {"teacher_outputs": outputs, "student": student, "baseline": baseline}
    model, how = recipe.teacher.model, recipe.teacher.training
    outputs = Work(
        units=kept,
        kind=_name(model, how),
        unit_s=(IMAGE_S + PIXEL_S * model.image_px**2) / 4,
        bytes=2 * kept * count + _map_bytes(recipe, count, kept),
    )
    return {"teacher": training(model, how), "teacher_outputs": outputs, "student": student, "baseline": baseline}


def _name(model: Model, how: Training) -> str:
    return f"{model.name} {model.image_px} px {how.frozen_groups} frozen"


def _map_bytes(recipe: Recipe, labels: int, kept: int) -> int:
    """Bytes of the teacher's maps that are recorded for all images and views."""
    assert recipe.teacher is not None, "the caller has checked"
    needs, model = recipe.student.training.needs, recipe.teacher.model
    side: int = 2 ** (model.stages or LAST_STAGE)
    positions = math.ceil(model.image_px / side) ** 2
    numbers = (labels if "label_maps" in needs else 0) + components(recipe.student.training.losses)
    return 2 * kept * positions * numbers + (_stage_map_bytes(recipe, labels, kept) if "features" in needs else 0)


def _stage_map_bytes(recipe: Recipe, labels: int, kept: int) -> int:
    """0 where none are stored or the sizes are unknown."""
    assert recipe.teacher is not None, "the caller has checked"
    trained = [costs.known(net.model, net.training.frozen_groups, labels) for net in (recipe.teacher, recipe.student)]
    teacher, student = trained
    if teacher is None or student is None or not student.trained_maps:
        return 0
    stored = 2 * kept * sum(teacher.maps[-student.trained_maps :])
    return stored if stored <= teacher.maps_limit else 0


def _exports(recipe: Recipe, images: Images, devices: int) -> dict[str, Work]:
    """Constant parts count as so many images more."""
    bench, engines = recipe.bench, len(recipe.export.engines)
    models = 2 if bench.all_references else 1  # the teacher, and the baseline
    references = models * (len(select_engines(recipe)) + 2)  # and those in torch
    area, px = recipe.student.model.image_px**2, f"{recipe.student.model.name} {recipe.student.model.image_px} px"
    families = len({engine.precision for engine in recipe.export.engines} & set(INT8))
    calibrated = families * (recipe.export.calibration_images + images.val // 2 + 1000)
    starts = engines * bench.processes + references * bench.reference_processes
    queries = bench.queries + 500  # the start of a process and its warm-up
    units = starts * queries + engines * images.test / 10
    more_s = engines * (bench.sustained_s + (THROUGHPUT_S if bench.throughput else 0.0))

    def measured(more_s: float) -> Work:
        return Work(
            units=units,
            kind=f"{px} {'throughput' if bench.throughput else ''} {bench.sustained_s:g} s",
            unit_s=0.004 + 5e-7 * area + more_s / units,
            bytes=10_000_000,
        )

    return {
        "onnx": Work(units=images.val + 2000, kind=px, unit_s=1.8e-6 * area, bytes=15_000_000),
        "precisions": Work(units=calibrated + 500, kind=px, unit_s=4.4e-6 * area, bytes=40_000_000),
        "engines": Work(units=engines * (images.val + 500), kind=px, unit_s=7.3e-7 * area, bytes=100_000_000),
        "bundle": Work(units=engines, kind=px, unit_s=0.5, bytes=100_000_000),
        "references": Work(units=references * (images.test + 2500), kind=px, unit_s=1.1e-6 * area, bytes=110_000_000),
        "bench": measured(more_s + PROFILE_S),
        **({"devices": measured(more_s)} if devices else {}),
        "report": Work(unit_s=3.0, bytes=100_000_000),
    }
