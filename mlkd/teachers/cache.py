"""The cache of teacher outputs for all augmented views of the training images, used by every student."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from mlkd.data.augment import Views
from mlkd.data.prepared import Split
from mlkd.losses import Loss, PcaMaps
from mlkd.losses.base import Need
from mlkd.models.outputs import Outputs

ABOUT = "about.json"


@dataclass(frozen=True)
class TeacherOutputs:
    """Stored outputs as memory maps, with P embeddings of all views one after the other."""

    logits: NDArray[np.float16]  # (V, N, L)
    pooled: NDArray[np.float16] | None  # (V, N, F)
    embeddings: NDArray[np.float16] | None  # (P, D)
    positive: NDArray[np.uint8]  # (V, N, ⌈L/8⌉) bits: which labels have an embedding
    first: NDArray[np.int64]  # (V, N) row of the first embedding of an image
    maps: tuple[NDArray[np.float16], ...]  # (V, N, C, H, W), shallow first
    label_maps: NDArray[np.float16] | None  # (V, N, L, H, W)
    last_map: NDArray[np.float16] | None  # (V, N, K, H, W), K principal components
    views: Views
    seed: int

    @classmethod
    def read(cls, folder: Path, split: Split, rows: range | None = None) -> TeacherOutputs:
        """Open the outputs of these rows, or of all.  Raises ValueError if they are incomplete or of other images."""
        chosen = slice(None) if rows is None else slice(rows.start, rows.stop)
        targets = split.targets[chosen]
        about = read_about(folder)
        views = Views(**about["views"]) if about else None
        if views is None or about["done"] < views.count:
            raise ValueError(
                f"teacher outputs: expected a complete set in {folder}, got none; run teacher_outputs first"
            )
        shape = (views.count, *targets.shape)
        if about["bytes"]["logits"] != 2 * np.prod(shape):
            got = about["bytes"]["logits"] // (2 * views.count)
            raise _other_images_error(folder, targets, f"{got} decisions")
        positive = _map_file(folder, "positive", np.uint8, (*shape[:2], -(-shape[2] // 8)))
        known = True if split.label_mask is None else split.label_mask[chosen]
        stored = np.unpackbits(positive[0], axis=1, count=shape[2])
        if not np.array_equal(stored * known, targets * known):
            raise _other_images_error(folder, targets, "those of other images")
        counts = np.bitwise_count(positive).sum(2, dtype=np.int64)
        return cls(
            logits=_map_file(folder, "logits", np.float16, shape),
            pooled=_map_file(folder, "pooled", np.float16, (*shape[:2], about["pooled"])) if about["pooled"] else None,
            embeddings=_map_file(folder, "embeddings", np.float16, (int(counts.sum()), about["embeddings"]))
            if about["embeddings"]
            else None,
            positive=positive,
            first=(np.cumsum(counts) - counts.ravel()).reshape(counts.shape),
            maps=tuple(
                _map_file(folder, f"map{stage}", np.float16, (*shape[:2], *sizes))
                for stage, sizes in enumerate(about.get("maps", ()))
            ),
            label_maps=_map_file(folder, "label_maps", np.float16, (*shape, *about["label_maps"]))
            if about.get("label_maps")
            else None,
            last_map=_map_file(folder, "last_map", np.float16, (*shape[:2], *about["last_map"]))
            if about.get("last_map")
            else None,
            views=views,
            seed=about["seed"],
        )

    def batch(self, indices: NDArray[np.int64], view: int) -> Outputs:
        """float32 Outputs of the images `indices` in one view; embeddings that are not stored are 0, and not used."""
        return Outputs(
            logits=torch.from_numpy(self.logits[view, indices]).float(),
            embeddings=None if self.embeddings is None else self._embeddings(self.embeddings, indices, view),
            pooled=None if self.pooled is None else torch.from_numpy(self.pooled[view, indices]).float(),
            features=tuple(torch.from_numpy(stage[view, indices]).float() for stage in self.maps) or None,
            label_maps=None if self.label_maps is None else torch.from_numpy(self.label_maps[view, indices]).float(),
            last_map=None if self.last_map is None else torch.from_numpy(self.last_map[view, indices]).float(),
        )

    def require(self, losses: Sequence[Loss]) -> None:
        """Raise ValueError that names the first loss with a weight that needs an output which is not stored."""
        probe = self.batch(np.zeros(1, dtype=np.int64), 0)
        checks: dict[Need, Callable[[str], Tensor]] = {
            "embeddings": probe.label_embeddings,
            "pooled": probe.pooled_features,
            "label_maps": probe.maps_of_labels,
        }
        for loss in losses:
            for need, read in checks.items():
                if loss.weight and need in loss.needs:
                    read(loss.kind)
            if loss.weight and isinstance(loss, PcaMaps):
                loss.check_channels(probe.last_stage_map(loss.kind).shape[1])

    def _embeddings(self, stored: NDArray[np.float16], indices: NDArray[np.int64], view: int) -> Float[Tensor, "B L D"]:
        labels = self.logits.shape[2]
        mask = np.unpackbits(self.positive[view, indices], axis=1, count=labels)
        cells = np.flatnonzero(mask)
        counts = mask.sum(1, dtype=np.int64)
        ends = np.cumsum(counts)
        rows = np.arange(len(cells)) + np.repeat(self.first[view, indices] - (ends - counts), counts)
        embeddings = torch.zeros(len(indices) * labels, stored.shape[1])
        embeddings.numpy()[cells] = (
            torch.from_numpy(stored[rows]).float().numpy()
        )  # torch converts faster, numpy assigns faster
        return embeddings.view(len(indices), labels, stored.shape[1])


def _map_file(folder: Path, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(folder / f"{name}.raw", dtype, mode="r", shape=shape))


def _other_images_error(folder: Path, targets: NDArray[np.uint8], got: str) -> ValueError:
    return ValueError(
        f"teacher outputs in {folder}: expected those of {targets.shape} images and labels, got {got}; "
        "remove the folder and rerun the command"
    )


def read_about(folder: Path) -> dict[str, Any]:
    file = folder / ABOUT
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
