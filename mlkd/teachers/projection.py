"""The principal components of a teacher's last stage map, which are stored in its place."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mlkd.core.files import write_file
from mlkd.core.locks import locked

IMAGES = 2000  # from which the components are computed
FILE = "projection.npz"
_LEAST = 1e-8  # a component with a smaller variance, relative to the first, is left out


@dataclass(frozen=True)
class Projection:
    """A linear map of C channels to the K components of largest variance, each with mean 0 and variance 1."""

    mean: Float[Tensor, "C"]
    directions: Float[Tensor, "C K"]  # divided by their standard deviations

    def __call__(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        return torch.einsum("bchw,ck->bkhw", maps - self.mean[:, None, None], self.directions)

    @classmethod
    def fit(cls, maps: Iterable[Float[Tensor, "B C H W"]], components: int) -> Projection:
        """Compute the components over all positions; fewer where the maps have fewer that vary."""
        count, total, products = 0, torch.zeros(()), torch.zeros(())
        for batch in maps:
            values = batch.double().permute(0, 2, 3, 1).flatten(0, 2)
            count, total, products = count + len(values), total + values.sum(0), products + values.T @ values
        mean = total / count
        variances, directions = torch.linalg.eigh(products / count - torch.outer(mean, mean))
        variances, directions = variances.flip(0)[:components], directions.flip(1)[:, :components]
        varying = variances > _LEAST * variances[0]
        return cls(mean.float(), (directions[:, varying] / variances[varying].sqrt()).float())

    def write(self, file: Path) -> None:
        """Write the file, whole or not at all."""
        content = io.BytesIO()
        np.savez(content, mean=self.mean.numpy(), directions=self.directions.numpy())
        write_file(file, content.getvalue())

    @classmethod
    def read(cls, file: Path) -> Projection:
        with np.load(io.BytesIO(file.read_bytes())) as arrays:  # numpy leaves a damaged file open
            return cls(torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["directions"]))


def fit_or_read(
    folder: Path, compute_maps: Callable[[], Iterable[Float[Tensor, "B C H W"]]], components: int
) -> Projection | None:
    """Return the projection in `folder`, fitted if it is not there; None without components.

    One of several processes fits it.
    """
    if not components:
        return None
    file = folder / FILE
    with locked(folder / "projection.lock"):
        with contextlib.suppress(Exception):  # absent, or damaged: zip files and arrays have many
            return Projection.read(file)
        Projection.fit(compute_maps(), components).write(file)
    return Projection.read(file)
