"""Composed scenes: cut-outs of about thirty labels on photographs, generated from a seed, with all boxes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import SOURCE_SPLITS, ImageSource, Listing, Sample
from mlkd.data.paths import fingerprint_files, relative_name
from mlkd.data.scenes.fetch import fetched_images
from mlkd.data.scenes.mapping import Sources, folder_backgrounds, folder_cutouts, mapped_sources, read_mapping

if TYPE_CHECKING:
    from mlkd.data.scenes.composer import Composer

PROVENANCE = (
    "Composed scenes: cut-outs of Debian's tuxpaint-stamps-default and openclipart-png on crops of photographs of its "
    "wallpaper packages. Not photographs of real scenes."
)
LICENCES: tuple[str, ...] = (
    "GPL-2 (tuxpaint-stamps-default)",
    "public domain (openclipart-png)",
    "CC-BY, CC-BY-SA, CC0 and GPL-2 (wallpapers; each package's copyright file says which)",
)


@dataclass(frozen=True, kw_only=True)
class Scenes(ImageSource):
    """Scenes of the fetched packages, or of the user's own `cutouts` (LABEL/*.png with alpha) and `backgrounds`."""

    kind: Literal["scenes"] = "scenes"
    image_px: int = 96
    train: int = 8000
    val: int = 2000
    test: int = 5000
    seed: int = 0
    cutouts: Path | None = None
    backgrounds: Path | None = None

    def __post_init__(self) -> None:
        if not 32 <= self.image_px <= 512:
            raise ValueError(f"image_px: expected 32 to 512, got {self.image_px}")
        for name in SOURCE_SPLITS:
            count = getattr(self, name)
            if not 4 <= count <= 1_000_000:
                raise ValueError(f"{name}: expected 4 to 1000000 scenes, got {count}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: expected 0 to {2**32 - 1}, got {self.seed}")
        if (self.cutouts is None) != (self.backgrounds is None):
            raise ValueError("cutouts, backgrounds: expected both or neither, got one; name both folders")

    def needs_fetch(self) -> bool:
        return self.cutouts is None

    def fingerprint(self) -> str:
        """Hash names, sizes and times of all cut-outs and photographs, and the rules that assign them to labels."""
        sources = self._sources()
        rules = {
            "labels": {
                label: [relative_name(file, sources.root) for file in files] for label, files in sources.cutouts.items()
            },
            "at_most": sources.at_most,
            "themes": sources.themes,
        }
        mapping = hashlib.sha256(json.dumps(rules).encode()).hexdigest()
        cutouts = [file for files in sources.cutouts.values() for file in files]
        parts = [
            fingerprint_files(cutouts, sources.root),
            fingerprint_files(sources.backgrounds, sources.backgrounds_root),
        ]
        return "".join(part[:32] for part in (*parts, mapping))

    def _sources(self) -> Sources:
        if self.cutouts is None or self.backgrounds is None:
            return mapped_sources(fetched_images(), read_mapping())
        cutouts, backgrounds = folder_cutouts(self.cutouts), folder_backgrounds(self.backgrounds)
        return Sources(self.cutouts, cutouts, {}, {"all": tuple(cutouts)}, self.backgrounds, backgrounds)

    def read(self, work: Path, progress: Progress) -> Listing:
        """Compose all scenes into work/pictures/SPLIT/000001.jpg; each depends only on seed, split and number."""
        from mlkd.data.scenes.backgrounds import read_backgrounds
        from mlkd.data.scenes.composer import Composer, pools
        from mlkd.data.scenes.cutouts import read_cutouts

        sources = self._sources()
        cutouts, skipped = read_cutouts(sources.cutouts, sources.root, self.image_px, sources.at_most, progress)
        photographs, unreadable = read_backgrounds(sources.backgrounds, self.image_px)
        labels = Labels(tuple(sources.cutouts))
        themes = [[labels.index(name) for name in names] for names in sources.themes.values()]
        splits: dict[str, list[Sample]] = {}
        for number, split in enumerate(SOURCE_SPLITS):
            composer = Composer(pools(cutouts, split), themes, photographs[split], self.image_px, (self.seed, number))
            splits[split] = self._write(composer, split, work, progress)
        provenance, licences = PROVENANCE, LICENCES
        if self.cutouts and self.backgrounds:  # only their names, because a bundle publishes them
            provenance, licences = f"Composed scenes from {self.cutouts.name} on {self.backgrounds.name}", ()
        return Listing(labels, splits, provenance, licences, composed=True, skipped=skipped | unreadable)

    def _write(self, composer: Composer, split: str, work: Path, progress: Progress) -> list[Sample]:
        from mlkd.data.scenes.composer import CHUNK, scenes

        folder = work / "pictures" / split
        folder.mkdir(parents=True, exist_ok=True)
        count = int(getattr(self, split))
        samples = []
        for index, scene in enumerate(scenes(composer, count)):
            if index % CHUNK == 0:
                progress(f"scenes, {split}", index, count)
            file = folder / f"{index + 1:06d}.jpg"
            file.write_bytes(scene.jpeg)
            positives = tuple(sorted({box.label for box in scene.boxes}))
            name = f"{split}/{file.stem}"
            samples.append(Sample(name, file, positives, scene.group, scene.boxes, shared=scene.shared))
        progress(f"scenes, {split}", count, count)
        return samples
