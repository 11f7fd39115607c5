"""A teacher that is a net of ours."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch

from mlkd.core.labels import Labels
from mlkd.losses.base import Need
from mlkd.models import checkpoint
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.teachers.base import Aspects, ImagesBySize, SingleTeacher, columns


@dataclass(frozen=True, kw_only=True)
class CheckpointTeacher:
    """`path` is best.safetensors of a training run, or the folder that it lies in."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Path = field(metadata={"identity": False})  # what lies there decides

    gives: ClassVar[frozenset[Need]] = frozenset({"teacher", "embeddings", "pooled", "features"})

    @property
    def folder(self) -> Path:
        """Where best.safetensors lies."""
        return self.path.parent if self.path.name == checkpoint.BEST else self.path

    @property
    def image_px(self) -> int:
        """The size of image it was trained for.  Raises ValueError for a missing or damaged file."""
        return int(checkpoint.read_facts(self.folder / checkpoint.BEST)["model"]["image_px"])

    def files(self) -> tuple[Path, ...]:
        """What it is made of."""
        return (self.folder / checkpoint.BEST,)

    def load(self, labels: Labels | None) -> SingleTeacher:
        """The net, on CUDA where there is one; without `labels` for its own.

        Raises ValueError for labels that it was not trained for.
        """
        own = checkpoint.load_labels(self.folder)
        chosen = columns(self.path, own.names, labels or own)
        tagger = checkpoint.load_model(self.folder)
        return _Net(tagger.to("cuda" if torch.cuda.is_available() else "cpu"), chosen, len(own))


@dataclass(frozen=True)
class _Net:
    tagger: TaggerNet
    columns: list[int]
    width: int
    pads = False

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.tagger.image_px,)

    @property
    def runs_on(self) -> str:
        return str(next(self.tagger.parameters()).device)

    def __call__(self, images: ImagesBySize, _: Aspects | None = None, /) -> Outputs:
        outputs: Outputs = self.tagger(images[self.tagger.image_px].to(self.runs_on))
        embeddings = None if outputs.embeddings is None else outputs.embeddings[:, self.columns]
        chosen = dataclasses.replace(outputs, logits=outputs.logits[:, self.columns], embeddings=embeddings)
        return chosen.each(lambda tensor: tensor.float().cpu())
