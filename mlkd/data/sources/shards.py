"""Tar files in the WebDataset format: training images are streamed from them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlkd.core.json_text import parse_json
from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import SOURCE_SPLITS, ImageSource, Listing, Sample
from mlkd.data.paths import fingerprint_files, read_text
from mlkd.data.shard_index.order import Order
from mlkd.data.shards.tar_files import is_text, is_texts, read_shard

DATASET = "dataset.json"
WRITE = "write shards with scripts/to_shards.py"


@dataclass(frozen=True, kw_only=True)
class Shards(ImageSource):
    """Shards of train, val and test below `root`, and dataset.json with `labels`, the names of all labels in order.

    The training images stay in their shards; those of val and test are copied out, like images of any other source.
    Optional in dataset.json: `provenance`, `licences`, and `composed`, as `scripts/to_shards.py` writes them.
    """

    kind: Literal["shards"] = "shards"
    root: Path
    train: str = "train/*.tar"  # pattern of the files, relative to the root
    val: str = "val/*.tar"  # likewise
    test: str = "test/*.tar"  # likewise
    streams: int = 8  # shards that are read in parallel; a multiple of the processes that train
    shuffle: int = 1000  # images of a stream that are in memory and shuffled together

    def __post_init__(self) -> None:
        for name, most in (("streams", 65_536), ("shuffle", 10_000_000)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: expected 1 to {most}, got {getattr(self, name)}")

    def fingerprint(self) -> str:
        """Hash the names and sizes of all shards, and the content of dataset.json."""
        shards = [shard for split in SOURCE_SPLITS for shard in self._shards(split)]
        about = json.dumps(self._dataset(), sort_keys=True).encode()
        return fingerprint_files(shards, self.root)[:32] + hashlib.sha256(about).hexdigest()[:32]

    def read(self, work: Path, progress: Progress) -> Listing:
        """List the images; those of val and test are copied to work/images/SPLIT/000001.jpg."""
        about = self._dataset()
        labels = Labels(tuple(about["labels"]))
        splits: dict[str, list[Sample]] = {}
        for split in SOURCE_SPLITS:
            shards, samples = self._shards(split), list[Sample]()
            for done, shard in enumerate(shards):
                progress(f"shards, {split}", done, len(shards))
                samples += read_shard(shard, labels)
            splits[split] = samples if split == "train" else _copy_out(samples, work / "images" / split)
        return Listing(
            labels,
            splits,
            about.get("provenance", f"shards of {self.root.name}"),
            tuple(about.get("licences", ())),
            composed=bool(about.get("composed", False)),
            streamed=Order(self.streams, self.shuffle),
        )

    def _shards(self, split: str) -> list[Path]:
        pattern = getattr(self, split)
        shards = sorted(self.root.glob(pattern))
        if not shards:
            raise ValueError(f"{split}: expected tar files {pattern} in {self.root}, got none; correct it, or {WRITE}")
        if split == "train" and len(shards) < self.streams:
            raise ValueError(
                f"streams: expected at most the {len(shards)} shards of train, got {self.streams}; lower it, or write "
                "smaller shards"
            )
        return shards

    def _dataset(self) -> dict[str, Any]:
        file = self.root / DATASET
        if not file.is_file():
            raise ValueError(f'{file}: expected {{"labels": ["NAME", …]}}, got no file; write it, or {WRITE}')
        try:
            about = parse_json(read_text(file))
        except ValueError as cause:
            raise ValueError(f"{file}: expected JSON, got {cause}; correct it") from None
        labels = about.get("labels") if isinstance(about, dict) else None
        if not is_texts(labels):
            raise ValueError(f"{file}: expected `labels`, a list of names, got {ascii(labels)[:200]}; correct it")
        for key, fits in (("licences", is_texts), ("provenance", is_text)):
            if key in about and not fits(about[key]):
                expected = "a list of texts" if fits is is_texts else "text"
                raise ValueError(f"{file}: {key}: expected {expected}, got {ascii(about[key])[:60]}; correct it")
        return dict(about)


def _copy_out(samples: list[Sample], folder: Path) -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    copied = []
    for number, sample in enumerate(samples, start=1):
        file = folder / f"{number:06d}{sample.file.suffix.lower()}"
        file.write_bytes(sample.file.read_bytes())
        copied.append(replace(sample, file=file))
    return copied
