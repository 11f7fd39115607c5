"""The uniform result of the data stage: decoded pixels at every size, targets and splits, memory-mapped."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlkd.core import images
from mlkd.core.files import create_array
from mlkd.core.labels import Labels
from mlkd.core.progress import Progress, silent
from mlkd.data.about import about, write_json
from mlkd.data.audit import COPY, audit
from mlkd.data.base import SOURCE_SPLITS, Box, ImageSource, Listing
from mlkd.data.decode import scaled_findings
from mlkd.data.leakage import Decoded, refuse_leaks, refuse_unlabelled, units
from mlkd.data.readable import UNREADABLE, Decodings, LeftOut, decode, of_unread_kinds, readable, without_leaks
from mlkd.data.select_tune import select_and_tune
from mlkd.data.sources.published import compare

SPLITS = ("train", "select", "tune", "test")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """One split as read back; N images, L labels.

    `label_mask` (N, L) is False where nobody knows (the target there is 0 and means nothing); None: all are known.
    """

    folder: Path
    name: str
    labels: Labels
    names: tuple[str, ...]
    files: tuple[Path, ...]
    groups: tuple[str, ...]
    hashes: tuple[str, ...]
    boxes: tuple[tuple[Box, ...], ...]
    targets: NDArray[np.uint8]
    label_mask: NDArray[np.bool_] | None = None
    shared: tuple[tuple[str, ...], ...] = ()  # for each image what else it has in common with others; (): nothing

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
    def clusters(self) -> tuple[tuple[str, ...], ...]:
        """For each image the names of everything that it may share with others: its group, its cut-outs, ..."""
        shared = self.shared or ((),) * len(self)
        return tuple((group, *names) for group, names in zip(self.groups, shared, strict=True))

    @cached_property
    def aspects(self) -> NDArray[np.float64]:
        """(N,) width by height of the upright images, read from their files.  Raises UnreadableImageError."""
        return np.array([images.aspect(file) for file in self.files])

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


def prepare(source: ImageSource, out: Path, sizes: Sequence[int], progress: Progress = silent) -> None:
    """Read `source` and write the prepared set into the folder `out`.

    An image that cannot be read is left out, counted and named in skipped.json.  Raises ValueError where two splits
    share an image, where a split has none, where one other than train has an image without labels, and where select
    or test has no positive: no epoch could be chosen, no mAP reported.
    """
    out.mkdir(parents=True, exist_ok=True)
    listing = source.read(out, progress)
    compare(listing.provenance, listing.expected, listing.found)
    refuse_unlabelled(listing.splits)
    skipped, left_out = dict(listing.skipped), LeftOut({UNREADABLE: [], COPY: []})
    readings = {split: decode(split, files, out, sizes, progress) for split, files in listing.splits.items()}
    kept = {split: readable(split, listing.splits[split], readings[split], skipped, left_out) for split in readings}
    kept, findings = without_leaks(listing, kept, out, min(sizes), skipped, left_out)
    write_json(out / "skipped.json", skipped)
    _refuse_empty(kept, listing, out)
    refuse_leaks(kept)
    select, tune = _halves(kept["val"], listing)
    _refuse_without_positives("val", " in select", select)
    _refuse_without_positives("test", "", kept["test"])
    parts = {"train": kept["train"], "select": select, "tune": tune, "test": kept["test"]}
    findings += scaled_findings(
        (one.name, reading)
        for split in readings
        for one, reading in zip(listing.splits[split], readings[split], strict=True)
    )
    findings += of_unread_kinds([one for split in readings for one in listing.splits[split]], skipped)
    audited = audit(listing, [one.sample for part in parts.values() for one in part], left_out, findings)
    targets, label_mask = {}, {}
    for name, samples in parts.items():
        targets[name], label_mask[name] = _decisions(samples, len(listing.labels))
        _write_split(out, name, samples, targets[name], label_mask[name])
    _share_pixels(out, parts, sizes)
    listing.labels.write(out / "labels.json")
    write_json(out / "about.json", about(listing, targets, label_mask, len(skipped)) | audited)
    for one in audited["findings"]:
        _log.warning("data: %s %s", one["claim"], one["numbers"])
    for one in audited["notes"]:
        _log.info("data: %s %s", one["claim"], one["numbers"])


def _refuse_empty(kept: dict[str, list[Decoded]], listing: Listing, out: Path) -> None:
    for split, samples in kept.items():
        if not samples:
            count = len(listing.splits[split])
            raise ValueError(
                f"split {split}: expected readable images, got 0 of {count}; see {out}/skipped.json, or add images"
            )


def _refuse_without_positives(split: str, where: str, samples: list[Decoded]) -> None:
    if not any(one.sample.positives for one in samples):
        raise ValueError(f"{split}: expected a positive of some label{where}, got none; tag more images")


def _halves(samples: list[Decoded], listing: Listing) -> tuple[list[Decoded], list[Decoded]]:
    """val as select and tune; copies stay together, and groups where images are not composed of several."""
    together = [one.sha256 for one in samples] if listing.composed else units(samples)
    chosen = select_and_tune(_decisions(samples, len(listing.labels))[0], together)
    pairs = list(zip(samples, chosen, strict=True))
    return [one for one, first in pairs if first], [one for one, first in pairs if not first]


def _decisions(samples: list[Decoded], labels: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Targets and what is known of them, both (N, L); the target is 0 where nobody knows."""
    targets = np.zeros((len(samples), labels), dtype=np.uint8)
    label_mask = np.ones((len(samples), labels), dtype=np.bool_)
    for row, one in enumerate(samples):
        targets[row, list(one.sample.positives)] = 1
        label_mask[row, list(one.sample.unknown) if one.sample.labelled else slice(None)] = False
    return targets, label_mask


