"""The objective of a race: distil a candidate rung by rung.  It knows no search library, only a callback."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.models import group_parameters

from mlkd.core.metrics import mean_average_precision
from mlkd.core.progress import Progress, silent
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.models.config import Model
from mlkd.models.weights import RandomWeights
from mlkd.training import evaluate
from mlkd.training.config import Training
from mlkd.training.trainer import train
from pipeline.runner.session import timed
from pipeline.search.candidates import Candidate
from pipeline.search.trainings import Rung, read_rung, rung_file, rungs, write_rung

Report = Callable[[int, float], bool]  # epochs and mAP on select -> whether to go on


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all candidates of a race have in common."""

    training: Training
    views: Views
    seed: int
    images: Path  # a prepared set with the sizes of all candidates
    teacher_outputs: Path
    teacher: Path | None  # as `train` has it
    features: Path
    folders: Mapping[str, Path]  # of the training of each candidate, by its name


def objective(candidate: Candidate, setting: Setting, report: Report, progress: Progress = silent) -> None:
    """Train a candidate until the last rung, or until `report` returns False; finished rungs are not trained again.

    Raises:
        ValueError: The candidate cannot be trained.
        NonFiniteLossError: The training diverged.
        DeadWorkerError: A process that prepares images died.
    """
    for epochs in rungs(setting.training):
        if not report(epochs, _select_map(candidate, setting, epochs, progress)):
            return


def fit_training(training: Training, model: Model) -> Training:
    """The student's training, without frozen layers where they need training, and with a last group that is trained."""
    if not training.frozen_groups or isinstance(model.weights, RandomWeights) or model.expansion is not None:
        return dataclasses.replace(training, frozen_groups=0)
    module: Any = model.build(1, pretrained=False).backbone
    groups = group_parameters(module, module.group_matcher(coarse=True))
    return dataclasses.replace(training, frozen_groups=min(training.frozen_groups, len(groups) - 1))


def _select_map(candidate: Candidate, setting: Setting, epochs: int, progress: Progress) -> float:
    folder, select = setting.folders[candidate.name], read_split(setting.images, "select")
    if not rung_file(folder, epochs).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        seconds = timed(lambda: _train(candidate.model, setting, folder, epochs, progress), folder)
        write_rung(folder, epochs, Rung(scores=evaluate.score_folder(folder, select), seconds=seconds))
    return mean_average_precision(read_rung(folder, epochs).scores, select.targets, select.label_mask)


def _train(model: Model, setting: Setting, out: Path, epochs: int, progress: Progress) -> None:
    training = fit_training(setting.training, model)
    train(
        model,
        dataclasses.replace(training, stop_epoch=epochs, trackers=()),
        setting.views,
        setting.images,
        out,
        seed=setting.seed,
        teacher_outputs=setting.teacher_outputs,
        teacher=setting.teacher,
        features=setting.features,
        progress=progress,
    )
