"""Records the outputs of teachers for all augmented views of the training images.

Outputs are appended to raw files view by view, so that a full disk raises OSError and a view is complete or absent.
Outputs of images in shards have a folder for each shard, and several processes share the shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from mlkd.core.files import write_file
from mlkd.core.progress import Progress, silent
from mlkd.data.augment import Views
from mlkd.data.loader import AugmentedImages, Batch, in_order, scored_at_once, workers
from mlkd.data.prepared import Split, read_split
from mlkd.losses.base import Need, positives
from mlkd.models import frozen
from mlkd.models.feature_cache import FeatureCache, open_cache
from mlkd.models.outputs import Outputs
from mlkd.teachers import ReadyTeacher, Teacher, load
from mlkd.teachers.cache import ABOUT, read_about
from mlkd.teachers.checkpoint import LoadedCheckpoint
from mlkd.teachers.projection import IMAGES, Projection, fit_or_read
from mlkd.teachers.raw_files import RawFiles, discard_damaged
from mlkd.teachers.sharded import folders

MAPS_BYTES = 8 << 30  # of the stage maps of all views; above it the teacher runs along with each student


def record(
    teachers: Sequence[ReadyTeacher],
    data: Path,
    views: Views,
    out: Path,
    *,
    seed: int,
    maps: int = 0,
    label_maps: bool = False,
    components: int = 0,
    frozen_groups: int = 0,
    features: Path | None = None,
    rank: int = 0,
    ranks: int = 1,
    progress: Progress = silent,
) -> None:
    """Write the outputs of a teacher or an ensemble for all views of the training images; resumes at the last view.

    Logits (V, N, L), pooled features (V, N, F) and embeddings (P, D) are stored in float16; embeddings only of the
    decisions that `losses.base.positives` names, which may differ between views where decisions are unknown.  Of the
    first teacher that has maps are stored too: the deepest `maps` stage maps (V, N, C, H, W), unless all are more than
    MAPS_BYTES; its label maps (V, N, L, H, W) if `label_maps`; and so many principal `components` (V, N, K, H, W) of
    its last stage map.  Where `frozen_groups` of a single teacher stayed frozen, it continues from their features in
    the folder `features`.  `data` is a prepared set, `out` an existing folder, empty or with some complete views.

    If the images are in shards, each of `ranks` processes writes the outputs of its own shards; then frozen layers run
    in every view.

    Raises:
        ValueError: A teacher lacks a label, or its outputs are nan or infinite.
    """
    split = read_split(data, "train")
    parts = folders(out, split)[rank::ranks]
    discard_damaged([folder for folder, _ in parts])
    done = sum(read_about(folder).get("done", 0) * len(rows) for folder, rows in parts)
    total = views.count * sum(len(rows) for _, rows in parts)
    if done == total:
        return
    wanted: dict[Need, bool] = {"features": maps > 0, "label_maps": label_maps, "last_map": components > 0}
    teacher = load(teachers, split.labels, maps=[kind for kind, is_wanted in wanted.items() if is_wanted])
    cache: FeatureCache | None = None
    if features and frozen_groups and isinstance(teacher, LoadedCheckpoint):
        frozen.freeze(teacher.tagger, frozen_groups)
        cache = open_cache(teacher.tagger, split, views, seed, features)
    cuda = torch.cuda.is_available()
    processes = workers(cuda=cuda, ranks=ranks)
    at_once = 64 if cache else scored_at_once(max(teacher.sizes), cuda=cuda)  # maps behind frozen layers are small

    def computed(view: int, batches: Sequence[range]) -> Iterator[tuple[NDArray[np.int64], Outputs]]:
        if cache and isinstance(teacher, LoadedCheckpoint):
            return _from_features(teacher, cache, view, batches, progress)
        images = AugmentedImages(split, teacher.sizes, views, seed, view)
        return _from_images(teacher, images, images.batches(batches, processes))

    with torch.inference_mode():
        some = in_order(split, at_once)[:: max(1, len(split) // IMAGES)]
        projection = fit_or_read(out, lambda: _last_maps(split, computed(0, some)), components)
        for view in range(views.count):
            waiting = {
                folder: [rows[batch.start : batch.stop] for batch in in_order(rows, at_once)]
                for folder, rows in parts
                if read_about(folder).get("done", 0) == view
            }
            outputs = computed(view, [batch for of_folder in waiting.values() for batch in of_folder])
            for folder, of_folder in waiting.items():
                facts: dict[str, Any] = {"views": asdict(views), "seed": seed, "done": view + 1}
                written = islice(_projected(outputs, projection), len(of_folder))
                for count in _write_view(folder, split, written, facts, maps):
                    done += count
                    progress("teacher outputs", done, total)


def _last_maps(split: Split, computed: Iterator[tuple[NDArray[np.int64], Outputs]]) -> Iterator[Tensor]:
    for indices, outputs in computed:
        _check_finite(split, indices, outputs)
        assert outputs.last_map is not None, "the teacher was loaded for it"
        yield outputs.last_map


def _projected(
    computed: Iterator[tuple[NDArray[np.int64], Outputs]], projection: Projection | None
) -> Iterator[tuple[NDArray[np.int64], Outputs]]:
    for indices, outputs in computed:
        last = outputs.last_map
        yield indices, replace(outputs, last_map=projection(last)) if projection and last is not None else outputs


def _write_view(
    folder: Path, split: Split, computed: Iterator[tuple[NDArray[np.int64], Outputs]], facts: dict[str, Any], maps: int
) -> Iterator[int]:
    """Append a view of the images of a folder, and record it with `facts`; yields the size of each batch."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        files = RawFiles(folder, read_about(folder).get("views_written", []), stack)
        for indices, every in computed:
            outputs = _with_maps(every, maps, facts["views"]["count"] * len(split))
            _append(files, split, indices, outputs)
            yield len(indices)
        facts["views_written"] = files.flush()
        facts["bytes"] = {name: part["end"] for name, part in facts["views_written"][-1].items()}
    for name, values in (("embeddings", outputs.embeddings), ("pooled", outputs.pooled)):
        facts[name] = None if values is None else values.shape[-1]
    facts["maps"] = [list(values.shape[1:]) for values in outputs.features or ()]
    facts["label_maps"] = None if outputs.label_maps is None else list(outputs.label_maps.shape[2:])
    facts["last_map"] = None if outputs.last_map is None else list(outputs.last_map.shape[1:])
    write_file(folder / ABOUT, json.dumps(facts, indent=1) + "\n")


