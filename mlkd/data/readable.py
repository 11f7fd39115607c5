"""The readable images of every split, with all copies of a photograph in one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlkd.core.image_kinds import UNREAD, unread_images
from mlkd.core.progress import Progress
from mlkd.data.audit import COPY
from mlkd.data.base import Finding, Listing, Sample
from mlkd.data.copies import keep_together
from mlkd.data.decode import Reading, decode_files
from mlkd.data.leakage import Decoded, without_copies
from mlkd.data.near_duplicates import photograph_greys, same_photograph_groups

UNREADABLE = "unreadable image"
Decodings = dict[str, list[Decoded]]
LeftOut = dict[str, list[tuple[int, ...]]]  # for every reason the label columns of each image


def decode(split: str, samples: list[Sample], out: Path, sizes: Sequence[int], progress: Progress) -> list[Reading]:
    """Write out/SPLIT.PX.npy with a row for every image."""
    arrays = {px: out / f"{split}.{px}.npy" for px in sizes}
    files = [sample.file for sample in samples]
    readings = decode_files(files, arrays, lambda done: progress(f"decoding, {split}", done, len(files)))
    progress(f"decoding, {split}", len(files), len(files))
    return readings


def readable(
    split: str, samples: list[Sample], readings: list[Reading], skipped: dict[str, str], left_out: LeftOut
) -> list[Decoded]:
    kept = []
    for row, (sample, reading) in enumerate(zip(samples, readings, strict=True)):
        if reading.unreadable:
            skipped[sample.name] = reading.unreadable
            left_out[UNREADABLE].append(sample.positives)
        else:
            kept.append(Decoded(row, sample, reading.sha256, split))
    return kept


def without_leaks(
    listing: Listing, kept: Decodings, out: Path, px: int, skipped: dict[str, str], left_out: LeftOut
) -> tuple[Decodings, list[Finding]]:
    """The splits with all copies of a photograph in one of them; composed images share parts, and are not copies."""
    findings: list[Finding] = []
    if not listing.composed:
        greys = [_greys(out / f"{split}.{px}.npy", samples) for split, samples in kept.items()]
        photographs = same_photograph_groups(np.concatenate(greys)).tolist()
        kept, copies, findings = keep_together(kept, photographs, listing.bounds)
        left_out[COPY] += [one.sample.positives for one in copies]
        skipped |= {one.sample.name: f"{one.sample.file}: {COPY}" for one in copies}
    if listing.published:
        kept, copies = without_copies(kept, skipped)
        left_out[COPY] += [one.sample.positives for one in copies]
    return kept, findings


def _greys(array: Path, samples: list[Decoded]) -> NDArray[np.uint8]:
    pixels = np.load(array, mmap_mode="r")
    return photograph_greys(pixels[one.row] for one in samples)


def of_unread_kinds(samples: Iterable[Sample], skipped: Mapping[str, str]) -> list[Finding]:
    """Unreadable files that are images of another kind, by suffix."""
    suffixes = Counter(one.file.suffix.lower() for one in samples if one.name in skipped)
    told = unread_images({suffix: count for suffix, count in suffixes.items() if suffix in UNREAD})
    return [Finding("Some files are images of kinds that are not read here.", f"{told}.")] if told else []
