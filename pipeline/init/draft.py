"""Writes a first recipe for a user's folder: models, sizes and epochs that suit the number of its images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlkd.core.files import write_file
from mlkd.core.printable import printable
from mlkd.data import Folder
from mlkd.models.weight_packages import package_of
from pipeline.init.options import as_options
from pipeline.init.survey import Survey, survey
from pipeline.recipe.keys import keys

LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
SMALL = 2_000  # images up to which the accuracy gates are wider
MARK = "written by `python -m pipeline init`"  # in the recipes of this command


@dataclass(frozen=True)
class Scale:
    """Models and training for up to so many images."""

    images: float
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
# {images} images, {labels} labels; written by `python -m pipeline init`, change it as you like.
epochs: {epochs}  # of teacher, student and baseline
data:
{data}
{unlabelled}\
views: {{count: 4}}

teacher:
  model:
    backbone: {teacher}
    image_px: {teacher_px}
    weights: {{kind: package, name: {teacher_package}}}
    head: {{kind: label_decoder, embedding: 256, feed_forward: 512}}
  training: {{learning_rate: 1e-3, backbone_scale: 0.3, batch_size: {batch_size}}}

student:
  model:
    backbone: {student}
    image_px: {student_px}
    weights: {{kind: package, name: {student_package}}}
    head: {{kind: label_attention, embedding: 128}}
  training:
    learning_rate: 1e-3
    backbone_scale: 0.3
    batch_size: {batch_size}
    losses:
      - {{kind: bce}}
      - {{kind: label_kl}}
      # - {{kind: reviewkd, weight: 10, ramp_epochs: 0}}  # best for short training; two to three times slower
# The baseline is trained like the student, but without a teacher.

# `make search` finds the student that keeps a latency on your devices: set the budget, and uncomment the section.
# search:
#   max_p90_ms: 5.0  # end to end, on every device
#   devices: [this machine]  # and names of devices.yaml
#   students:
#     backbone: [{student}, tf_efficientnet_lite1]
#     image_px: {search_px}
#     stages: [4, null]  # null: the whole backbone
#     head: [{{kind: label_attention, embedding: 128}}, {{kind: pooled}}]
#   minutes: 60  # of all trainings before the finals

export:
  calibration_images: {calibration}
{gates}
"""

# In a small validation set a single prediction weighs much, and many change by chance.
GATES = """\
  parity:
    fp32: {max_difference: 1e-3, map_loss: 0.01}
    bf16: {map_loss: 0.03}
    fp16: {map_loss: 0.02}
    int8: {map_loss: 0.05}
"""


def init(folder: Path, given: Mapping[str, Any], out: Path | None, *, force: bool = False, look: bool = False) -> None:
    """Describe the folder and write a recipe for it to `out`; nothing is written into the folder.

    `given` holds keys of the data section; `look` writes nothing at all.  Raises ValueError with
    advice that names options of this command.
    """
    if out is None:
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.absolute().name).strip("-_") or "mine"
        out = Path(f"{name}.yaml")
    if not look:
        if out.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"out: expected a file outside {folder}, where nothing is written, got {out}; "
                f"pass --out ../{out.name}, or another file"
            )
        check_out(out, force=force)
    try:
        surveyed = survey(folder, given)
    except ValueError as cause:
        raise ValueError(as_options(str(cause))) from cause
    for line in surveyed.lines():
        print(printable(as_options(line)))
    scale = scale_of(surveyed)
    if len(surveyed.result.rows) <= SMALL:
        print("accuracy gates: wider than the default for this small validation set; see parity in the recipe")
    print(
        f"recipe: teacher {scale.teacher} at {scale.teacher_px} px, student {LITE0} at {scale.student_px} px, "
        f"{scale.epochs} epochs of batches of {scale.batch_size}"
    )
    if look:
        print("nothing was written; run without --look to write the recipe")
        return
    from pipeline.recipe.schema import check, read_recipe

    text = recipe_text(surveyed)
    check(read_recipe(text, out))
    write_file(out, text)
    print(
        f"wrote {out}; next: python -m pipeline plan --recipe {out}; then distill, export and bench with that --recipe"
    )


def check_out(out: Path, *, force: bool) -> None:
    """Raise ValueError for a file that is no name of a recipe, or that this command must not replace."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*\.ya?ml", out.name):
        raise ValueError(f"out: expected a name of letters, digits, - and _ that ends in .yaml, got {out.name!r}")
    if out.exists() and not force:
        raise ValueError(
            f"out: expected a new file, got {out}, which exists; pass --force to replace it, or --out FILE for another"
        )
    if out.exists() and MARK not in out.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"out: expected a recipe that this command wrote, got {out}; pass --out FILE for another")


def scale_of(surveyed: Survey) -> Scale:
    """Return the scale for the number of images."""
    return next(scale for scale in SCALES if len(surveyed.result.rows) <= scale.images)


def recipe_text(surveyed: Survey) -> str:
    """Format the recipe as YAML; the user's text is quoted as JSON, which is valid YAML."""
    scale, images, rest = scale_of(surveyed), len(surveyed.result.rows), surveyed.not_in_table
    return RECIPE.format(
        **vars(scale) | {"images": images},
        labels=len(surveyed.result.labels),
        data=_data(surveyed.source),
        unlabelled=f"  # unlabelled: .  # also train on the {rest} images without tags\n" if rest else "",
        student=LITE0,
        search_px=[round(scale.student_px * share / 16) * 16 for share in (2 / 3, 1, 4 / 3)],
        teacher_package=package_of(scale.teacher),
        student_package=package_of(LITE0),
        calibration=max(300, len(surveyed.result.labels)),  # they have to cover every label
        gates="" if images > SMALL else GATES,
    )


def _data(source: Folder) -> str:
    """The data section, with every key that differs from its default."""
    changed = {key.name: getattr(source, key.name) for key in keys(Folder) if getattr(source, key.name) != key.default}
    given = {"kind": "folder", "root": source.root, **changed}
    return "\n".join(f"  {name}: {json.dumps(value, ensure_ascii=False, default=str)}" for name, value in given.items())
