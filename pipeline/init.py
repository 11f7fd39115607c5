"""Writes a first recipe for a user's folder: nets, sizes and epochs that fit the number of its pictures."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from mlkd.models.weights import PACKAGES
from pipeline.survey import BETWEEN, Survey, survey, tag_by_folders

LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
# Seconds a picture on 2 cores without a GPU, forward and backward at 96 px; the rest goes with the area.
SECONDS = {LITE0: 0.009, LITE2: 0.012}
FORWARD = 0.35  # of that, without backward


@dataclass(frozen=True)
class Scale:
    """What fits up to so many pictures."""

    pictures: float
    teacher: str
    teacher_px: int
    student_px: int
    epochs: int
    batch_size: int


SCALES = (
    Scale(200, LITE0, 96, 64, 20, 16),
    Scale(2_000, LITE2, 96, 64, 16, 32),
    Scale(20_000, LITE2, 128, 96, 10, 64),
    Scale(100_000, LITE2, 160, 128, 8, 64),
    Scale(float("inf"), LITE2, 224, 160, 6, 64),
)

RECIPE = """\
# {pictures} pictures of {labels} labels; written by `python -m pipeline init`, yours to change.
data:
  kind: folder
  root: {root}
  tags: {tags}
  file_column: {file_column}
  delimiter: {delimiter}
{unlabelled}\
views: {{count: 4}}

teacher:
  model:
    backbone: {teacher}
    image_px: {teacher_px}
    weights: {{kind: package, name: {teacher_package}}}
    head: {{kind: label_decoder, embedding: 256, feed_forward: 512}}
  training: {{epochs: {epochs}, learning_rate: 1e-3, backbone_scale: 0.3, batch_size: {batch_size}}}

student:
  model:
    backbone: {student}
    image_px: {student_px}
    weights: {{kind: package, name: {student_package}}}
    head: {{kind: label_attention, embedding: 128}}
  training:
    epochs: {epochs}
    learning_rate: 1e-3
    backbone_scale: 0.3
    batch_size: {batch_size}
    losses:
{losses}\

baseline: {{epochs: {epochs}, learning_rate: 1e-3, backbone_scale: 0.3, batch_size: {batch_size}}}

export:
  calibration_pictures: {calibration}
{gates}
minutes: {{{minutes}}}  # on 2 cores without a GPU
"""

# In a small validation set one decision weighs much, and many flip for nothing.
GATES = """\
  parity:
    fp32: {max_difference: 1e-3, map_loss: 0.01}
    bf16: {map_loss: 0.03}
    fp16: {map_loss: 0.02}
    int8: {map_loss: 0.05}
"""


LOSSES = """\
      - {kind: bce}
      - {kind: label_kl}
      # - {kind: reviewkd, weight: 10, ramp_epochs: 0}  # a short training learns most by it; two or three times slower
"""


def init(folder: Path, out: Path | None) -> Path:
    """Look at the folder, tell what was found, and write a recipe; never over another.  Raises ValueError."""
    out = out or Path(f"{_file_name(folder)}.yaml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*\.ya?ml", out.name):
        raise ValueError(f"out: expected a name of letters, digits, - and _ that ends in .yaml, got {out.name!r}")
    if out.exists():
        raise ValueError(f"out: expected no file yet, got {out}; remove it, or name another with --out")
    written = tag_by_folders(folder)
    if written:
        print(f"no table found: wrote {written} with the names of the sub-folders as tags")
    found = survey(folder, BETWEEN if written else None)
    for line in found.lines():
        print(line)
    text = recipe_text(found)
    with out.open("x", encoding="utf-8") as stream:
        stream.write(text)
    scale = scale_of(found)
    print(
        f"wrote {out}: teacher {scale.teacher} at {scale.teacher_px} px, student {LITE0} at {scale.student_px} px, "
        f"{scale.epochs} epochs of batches of {scale.batch_size}"
    )
    print(f"next: python -m pipeline plan --recipe {out}; then distill, export and bench with the same --recipe")
    return out


def scale_of(found: Survey) -> Scale:
    """What fits the number of pictures."""
    return next(scale for scale in SCALES if len(found.rows) <= scale.pictures)


def recipe_text(found: Survey) -> str:
    """The recipe as YAML; text of the user's is quoted as JSON, which YAML reads as well."""
    scale = scale_of(found)
    return RECIPE.format(
        **vars(scale) | {"pictures": len(found.rows)},
        labels=len(found.table.labels),
        root=_quoted(str(found.root)),
        tags=_quoted(found.tags),
        file_column=_quoted(found.file_column),
        delimiter=_quoted(found.delimiter),
        unlabelled=_unlabelled(found),
        student=LITE0,
        teacher_package=_package(scale.teacher),
        student_package=_package(LITE0),
        losses=LOSSES,
        calibration=max(300, len(found.table.labels)),  # it has to cover every label
        gates="" if len(found.rows) > 2_000 else GATES,
        minutes=", ".join(f"{stage}: {minutes:.2g}" for stage, minutes in _minutes(len(found.rows), scale).items()),
    )


def _unlabelled(found: Survey) -> str:
    if not found.not_in_table:
        return ""
    return f"  # unlabelled: .  # learn from the {found.not_in_table} pictures without tags as well\n"


def _minutes(pictures: int, scale: Scale) -> dict[str, float]:
    """Rough: 70 % of the pictures are for training, and each costs as its area does, once an epoch or view."""
    teacher = SECONDS[scale.teacher] * (scale.teacher_px / 96) ** 2 * 0.7 * pictures / 60
    student = SECONDS[LITE0] * (scale.student_px / 96) ** 2 * 0.7 * pictures / 60
    return {
        "data": max(0.1, pictures * 0.005 / 60),
        "teacher": max(0.1, teacher * scale.epochs),
        "teacher_outputs": max(0.1, teacher * FORWARD * 4),
        "student": max(0.1, student * scale.epochs),
        "baseline": max(0.1, student * scale.epochs),
    }


def _package(backbone: str) -> str:
    return next(name for name, model in PACKAGES.items() if model == backbone)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _file_name(folder: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.absolute().name).strip("-_") or "mine"
