"""Trained teachers: models of this pipeline, foreign ONNX taggers, and ensembles of them."""

from collections.abc import Collection, Sequence

from mlkd.core.labels import Labels
from mlkd.losses.base import Need
from mlkd.teachers.base import Ensemble, Teacher, scores
from mlkd.teachers.checkpoint import CheckpointTeacher
from mlkd.teachers.onnx import OnnxTeacher

ReadyTeacher = CheckpointTeacher | OnnxTeacher


def load(teachers: Sequence[ReadyTeacher], labels: Labels, *, maps: Collection[Need] = ()) -> Teacher:
    """Load one teacher, or an ensemble of several; the columns of the outputs are the labels of the data.

    Of `maps`, features, label_maps and last_map, the outputs have those of the first teacher that was trained by this
    pipeline.

    Raises:
        ValueError: A teacher cannot be read or lacks a label.
    """
    mapped = next((t for t in teachers if isinstance(t, CheckpointTeacher)), None)
    loaded = [
        teacher.load(labels, maps=maps if teacher is mapped else ())
        if isinstance(teacher, CheckpointTeacher)
        else teacher.load(labels)
        for teacher in teachers
    ]
    return loaded[0] if len(loaded) == 1 else Ensemble(tuple(loaded))


__all__ = ["CheckpointTeacher", "Ensemble", "OnnxTeacher", "ReadyTeacher", "Teacher", "load", "scores"]
