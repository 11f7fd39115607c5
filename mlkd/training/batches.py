"""The batches of a training: which images, at which sizes, and this process's part of each."""

from __future__ import annotations

from collections.abc import Sequence

from accelerate import Accelerator

from mlkd.data.augment import Views
from mlkd.data.loader import Loader, workers
from mlkd.data.prepared import Split
from mlkd.data.shards.loader import ShardLoader


def create_loader(
    split: Split, sizes: Sequence[int], views: Views, view_seed: int, *, seed: int, batch_size: int, ranks: Accelerator
) -> Loader:
    """Return the loader of this process; a split of shards is streamed.

    Args:
        split: The training images.
        sizes: Side of each tensor of images in a batch, in pixels.
        views: Augmentations.
        view_seed: Of the augmentations.
        seed: Of the order of images.
        batch_size: Images of a batch, over all processes.
        ranks: Says how many processes there are, and which one this is.
    """
    return (ShardLoader if split.shards else Loader)(
        split=split,
        sizes=tuple(sizes),
        views=views,
        view_seed=view_seed,
        seed=seed,
        batch_size=batch_size,
        rank=ranks.process_index,
        ranks=ranks.num_processes,
        workers=workers(cuda=ranks.device.type == "cuda", ranks=ranks.num_processes),
    )
