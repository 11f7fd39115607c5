"""A teacher from a training run of this pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from mlkd.core.labels import Labels
from mlkd.losses.base import MAPS, Need
from mlkd.models import checkpoint
from mlkd.models.outputs import Outputs
from mlkd.teachers.base import Aspects, ImagesBySize, find_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlkd.models.frozen import Cut
    from mlkd.models.network import TaggerNet


@dataclass(frozen=True, kw_only=True)
class CheckpointTeacher:
    """`path` is best.safetensors of a training run, or its folder."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Path = field(metadata={"identity": False})  # the content of the file is what counts

    provides: ClassVar[frozenset[Need]] = frozenset(get_args(Need))

    @property
    def folder(self) -> Path:
        """The folder of best.safetensors."""
        return self.path.parent if self.path.name == checkpoint.BEST else self.path

    @property
    def image_px(self) -> int:
        """The image size in pixels.  Raises ValueError for a missing or damaged file."""
        return int(checkpoint.read_facts(self.folder / checkpoint.BEST)["model"]["image_px"])

    def files(self) -> tuple[Path, ...]:
        """The files whose content decides the outputs."""
        return (self.folder / checkpoint.BEST,)

    def load(self, labels: Labels | None, *, maps: Collection[Need] = ()) -> LoadedCheckpoint:
        """Load the model, on CUDA where available; without `labels`, its own labels are the columns.

        Its outputs have stage maps (features), label maps and the last stage map only if `maps` asks for them.

        Raises ValueError for labels that it was not trained for.
        """

        import torch

        own = checkpoint.load_labels(self.folder)
        columns = find_columns(self.path, own.names, labels or own)
        tagger = checkpoint.load_model(self.folder)
        tagger = tagger.to("cuda" if torch.cuda.is_available() else "cpu")
        return LoadedCheckpoint(tagger, columns, len(own), {kind: kind in maps for kind in MAPS})


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model of this pipeline as a teacher."""

    tagger: TaggerNet
    columns: list[int]
    label_count: int
    wanted: Mapping[str, bool]
    pads = False

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.tagger.image_px,)

    @property
    def runs_on(self) -> str:
        return str(next(self.tagger.parameters()).device)

    def __call__(self, images: ImagesBySize, _: Aspects | None = None, /) -> Outputs:
        mapped = self.wanted["features"] or self.wanted["last_map"]
        tagger = self.tagger if mapped else self._folded  # logits are proved to be equal, maps are not
        return self._chosen(tagger(images[self.tagger.image_px].to(self.runs_on), **self.wanted))

    @cached_property
    def _folded(self) -> TaggerNet:
        from mlkd.models.folded import fold_batch_norms

        return fold_batch_norms(self.tagger)

    def from_features(self, cut: Cut, features: NDArray[np.float16]) -> Outputs:
        """Outputs for what the frozen front gave for B images."""

        import torch

        inputs = cut.inputs(torch.from_numpy(features).to(self.runs_on))
        return self._chosen(self.tagger.outputs(cut.tail, inputs, **self.wanted))

    def _chosen(self, outputs: Outputs) -> Outputs:
        parts = outputs.embeddings, outputs.label_maps
        embeddings, label_maps = (None if part is None else part[:, self.columns] for part in parts)
        logits = outputs.logits[:, self.columns]
        chosen = dataclasses.replace(outputs, logits=logits, embeddings=embeddings, label_maps=label_maps)
        return chosen.each(lambda tensor: tensor.float().cpu())
