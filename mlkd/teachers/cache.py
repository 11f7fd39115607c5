"""The cache of teacher outputs for all augmented views of the training images, used by every student.

Outputs are appended to raw files view by view, so that a full disk raises OSError and a view is complete or absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from mlkd.core.files import write_file
from mlkd.core.progress import Progress, silent
from mlkd.data.augment import Views
from mlkd.data.loader import AugmentedImages, workers
from mlkd.data.prepared import Split, read_split
from mlkd.losses import Loss
from mlkd.losses.base import positives
from mlkd.models.outputs import Outputs
from mlkd.teachers import ReadyTeacher, load

_BATCH = 64
_ABOUT = "about.json"


def record(
    teachers: Sequence[ReadyTeacher], data: Path, views: Views, out: Path, *, seed: int, progress: Progress = silent
) -> None:
    """Write the outputs of a teacher or an ensemble for all views of the training images; resumes at the last view.

    Logits (V, N, L), pooled features (V, N, F) and embeddings (P, D) are stored in float16; embeddings only of the
    decisions that `losses.base.positives` names, which may differ between views where decisions are unknown.  `data` is
    a prepared set, `out` an existing folder, empty or with some complete views.

    Raises:
        ValueError: A teacher lacks a label, or its outputs are nan or infinite.
    """
    split = read_split(data, "train")
    about = _about(out)
    if about.get("done") == views.count:
        return
    teacher = load(teachers, split.labels)
    processes = workers(cuda=torch.cuda.is_available(), ranks=1)
    rows = [range(start, min(start + _BATCH, len(split))) for start in range(0, len(split), _BATCH)]
    with ExitStack() as stack, torch.inference_mode():
        files = _Files(out, about.get("bytes", {}), stack)
        for view in range(about.get("done", 0), views.count):
            augmented = AugmentedImages(split, teacher.sizes, views, seed, view)
            for indices, images in augmented.batches(rows, processes):
                aspects = split.aspects[indices] if teacher.pads else None
                outputs = teacher(dict(zip(teacher.sizes, images, strict=True)), aspects)
                _append(files, split, indices, outputs)
                progress("teacher outputs", view * len(split) + int(indices[-1]) + 1, views.count * len(split))
            facts: dict[str, Any] = {"views": asdict(views), "seed": seed, "done": view + 1, "bytes": files.flush()}
            for name, values in (("embeddings", outputs.embeddings), ("pooled", outputs.pooled)):
                facts[name] = None if values is None else values.shape[-1]
            write_file(out / _ABOUT, json.dumps(facts, indent=1) + "\n")


@dataclass(frozen=True)
class TeacherOutputs:
    """Stored outputs as memory maps, with P embeddings of all views one after the other."""

    logits: NDArray[np.float16]  # (V, N, L)
    pooled: NDArray[np.float16] | None  # (V, N, F)
    embeddings: NDArray[np.float16] | None  # (P, D)
    positive: NDArray[np.uint8]  # (V, N, ⌈L/8⌉) bits: which labels have an embedding
    first: NDArray[np.int64]  # (V, N) row of the first embedding of an image
    views: Views
    seed: int

    @classmethod
    def read(cls, folder: Path, split: Split) -> TeacherOutputs:
        """Open the outputs in a folder.  Raises ValueError if they are incomplete or of other images."""
        about = _about(folder)
        views = Views(**about["views"]) if about else None
        if views is None or about["done"] < views.count:
            raise ValueError(
                f"teacher outputs: expected a complete set in {folder}, got none; run teacher_outputs first"
            )
        shape = (views.count, *split.targets.shape)
        if about["bytes"]["logits"] != 2 * np.prod(shape):
            got = about["bytes"]["logits"] // (2 * views.count)
            raise _other_images_error(folder, split, f"{got} decisions")
        positive = _map_file(folder, "positive", np.uint8, (*shape[:2], -(-shape[2] // 8)))
        known = True if split.label_mask is None else split.label_mask
        stored = np.unpackbits(positive[0], axis=1, count=shape[2])
        if not np.array_equal(stored * known, split.targets * known):
            raise _other_images_error(folder, split, "those of other images")
        counts = np.bitwise_count(positive).sum(2, dtype=np.int64)
        return cls(
            logits=_map_file(folder, "logits", np.float16, shape),
            pooled=_map_file(folder, "pooled", np.float16, (*shape[:2], about["pooled"])) if about["pooled"] else None,
            embeddings=_map_file(folder, "embeddings", np.float16, (int(counts.sum()), about["embeddings"]))
            if about["embeddings"]
            else None,
            positive=positive,
            first=(np.cumsum(counts) - counts.ravel()).reshape(counts.shape),
            views=views,
            seed=about["seed"],
        )

    def batch(self, indices: NDArray[np.int64], view: int) -> Outputs:
        """float32 Outputs of the images `indices` in one view; embeddings that are not stored are 0, and not used."""
        return Outputs(
            logits=torch.from_numpy(self.logits[view, indices]).float(),
            embeddings=None if self.embeddings is None else self._embeddings(self.embeddings, indices, view),
            pooled=None if self.pooled is None else torch.from_numpy(self.pooled[view, indices]).float(),
        )

    def require(self, losses: Sequence[Loss]) -> None:
        """Raise ValueError that names the first loss with a weight that needs an output which is not stored."""
        probe = self.batch(np.zeros(1, dtype=np.int64), 0)
        for loss in losses:
            if loss.weight and "embeddings" in loss.needs:
                probe.label_embeddings(loss.kind)
            if loss.weight and "pooled" in loss.needs:
                probe.pooled_features(loss.kind)

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


class _Files:
    """Raw files to append to; an incomplete view of an interrupted run is cut off."""

    def __init__(self, out: Path, sizes: Mapping[str, int], stack: ExitStack) -> None:
        self.out, self.sizes, self.stack = out, sizes, stack
        self.open: dict[str, BinaryIO] = {}

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Append an array to the file `name`.  Raises OSError when the disk is full."""
        if name not in self.open:
            self.open[name] = self.stack.enter_context((self.out / f"{name}.raw").open("ab"))
            self.open[name].truncate(self.sizes.get(name, 0))
        self.open[name].write(np.ascontiguousarray(values).data)

    def flush(self) -> dict[str, int]:
        """Force all files to the disk; returns their sizes in bytes."""
        for file in self.open.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: os.fstat(file.fileno()).st_size for name, file in self.open.items()}


