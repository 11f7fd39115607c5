"""Writes the prepared set of a source: decodes the images, keeps copies together, splits val, audits the labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkd.core.files import create_array
from mlkd.core.printable import is_utf8, printable
from mlkd.core.progress import Progress, silent
from mlkd.data.audit import audit, compare_counts, count_labels
from mlkd.data.base import SOURCE_SPLITS, Finding, ImageSource, LeftOut, Listing
from mlkd.data.copies import unite_copies
from mlkd.data.decode import UNREADABLE, Arrays, DecodeResult, decode_split, scaling_findings, unsupported_findings
from mlkd.data.leakage import COPY, Decoded, group_keys, refuse_leaks, refuse_unlabelled
from mlkd.data.shard_index.index import write_index
from mlkd.data.shard_index.member import Member
from mlkd.data.shard_index.order import Order
from mlkd.data.splits import split_val

_log = logging.getLogger(__name__)


def prepare(source: ImageSource, out: Path, sizes: Sequence[int], progress: Progress = silent) -> None:
    """Read a source and write the prepared set into `out`, with an array of each split for each of `sizes` in pixels.

    Images that cannot be read are left out, counted, and named in skipped.json.

    Raises:
        ValueError: two splits share an image; a split has no image; a split other than train has unlabelled images;
            select or test has no positive, so that no epoch could be selected and no mAP reported; or a name is not
            UTF-8.
    """
    out.mkdir(parents=True, exist_ok=True)
    listing = source.read(out, progress)
    _refuse_other_bytes(listing)
    compare_counts(listing.provenance, listing.expected, listing.actual)
    refuse_unlabelled(listing.splits)
    left_out = LeftOut(UNREADABLE, COPY)
    left_out.causes.update(listing.skipped)
    decoded, findings = _decode(listing, out, sizes, progress, left_out)
    arrays = {split: out / f"{split}.{min(sizes)}.npy" for split in decoded}
    decoded, copies = unite_copies(listing, decoded, arrays, left_out)
    _write_json(out / "skipped.json", left_out.causes)
    parts = _parts(decoded, listing, out)
    samples = [image.sample for part in parts.values() for image in part]
    audited = audit(listing, samples, left_out.labels, [*copies, *findings])
    targets, label_mask = {}, {}
    for name, images in parts.items():
        targets[name], label_mask[name] = _targets(images, len(listing.labels))
        _write_split(out, name, images, targets[name], label_mask[name], listing.streamed if name == "train" else None)
    _write_pixels(out, parts, sizes)
    listing.labels.write(out / "labels.json")
    about = {
        "provenance": listing.provenance,
        "licences": list(listing.licences),
        "composed": listing.composed,
        "expected": listing.expected,
        "found": listing.actual,
        "skipped": len(left_out.causes),
    }
    _write_json(out / "about.json", about | count_labels(listing, targets, label_mask) | audited)
    for level, key in ((logging.WARNING, "findings"), (logging.INFO, "notes")):
        for finding in audited[key]:
            _log.log(level, "data: %s %s", finding["claim"], finding["numbers"])


def _refuse_other_bytes(listing: Listing) -> None:
    """Raise ValueError for names that no JSON file can hold."""
    for sample in (sample for samples in listing.splits.values() for sample in samples):
        if not is_utf8(f"{sample.name}{sample.file}{sample.group}{''.join(sample.shared)}"):
            raise ValueError(
                f"{printable(str(sample.file))}: expected names of images and folders in UTF-8, got other bytes; "
                "rename the file or the folder"
            )


def _decode(
    listing: Listing, out: Path, sizes: Sequence[int], progress: Progress, left_out: LeftOut
) -> tuple[dict[str, list[Decoded]], list[Finding]]:
    """Decode all images; returns the readable ones of each split, and findings about the files."""
    decoded: dict[str, list[Decoded]] = {}
    results: list[tuple[str, DecodeResult]] = []
    for split, samples in listing.splits.items():
        arrays: Arrays = {px: out / f"{split}.{px}.npy" for px in sizes}
        if split == "train" and listing.streamed:
            arrays = {min(sizes): None}
        decoded[split], of_split = decode_split(split, samples, arrays, progress, left_out)
        results += [(sample.name, result) for sample, result in zip(samples, of_split, strict=True)]
    samples = [sample for some in listing.splits.values() for sample in some]
    return decoded, [*scaling_findings(results), *unsupported_findings(samples, left_out)]


def _parts(splits: Mapping[str, Sequence[Decoded]], listing: Listing, out: Path) -> dict[str, Sequence[Decoded]]:
    """Check the splits, and split val into select and tune; in val, copies and groups stay together.

    Groups of composed images may be in both.  Raises ValueError.
    """
    for split, images in splits.items():
        if not images:
            count = len(listing.splits[split])
            raise ValueError(
                f"split {split}: expected readable images, got 0 of {count}; see {out}/skipped.json, or add images"
            )
    refuse_leaks(splits)
    val = splits["val"]
    keys = [image.sha256 for image in val] if listing.composed else group_keys(val)
    in_select = split_val(_targets(val, len(listing.labels))[0], keys)
    select, tune = ([val[row] for row in np.flatnonzero(in_select == half).tolist()] for half in (True, False))
    for split, where, images in (("val", " in select", select), ("test", "", splits["test"])):
        if not any(image.sample.positives for image in images):
            raise ValueError(f"{split}: expected a positive of some label{where}, got none; tag more images")
    return {"train": splits["train"], "select": select, "tune": tune, "test": splits["test"]}


def _targets(images: Sequence[Decoded], labels: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Targets and label mask, both (N, L); the target is 0 where the mask is False."""
    targets = np.zeros((len(images), labels), dtype=np.uint8)
    label_mask = np.ones((len(images), labels), dtype=np.bool_)
    for row, image in enumerate(images):
        targets[row, list(image.sample.positives)] = 1
        label_mask[row, list(image.sample.unknown) if image.sample.labelled else slice(None)] = False
    return targets, label_mask


