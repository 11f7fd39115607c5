"""Trained teachers: models of this pipeline, foreign ONNX taggers, and ensembles of them."""

from collections.abc import Sequence

from mlkd.core.labels import Labels
from mlkd.teachers.base import Ensemble, Teacher, scores
from mlkd.teachers.checkpoint import CheckpointTeacher
from mlkd.teachers.onnx import OnnxTeacher

ReadyTeacher = CheckpointTeacher | OnnxTeacher


def load(teachers: Sequence[ReadyTeacher], labels: Labels) -> Teacher:
    """Load one teacher, or an ensemble of several; the columns of the outputs are the labels of the data.

    Raises:
        ValueError: A teacher cannot be read or lacks a label.
    """
    loaded = tuple(teacher.load(labels) for teacher in teachers)
    return loaded[0] if len(loaded) == 1 else Ensemble(loaded)


__all__ = ["CheckpointTeacher", "Ensemble", "OnnxTeacher", "ReadyTeacher", "Teacher", "load", "scores"]