def _append(files: _Files, split: Split, indices: NDArray[np.int64], outputs: Outputs) -> None:
    _check_finite(split, indices, outputs)
    logits = _half(outputs.logits)
    targets = torch.from_numpy(split.targets[indices]).float()
    label_mask = None if split.label_mask is None else torch.from_numpy(split.label_mask[indices])
    mask = positives(targets, label_mask, torch.from_numpy(logits).float())
    files.append("logits", logits)
    files.append("positive", np.packbits(mask.numpy(), axis=1))
    if outputs.embeddings is not None:
        files.append("embeddings", _half(outputs.embeddings[mask]))
    if outputs.pooled is not None:
        files.append("pooled", _half(outputs.pooled))


def _check_finite(split: Split, indices: NDArray[np.int64], outputs: Outputs) -> None:
    for output in ("logits", "embeddings", "pooled"):
        values: Tensor | None = getattr(outputs, output)
        bad = torch.zeros(len(indices)) if values is None else (~torch.isfinite(values)).flatten(1).any(1)
        if bad.any():
            name = split.names[indices[int(bad.nonzero()[0])]]
            raise ValueError(
                f"teacher outputs: expected finite {output}, got others for {name}; choose another teacher"
            )


def _half(values: Float[Tensor, "..."]) -> NDArray[np.float16]:
    limit = float(np.finfo(np.float16).max)
    return np.asarray(values.clamp(-limit, limit).numpy(), np.float16)


def _map_file(folder: Path, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(folder / f"{name}.raw", dtype, mode="r", shape=shape))


def _other_images_error(folder: Path, split: Split, got: str) -> ValueError:
    return ValueError(
        f"teacher outputs in {folder}: expected those of {split.targets.shape} images and labels, got {got}; "
        "remove the folder and rerun the command"
    )


def _about(folder: Path) -> dict[str, Any]:
    file = folder / _ABOUT
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
