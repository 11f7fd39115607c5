"""Teachers that are ready to teach: nets of ours, ONNX taggers from elsewhere, several of them as one."""

from collections.abc import Sequence

from mlkd.core.labels import Labels
from mlkd.teachers.base import Several, Teacher, scores
from mlkd.teachers.checkpoint import CheckpointTeacher
from mlkd.teachers.onnx import OnnxTeacher

ReadyTeacher = CheckpointTeacher | OnnxTeacher


def load(teachers: Sequence[ReadyTeacher], labels: Labels) -> Teacher:
    """All of them as one.  Raises ValueError where one was made for other labels."""
    loaded = tuple(teacher.load(labels) for teacher in teachers)
    return loaded[0] if len(loaded) == 1 else Several(loaded)


__all__ = ["CheckpointTeacher", "OnnxTeacher", "ReadyTeacher", "Several", "Teacher", "load", "scores"]
