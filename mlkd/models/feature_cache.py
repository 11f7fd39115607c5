"""The cache of frozen features: computed once for each augmented view of the training images, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mlkd.core.files import create_array, fsync, sha256_of, write_file
from mlkd.core.locks import locked
from mlkd.core.progress import Progress
from mlkd.data.augment import Views
from mlkd.data.loader import AugmentedImages, in_order, scored_at_once, workers
from mlkd.data.prepared import Split
from mlkd.models.frozen import Cut, cut
from mlkd.models.network import TaggerNet

log = logging.getLogger(__name__)
HASH = ".sha256"  # of the file beside it
LIMIT_BYTES = 8 << 30  # of all views; above it the frozen part runs in every step


def open_cache(tagger: TaggerNet, split: Split, views: Views, seed: int, folder: Path) -> FeatureCache | None:
    """The cache of a tagger's frozen front; None above LIMIT_BYTES, of streamed images, or if no front can be cut."""
    if split.shards:
        return None
    found = cut(tagger)
    if found is None:
        return None
    cache = FeatureCache(found, split, views, seed, folder)
    if cache.bytes() <= LIMIT_BYTES:
        return cache
    sizes = cache.bytes() / 1e9, LIMIT_BYTES / 1e9
    log.info("features of frozen layers: %.1f GB, more than %.1f; they are computed in every step", *sizes)
    return None


@dataclass(frozen=True)
class FeatureCache:
    """Features (N, ...) in float16 of each view of a split, one file a view, in `folder`, which is of that split alone.

    Files are named by what decides their content (the frozen weights, the views, the seed), so that all trainings with
    the same frozen part share them.
    """

    cut: Cut
    split: Split
    views: Views
    seed: int
    folder: Path

    def bytes(self) -> int:
        """Size of the features of all views."""
        shape = self._shape()
        return 2 * self.views.count * int(np.prod(shape))

    def view(self, number: int, progress: Progress) -> NDArray[np.float16]:
        """Return the features of a view, computed if they are not there; a killed process leaves none of them.

        If several processes need them, one computes them and the others wait.  Each process compares them once with
        their hash; damaged ones are computed again.
        """
        file = self._file(number)
        if not _is_whole(file):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(file.with_suffix(".lock")):
                if not _is_whole(file):  # another process may have computed it in the meantime
                    self._compute(file, number, progress)
        features: NDArray[np.float16] = np.load(file, mmap_mode="r")
        return features

    def _compute(self, file: Path, number: int, progress: Progress) -> None:
        partial = file.with_suffix(".partial")
        self._fill(create_array(partial, np.float16, self._shape()), number, progress)
        fsync(partial)
        write_file(file.with_suffix(HASH), sha256_of(partial))
        partial.replace(file)

    def _fill(self, out: np.memmap[Any, Any], number: int, progress: Progress) -> None:
        tagger, total = self.cut.tagger, len(self.split)
        cuda = tagger.mean.device.type == "cuda"
        images = AugmentedImages(self.split, (tagger.image_px,), self.views, self.seed, number)
        rows = in_order(self.split, scored_at_once(tagger.image_px, cuda=cuda))
        for indices, (batch,) in images.batches(rows, workers(cuda=cuda, ranks=1)):
            out[indices] = self.cut.features(batch.to(tagger.mean.device)).cpu().numpy()
            progress(f"frozen features of view {number + 1}", int(indices[-1]) + 1, total)
        out.flush()

    def _shape(self) -> tuple[int, ...]:
        px = self.cut.tagger.image_px
        probe = torch.zeros(1, px, px, 3, dtype=torch.uint8, device=self.cut.tagger.mean.device)
        return (len(self.split), *self.cut.features(probe).shape[1:])

    def _file(self, number: int) -> Path:
        decides = json.dumps([self.cut.key(), asdict(self.views), self.seed, number], sort_keys=True)
        return self.folder / f"{hashlib.sha256(decides.encode()).hexdigest()[:16]}.npy"


def _is_whole(file: Path) -> bool:
    """Whether the file is there with the content that was written; a warning names a damaged one."""
    written = file.with_suffix(HASH)
    if not (file.is_file() and written.is_file()):
        return False
    status = file.stat()
    if _hash_once(file, status.st_mtime_ns, status.st_ino) == written.read_text(encoding="utf-8", errors="replace"):
        return True
    log.warning("%s: expected the features that were written, got others; they are computed again", file)
    return False


@lru_cache(maxsize=1024)
def _hash_once(file: Path, _mtime_ns: int, _inode: int) -> str:
    """SHA-256 of the file; another file has another time or inode."""
    return sha256_of(file)