def _from_images(
    teacher: Teacher, images: AugmentedImages, batches: Iterator[Batch]
) -> Iterator[tuple[NDArray[np.int64], Outputs]]:
    for indices, by_size in batches:
        aspects = images.split.aspects_of(indices) if teacher.pads else None
        yield indices, teacher(dict(zip(teacher.sizes, by_size, strict=True)), aspects)


def _from_features(
    teacher: LoadedCheckpoint, cache: FeatureCache, view: int, batches: Sequence[range], progress: Progress
) -> Iterator[tuple[NDArray[np.int64], Outputs]]:
    features = cache.view(view, progress)
    for rows in batches:
        indices = np.array(rows)
        yield indices, teacher.from_features(cache.cut, features[indices])


def _append(files: RawFiles, split: Split, indices: NDArray[np.int64], outputs: Outputs) -> None:
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
    for name, values in (("label_maps", outputs.label_maps), ("last_map", outputs.last_map)):
        if values is not None:
            files.append(name, _half(values))
    for stage, values in enumerate(outputs.features or ()):
        files.append(f"map{stage}", _half(values))


def _with_maps(outputs: Outputs, count: int, images: int) -> Outputs:
    """Only the deepest `count` stage maps, or none where those of all images are too large."""
    maps = (outputs.features or ())[-count:] if count else ()
    size = sum(2 * images * values[0].numel() for values in maps)
    return replace(outputs, features=maps if maps and size <= MAPS_BYTES else None)


def _check_finite(split: Split, indices: NDArray[np.int64], outputs: Outputs) -> None:
    for output in ("logits", "embeddings", "pooled", "label_maps", "last_map"):
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