def _share_pixels(out: Path, parts: Decodings, sizes: Sequence[int]) -> None:
    """The arrays of the parts from those of the splits, which go; each is written whole before any is replaced."""
    for px in sizes:
        arrays = {split: np.load(out / f"{split}.{px}.npy", mmap_mode="r") for split in SOURCE_SPLITS}
        same = [name for name, part in parts.items() if _is_whole(name, part, arrays)]
        for name, part in parts.items():
            if name not in same:
                fresh = create_array(out / f"{name}.{px}.partial", np.uint8, (len(part), px, px, 3))
                for row, one in enumerate(part):
                    fresh[row] = arrays[one.array][one.row]
                fresh.flush()
        for name in parts.keys() - set(same):
            (out / f"{name}.{px}.partial").replace(out / f"{name}.{px}.npy")
        (out / f"val.{px}.npy").unlink()


def _is_whole(name: str, part: Sequence[Decoded], arrays: Mapping[str, NDArray[np.uint8]]) -> bool:
    rows = [(one.array, one.row) for one in part]
    return name in arrays and rows == [(name, row) for row in range(len(arrays[name]))]


def _write_split(
    out: Path, name: str, samples: list[Decoded], targets: NDArray[np.uint8], label_mask: NDArray[np.bool_]
) -> None:
    np.save(out / f"{name}.targets.npy", targets)
    (out / f"{name}.known.npy").unlink(missing_ok=True)
    if not label_mask.all():
        np.save(out / f"{name}.known.npy", label_mask)
    tree = {
        "names": [one.sample.name for one in samples],
        "files": [_stored(one.sample.file, out) for one in samples],
        "groups": [one.sample.group for one in samples],
        "shared": [list(one.sample.shared) for one in samples],
        "sha256": [one.sha256 for one in samples],
        "boxes": [[list(asdict(box).values()) for box in one.sample.boxes] for one in samples],
    }
    (out / f"{name}.json").write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")


def _stored(file: Path, out: Path) -> str:
    """Relative to the prepared folder if it lies there, so that the folder can be moved; else absolute."""
    inside = file.is_relative_to(out)
    return file.relative_to(out).as_posix() if inside else str(file.absolute())


def read_split(folder: Path, name: str) -> Split:
    """One split of a prepared folder.  Raises ValueError when it is not there."""
    if name not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {name!r}")
    file = folder / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"data: expected a prepared set with {file.name} in {folder}, got none; run the data stage")
    tree = json.loads(file.read_text(encoding="utf-8"))
    label_mask = folder / f"{name}.known.npy"
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
        label_mask=np.load(label_mask) if label_mask.is_file() else None,
        shared=tuple(map(tuple, tree["shared"])),
    )
