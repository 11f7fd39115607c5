"""Measure how much noise the structural losses compare: `python -m scripts.structure_noise runs/RECIPE`.

The class-aware loss compares the distances between the images of a label, the instance-aware loss those between the
labels of an image, each relative to the mean of its group.  For the student of a comparison after an epoch without a
teacher (stage compare/start), this script correlates these distances over all pairs of some batches: between two
dropout masks of the student, and between the student and the teacher, with and without dropout.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mlkd.data.prepared import Split, read_split
from mlkd.models.backbone import tokens
from mlkd.models.checkpoint import load_model
from mlkd.models.heads.label_decoder import LabelDecoderHead
from mlkd.models.network import TaggerNet
from mlkd.teachers.sharded import open_outputs

BATCHES, BATCH = 8, 64
Distances = Mapping[str, NDArray[np.float64]]  # by loss


def relative_distances(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances between n vectors (n, D), divided by their mean: (n (n - 1) / 2,)."""
    first, second = np.triu_indices(len(vectors), 1)
    found: NDArray[np.float64] = np.linalg.norm(vectors[first] - vectors[second], axis=1)
    return found / found.mean()


def distances(embeddings: NDArray[np.float64], positive: NDArray[np.bool_]) -> Distances:
    """The distances that both losses compare in one batch of embeddings (B, L, D), of the positives (B, L)."""
    groups = {
        "class_aware": [embeddings[rows, label] for label, rows in enumerate(positive.T) if rows.sum() > 2],
        "instance_aware": [embeddings[image, labels] for image, labels in enumerate(positive) if labels.sum() > 2],
    }
    return {loss: np.concatenate([np.empty(0), *map(relative_distances, found)]) for loss, found in groups.items()}


def embed(tagger: TaggerNet, pixels: torch.Tensor) -> list[NDArray[np.float64]]:
    """Embeddings (B, L, D) without dropout, and with two masks where the head has dropout."""
    positions = tokens(tagger.backbone(tagger.normalise(pixels)), tagger.backbone)
    found = [tagger.head(positions).embeddings]
    head = tagger.head
    if isinstance(head, LabelDecoderHead) and head.dropout:
        queries, memory = head.query_norm(head.queries), head.project_tokens(positions).relu()
        attended = head._attend(head.project_query(queries), memory)
        found += [head._embed(queries, attended, noise=head.dropout) for _ in range(2)]
    return [embeddings.double().numpy() for embeddings in found]


@torch.no_grad()
def measure(tagger: TaggerNet, train: Split, teacher_outputs: Path) -> dict[str, dict[str, float]]:
    """Correlations by loss and by what is compared."""
    outputs = open_outputs(teacher_outputs, train)
    pairs: dict[tuple[str, str], list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    order = np.random.default_rng(0).permutation(len(train))
    pixels, positives = train.pixels(tagger.image_px), train.positives
    torch.manual_seed(0)
    for first in range(0, min(len(train), BATCHES * BATCH), BATCH):
        rows = order[first : first + BATCH]
        seen = [outputs.views.apply(pixels[row], seed=outputs.seed, row=int(row), view=0) for row in rows]
        positive = positives[rows]
        teacher = distances(outputs.batch(rows, 0).label_embeddings("teacher").double().numpy(), positive)
        clean, *noisy = (distances(found, positive) for found in embed(tagger, torch.stack(seen)))
        compared = {"student and teacher": (clean, teacher)}
        if noisy:
            compared |= {"two dropout masks": (noisy[0], noisy[1]), "with dropout, and teacher": (noisy[0], teacher)}
        for name, (one, other) in compared.items():
            for loss in teacher:
                pairs.setdefault((loss, name), []).append((one[loss], other[loss]))
    result: dict[str, dict[str, float]] = {}
    for (loss, name), found in pairs.items():
        ones, others = (np.concatenate(side) for side in zip(*found, strict=True))
        if len(ones):
            result.setdefault(loss, {})[name] = float(np.corrcoef(ones, others)[0, 1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of a recipe whose comparison has begun, runs/RECIPE")
    folder = parser.parse_args().folder
    found = measure(
        load_model(folder / "compare/start"), read_split(folder / "data", "train"), folder / "teacher_outputs"
    )
    for loss, by_pair in found.items():
        print(loss, ", ".join(f"{name} {value:.2f}" for name, value in by_pair.items()))


if __name__ == "__main__":
    main()