def _write_pixels(out: Path, parts: Mapping[str, Sequence[Decoded]], sizes: Sequence[int]) -> None:
    """Turn the arrays of train, val and test into those of the parts; each is complete before one is replaced.

    Images in shards have no array.
    """
    for px in sizes:
        files = {split: out / f"{split}.{px}.npy" for split in SOURCE_SPLITS}
        arrays = {split: np.load(file, mmap_mode="r") for split, file in files.items() if file.is_file()}
        stored = {name: images for name, images in parts.items() if all(image.array in arrays for image in images)}
        changed = [name for name, images in stored.items() if not _is_whole(name, images, arrays)]
        for name in changed:
            fresh = create_array(out / f"{name}.{px}.partial", np.uint8, (len(parts[name]), px, px, 3))
            for row, image in enumerate(parts[name]):
                fresh[row] = arrays[image.array][image.row]
            fresh.flush()
        for name in changed:
            (out / f"{name}.{px}.partial").replace(out / f"{name}.{px}.npy")
        (out / f"val.{px}.npy").unlink()


def _is_whole(name: str, images: Sequence[Decoded], arrays: Mapping[str, NDArray[np.uint8]]) -> bool:
    """Whether the part has exactly the rows of the array of its name."""
    rows = [(image.array, image.row) for image in images]
    return name in arrays and rows == [(name, row) for row in range(len(arrays[name]))]


def _write_split(
    out: Path,
    name: str,
    images: Sequence[Decoded],
    targets: NDArray[np.uint8],
    label_mask: NDArray[np.bool_],
    streamed: Order | None,
) -> None:
    np.save(out / f"{name}.targets.npy", targets)
    (out / f"{name}.known.npy").unlink(missing_ok=True)
    if not label_mask.all():
        np.save(out / f"{name}.known.npy", label_mask)
    samples = [image.sample for image in images]
    files = [sample.file for sample in samples]
    if streamed:
        write_index(out, [file for file in files if isinstance(file, Member)], streamed)
    tree = {
        "names": [sample.name for sample in samples],
        "files": [_stored_path(file, out) for file in files if isinstance(file, Path)],
        "groups": [sample.group for sample in samples],
        "shared": [] if streamed else [list(sample.shared) for sample in samples],
        "sha256": [image.sha256 for image in images],
        "boxes": [] if streamed else [[list(asdict(box).values()) for box in sample.boxes] for sample in samples],
    }
    (out / f"{name}.json").write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")


def _write_json(file: Path, tree: Any) -> None:
    file.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _stored_path(file: Path, out: Path) -> str:
    """Relative if the file is in the prepared folder, so that the folder can be moved; else absolute."""
    return file.relative_to(out).as_posix() if file.is_relative_to(out) else str(file.absolute())
