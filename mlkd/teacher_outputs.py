"""A teacher's outputs on every view of every training picture, computed once and reused by every student."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from mlkd import checkpoint, memory_map
from mlkd.data.prepared import Split, read_split
from mlkd.losses import Outputs
from mlkd.models import Tagger
from mlkd.progress import Progress, silent
from mlkd.views import Views

_BATCH = 64


def record(teacher: Path, data: Path, views: Views, out: Path, *, seed: int, progress: Progress = silent) -> None:
    """Write logits float16 (V, N, L) and the positives' embeddings float16 (V, P, D) of `teacher` into `out`.

    Resumes at the first view that is not complete.  P counts the positives of the N training pictures, row by row.
    """
    model, split = checkpoint.load_model(teacher), read_split(data, "train")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    rows = np.concatenate([[0], np.cumsum(split.targets.sum(1, dtype=np.int64))])
    done = _done(out)
    files: _Files | None = None
    with torch.inference_mode():
        for view in range(done, views.count):
            for start in range(0, len(split), _BATCH):
                indices = np.arange(start, min(start + _BATCH, len(split)))
                outputs = _outputs(model, split, views, seed, indices, view)
                files = files or _Files(out, views.count, split, outputs, fresh=done == 0)
                files.put(view, indices, rows, outputs, split)
                progress("teacher outputs", view * len(split) + int(indices[-1]) + 1, views.count * len(split))
            assert files is not None
            files.flush()
            facts = {"views": asdict(views), "seed": seed, "done": view + 1}
            (out / "about.json.partial").write_text(json.dumps(facts, indent=1) + "\n")
            (out / "about.json.partial").replace(out / "about.json")


@dataclass(frozen=True)
class TeacherOutputs:
    """What `record` wrote, read through memory maps."""

    logits: NDArray[np.float16]  # (V, N, L)
    embeddings: NDArray[np.float16]  # (V, P, D)
    targets: NDArray[np.uint8]  # (N, L)
    first: NDArray[np.int64]  # (N,) row of a picture's first positive
    views: Views
    seed: int

    @classmethod
    def read(cls, folder: Path, split: Split) -> TeacherOutputs:
        """Raises ValueError when the folder holds the outputs for other pictures."""
        about: Mapping[str, Any] = json.loads((folder / "about.json").read_text())
        logits = np.load(folder / "logits.npy", mmap_mode="r")
        embeddings = np.load(folder / "embeddings.npy", mmap_mode="r")
        counts = split.targets.sum(1, dtype=np.int64)
        if logits.shape[1:] != split.targets.shape or embeddings.shape[1] != counts.sum():
            raise ValueError(
                f"teacher outputs in {folder}: expected {split.targets.shape} pictures and labels, "
                f"got {logits.shape[1:]}; remove the folder and run again"
            )
        first = np.cumsum(counts) - counts
        return cls(logits, embeddings, split.targets, first, Views(**about["views"]), about["seed"])

    def batch(self, indices: NDArray[np.int64], view: int) -> Outputs:
        """float32 Outputs of pictures `indices` in one view; embeddings of negatives are zero and never used."""
        logits = torch.from_numpy(self.logits[view, indices].astype(np.float32))
        embeddings = torch.zeros(len(indices), self.targets.shape[1], self.embeddings.shape[2])
        picture, label = np.nonzero(self.targets[indices])
        nth = (
            np.concatenate([np.arange(n) for n in self.targets[indices].sum(1, dtype=np.int64)])
            if len(picture)
            else picture
        )
        rows = self.first[indices][picture] + nth
        embeddings[picture, label] = torch.from_numpy(self.embeddings[view, rows].astype(np.float32))
        return Outputs(logits=logits, embeddings=embeddings)


class _Files:
    def __init__(self, out: Path, views: int, split: Split, outputs: Outputs, *, fresh: bool) -> None:
        shapes = {"logits": (views, *split.targets.shape)}
        if outputs.embeddings is not None:
            shapes["embeddings"] = (views, int(split.targets.sum()), outputs.embeddings.shape[2])
        self.maps = {
            name: memory_map.create(out / f"{name}.npy", np.float16, shape)
            if fresh
            else np.load(out / f"{name}.npy", mmap_mode="r+")
            for name, shape in shapes.items()
        }

    def put(self, view: int, indices: NDArray[Any], rows: NDArray[np.int64], outputs: Outputs, split: Split) -> None:
        self.maps["logits"][view, indices] = _half(outputs.logits)
        if outputs.embeddings is not None:
            picture, label = np.nonzero(split.targets[indices])
            chosen = slice(rows[indices[0]], rows[indices[-1] + 1])
            self.maps["embeddings"][view, chosen] = _half(outputs.embeddings[picture, label])

    def flush(self) -> None:
        for file in self.maps.values():
            file.flush()


def _outputs(model: Tagger, split: Split, views: Views, seed: int, indices: NDArray[Any], view: int) -> Outputs:
    pixels = split.pixels(model.image_px)
    batch = torch.stack([views.apply(pixels[i], seed=seed, picture=int(i), view=view) for i in indices])
    outputs: Outputs = model(batch.to(next(model.parameters()).device))
    return outputs


def _half(values: Float[Tensor, "..."]) -> NDArray[np.float16]:
    limit = float(np.finfo(np.float16).max)
    half: NDArray[np.float16] = values.float().clamp(-limit, limit).cpu().numpy().astype(np.float16)
    return half


def _done(out: Path) -> int:
    about = out / "about.json"
    return int(json.loads(about.read_text())["done"]) if about.is_file() else 0
