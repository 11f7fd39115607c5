"""Trained teachers: models of this pipeline, foreign ONNX taggers, and ensembles of them."""

from collections.abc import Sequence

from mlkd.core.labels import Labels
from mlkd.teachers.base import Ensemble, Teacher, scores
from mlkd.teachers.checkpoint import CheckpointTeacher
from mlkd.teachers.onnx import OnnxTeacher

ReadyTeacher = CheckpointTeacher | OnnxTeacher


def load(teachers: Sequence[ReadyTeacher], labels: Labels, *, stage_maps: bool = False) -> Teacher:
    """Load one teacher, or an ensemble of several; the columns of the outputs are the labels of the data.

    With `stage_maps`, the outputs have those of the first teacher that was trained by this pipeline.

    Raises:
        ValueError: A teacher cannot be read or lacks a label.
    """
    loaded = [teacher.load(labels) for teacher in teachers]
    for at, teacher in enumerate(teachers):
        if stage_maps and isinstance(teacher, CheckpointTeacher):
            loaded[at] = teacher.load(labels, stage_maps=True)
            break
    return loaded[0] if len(loaded) == 1 else Ensemble(tuple(loaded))


__all__ = ["CheckpointTeacher", "Ensemble", "OnnxTeacher", "ReadyTeacher", "Teacher", "load", "scores"]
