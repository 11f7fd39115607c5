"""The uniform result of the data stage: decoded pixels at every size, targets and splits, memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlkd import memory_map
from mlkd.data.base import Box, Listing, Picture, PictureSource
from mlkd.data.select_tune import select_and_tune
from mlkd.images import UnreadablePicture, load
from mlkd.labels import Labels
from mlkd.progress import Progress, silent

SPLITS = ("train", "select", "tune", "test")


@dataclass(frozen=True)
class Split:
    """One split as read back; N pictures, L labels."""

    folder: Path
    name: str
    labels: Labels
    names: tuple[str, ...]
    files: tuple[Path, ...]
    groups: tuple[str, ...]
    hashes: tuple[str, ...]
    boxes: tuple[tuple[Box, ...], ...]
    targets: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, image_px: int) -> NDArray[np.uint8]:
        """(N, image_px, image_px, 3), memory-mapped.  Raises ValueError for a size that was not prepared."""
        file = self.folder / f"{self.name}.{image_px}.npy"
        if not file.is_file():
            sizes = sorted(int(path.stem.split(".")[1]) for path in self.folder.glob(f"{self.name}.[0-9]*.npy"))
            raise ValueError(
                f"image_px: expected one of the prepared sizes {sizes}, got {image_px}; prepare it as well"
            )
        pixels: NDArray[np.uint8] = np.load(file, mmap_mode="r")
        return pixels

    @cached_property
    def major(self) -> NDArray[np.uint8] | None:
        """(N, L): which labels have a major object; None where the source knows no boxes."""
        return self._of_role("major")

    @cached_property
    def minor(self) -> NDArray[np.uint8] | None:
        """(N, L): which labels have a minor object; None where the source knows no boxes."""
        return self._of_role("minor")

    def _of_role(self, role: str) -> NDArray[np.uint8] | None:
        if not any(self.boxes):
            return None
        marked = np.zeros_like(self.targets)
        for row, boxes in enumerate(self.boxes):
            marked[row, [box.label for box in boxes if box.role == role]] = 1
        return marked


def prepare(source: PictureSource, out: Path, sizes: Sequence[int], progress: Progress = silent) -> None:
    """Read `source` and write the prepared set into the folder `out`.

    A picture that cannot be read is left out, counted and named in skipped.json.  Raises ValueError where two splits
    share a picture, or where a split has none.
    """
    out.mkdir(parents=True, exist_ok=True)
    listing = source.read(out, progress)
    skipped = dict(listing.skipped)
    kept: dict[str, list[tuple[Picture, str]]] = {}
    for split, pictures in listing.splits.items():
        kept[split] = _decode(split, pictures, out, sizes, skipped, progress)
        if not kept[split]:
            raise ValueError(
                f"split {split}: expected readable pictures, got 0 of {len(pictures)}; see {out}/skipped.json"
            )
    refuse_leaks(kept)
    targets = {split: _targets([picture for picture, _ in pairs], listing.labels) for split, pairs in kept.items()}
    halves = select_and_tune(targets["val"], [digest for _, digest in kept["val"]])
    rows = {
        "train": ("train", np.arange(len(kept["train"]))),
        "select": ("val", np.flatnonzero(halves)),
        "tune": ("val", np.flatnonzero(~halves)),
        "test": ("test", np.arange(len(kept["test"]))),
    }
    for name, (split, chosen) in rows.items():
        _write_split(out, name, [kept[split][row] for row in chosen], targets[split][chosen])
        _share_pixels(out, split, name, chosen, sizes)
    for px in sizes:
        (out / f"val.{px}.npy").unlink()
    _write_about(out, listing, {name: targets[split][chosen] for name, (split, chosen) in rows.items()}, skipped)


def _decode(
    split: str, pictures: list[Picture], out: Path, sizes: Sequence[int], skipped: dict[str, str], progress: Progress
) -> list[tuple[Picture, str]]:
    """Write out/SPLIT.PX.npy; returns the readable pictures with the hash of their file."""
    arrays = {px: memory_map.create(out / f"{split}.{px}.npy", np.uint8, (len(pictures), px, px, 3)) for px in sizes}
    kept: list[tuple[Picture, str]] = []
    for done, picture in enumerate(pictures):
        if done % 100 == 0:
            progress(f"decoding, {split}", done, len(pictures))
        try:
            content = picture.file.read_bytes()
            views = {px: load(content, px) for px in sizes}
        except (UnreadablePicture, OSError) as cause:
            skipped[picture.name] = f"{picture.file}: {cause}"
            continue
        for px, view in views.items():
            arrays[px][len(kept)] = view
        kept.append((picture, hashlib.sha256(content).hexdigest()))
    progress(f"decoding, {split}", len(pictures), len(pictures))
    for px in sizes:
        arrays[px].flush()
        if len(kept) < len(pictures):
            _share_pixels(out, split, split, np.arange(len(kept)), [px])
    return kept


def _share_pixels(out: Path, split: str, name: str, rows: NDArray[np.int64], sizes: Sequence[int]) -> None:
    """Copy rows of out/SPLIT.PX.npy to out/NAME.PX.npy, whole or not at all."""
    for px in sizes:
        file = out / f"{split}.{px}.npy"
        pixels = np.load(file, mmap_mode="r")
        if split == name and len(rows) == len(pixels):
            continue
        fresh = memory_map.create(out / f"{name}.{px}.partial", np.uint8, (len(rows), px, px, 3))
        for start in range(0, len(rows), 256):
            fresh[start : start + 256] = pixels[rows[start : start + 256]]
        fresh.flush()
        (out / f"{name}.{px}.partial").replace(out / f"{name}.{px}.npy")


def refuse_leaks(splits: dict[str, list[tuple[Picture, str]]]) -> None:
    """Raises ValueError when a name or a content hash is in two splits."""
    keys: list[Callable[[tuple[Picture, str]], str]] = [lambda pair: pair[0].name, lambda pair: pair[1]]
    for what, key in zip(("name", "content"), keys, strict=True):
        owner: dict[str, tuple[str, str]] = {}
        for split, pairs in splits.items():
            for pair in pairs:
                first = owner.setdefault(key(pair), (split, pair[0].name))
                if first[0] != split:
                    raise ValueError(
                        f"splits: expected every picture in one split, got the same {what} in {first[0]} ({first[1]}) "
                        f"and {split} ({pair[0].name}); remove one of them"
                    )


def _targets(pictures: list[Picture], labels: Labels) -> NDArray[np.uint8]:
    targets = np.zeros((len(pictures), len(labels)), dtype=np.uint8)
    for row, picture in enumerate(pictures):
        targets[row, list(picture.positives)] = 1
    return targets


def _write_split(out: Path, name: str, pairs: list[tuple[Picture, str]], targets: NDArray[np.uint8]) -> None:
    np.save(out / f"{name}.targets.npy", targets)
    tree = {
        "names": [picture.name for picture, _ in pairs],
        "files": [_stored(picture.file, out) for picture, _ in pairs],
        "groups": [picture.group for picture, _ in pairs],
        "sha256": [digest for _, digest in pairs],
        "boxes": [[list(asdict(box).values()) for box in picture.boxes] for picture, _ in pairs],
    }
    (out / f"{name}.json").write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")


def _stored(file: Path, out: Path) -> str:
    """Relative to the prepared folder if it lies there, so that the folder can be moved; else absolute."""
    inside = file.is_relative_to(out)
    return file.relative_to(out).as_posix() if inside else str(file.absolute())


def _write_about(out: Path, listing: Listing, targets: dict[str, NDArray[np.uint8]], skipped: dict[str, str]) -> None:
    listing.labels.write(out / "labels.json")
    about = {
        "provenance": listing.provenance,
        "licences": list(listing.licences),
        "composed": listing.composed,
        "counts": {name: len(rows) for name, rows in targets.items()},
        "skipped": len(skipped),
        "labels_per_picture": {
            name: {str(k): v for k, v in sorted(Counter(rows.sum(1).tolist()).items())}
            for name, rows in targets.items()
        },
        "label_counts": {
            name: dict(zip(listing.labels.names, rows.sum(0).tolist(), strict=True)) for name, rows in targets.items()
        },
    }
    (out / "about.json").write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (out / "skipped.json").write_text(json.dumps(skipped, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_split(folder: Path, name: str) -> Split:
    """One split of a prepared folder.  Raises ValueError when it is not there."""
    if name not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {name!r}")
    file = folder / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"data: expected a prepared set with {file.name} in {folder}, got none; run the data stage")
    tree = json.loads(file.read_text(encoding="utf-8"))
    return Split(
        folder=folder,
        name=name,
        labels=Labels.read(folder / "labels.json"),
        names=tuple(tree["names"]),
        files=tuple(folder.absolute() / path for path in tree["files"]),
        groups=tuple(tree["groups"]),
        hashes=tuple(tree["sha256"]),
        boxes=tuple(tuple(Box(*values) for values in boxes) for boxes in tree["boxes"]),
        targets=np.load(folder / f"{name}.targets.npy"),
    )
